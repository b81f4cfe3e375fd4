//! Virtual addresses that the node translates, as kube-proxy does: nftables send each connection to one of several pods.
//!
//! Owns the tables; dropping a value removes its own. Start at [`Service::new`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
};

use anyhow::Result;

use super::{Network, Place, network::forward};
use crate::process;

/// A virtual address of each family.
#[derive(Debug)]
pub struct Service {
    table: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Service {
    /// Connections and datagrams to `port` go to each of `pods` in turn, to `target`; the pod sees the node as their source.
    pub fn new(network: &Network, port: u16, pods: &[&Place], target: u16) -> Result<Self> {
        let number = network.host().octets()[2];
        let (v4, v6) = (Ipv4Addr::new(10, 96, number, 10), Ipv6Addr::new(0xfd96, number.into(), 0, 0, 0, 0, 0, 0x10));
        forward()?;
        let table = format!("service{number}");
        let rules = |family: &str, address: IpAddr, of: fn(&Place) -> IpAddr| {
            let pods: Vec<String> =
                pods.iter().enumerate().map(|(index, pod)| format!("{index} : {}", of(pod))).collect();
            let (count, pods) = (pods.len(), pods.join(", "));
            // Pods are joined by a bridge: answers find their way back by the node only when it is who asked.
            format!(
                "table {family} {table} {{\nchain to {{\ntype nat hook prerouting priority dstnat;\n{family} daddr {address} \
                 meta l4proto {{ tcp, udp }} th dport {port} dnat to numgen inc mod {count} map {{ {pods} }} : {target}\n}}\n\
                 chain from {{\ntype nat hook postrouting priority srcnat;\nct status dnat masquerade\n}}\n}}\n"
            )
        };
        let (four, six) = (rules("ip", v4.into(), |pod| pod.v4.into()), rules("ip6", v6.into(), |pod| pod.v6.into()));
        process::output(Command::new("nft").arg(format!("{four}{six}")))?;
        Ok(Self { table, v4, v6 })
    }

    /// Both addresses.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for family in ["ip", "ip6"] {
            drop(process::output(Command::new("nft").args(["delete", "table", family, &self.table])));
        }
    }
}
