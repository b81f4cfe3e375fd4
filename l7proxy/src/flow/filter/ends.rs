//! Fields that ask who is at the ends of a flow.

use std::net::IpAddr;

use hubble_api::flow::{FlowFilter, Workload};
use ipnet::IpNet;

use super::{
    Condition, Conditions, go, one_of,
    view::{Layer4, SIDES, Side, View},
    when,
};
use crate::endpoint::Peer;

/// `source_identity` to `destination_service`.
pub(super) fn who(filter: &FlowFilter, all: &mut Conditions) -> Result<(), String> {
    for (identities, side) in [&filter.source_identity, &filter.destination_identity].into_iter().zip(SIDES) {
        one_of(identities, all, move |view| view.peer(side).identity);
    }
    protocols(&filter.protocol, all).map_err(|error| format!("invalid protocol filter: {error}"))?;
    for (addresses, side) in [&filter.source_ip, &filter.destination_ip].into_iter().zip(SIDES) {
        addresses_of(addresses, side, all)?;
    }
    // No flow of ours has a translated source.
    read_addresses(&filter.source_ip_xlated)?;
    when(&filter.source_ip_xlated, all, |_| Box::new(|_| false));
    for (pods, side) in [&filter.source_pod, &filter.destination_pod].into_iter().zip(SIDES) {
        names(pods, all, move |view| {
            let peer = view.peer(side);
            (&peer.namespace, &peer.pod)
        })?;
    }
    for (workloads, side) in [&filter.source_workload, &filter.destination_workload].into_iter().zip(SIDES) {
        when(workloads, all, |workloads| workload(workloads, side));
    }
    let services = [("source", &filter.source_service), ("destination", &filter.destination_service)];
    for ((field, services), side) in services.into_iter().zip(SIDES) {
        names(services, all, move |view| service(view.peer(side)))
            .map_err(|error| format!("invalid {field} service filter: {error}"))?;
    }
    Ok(())
}

fn service(peer: &Peer) -> (&str, &str) {
    peer.service.as_ref().map_or(("", ""), |service| (&service.namespace, &service.name))
}

fn protocols(names: &[String], all: &mut Conditions) -> Result<(), String> {
    let read = |name: &String| {
        Ok(match name.to_lowercase().as_str() {
            "icmp" => Protocol::Icmp,
            "icmpv4" => Protocol::Layer4(Layer4::Icmp4),
            "icmpv6" => Protocol::Layer4(Layer4::Icmp6),
            "tcp" => Protocol::Layer4(Layer4::Tcp),
            "udp" => Protocol::Layer4(Layer4::Udp),
            "sctp" => Protocol::Layer4(Layer4::Sctp),
            "http" => Protocol::Http,
            // Flows of ours never are of these.
            "vrrp" | "igmp" | "dns" => Protocol::Never,
            _ => return Err(format!("unknown protocol: {}", go::quote(name))),
        })
    };
    let protocols = names.iter().map(read).collect::<Result<Vec<_>, String>>()?;
    when(&protocols, all, |protocols| {
        let protocols = protocols.to_vec();
        Box::new(move |view| {
            protocols.iter().any(|protocol| match protocol {
                Protocol::Icmp => matches!(view.layer4, Layer4::Icmp4 | Layer4::Icmp6),
                Protocol::Layer4(layer4) => view.layer4 == *layer4,
                Protocol::Http => view.http.is_some(),
                Protocol::Never => false,
            })
        })
    });
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Icmp,
    Layer4(Layer4),
    Http,
    Never,
}

type Addresses = (Vec<IpAddr>, Vec<IpNet>);

/// Hubble compares texts: an address that is not written as flows write it is nobody's.
fn read_addresses(values: &[String]) -> Result<Addresses, String> {
    let (mut addresses, mut nets) = (Vec::new(), Vec::new());
    for value in values {
        if value.contains('/') {
            let net = go::prefix(value)
                .map_err(|error| format!("invalid IP prefix {} in filter: {error}", go::quote(value)))?;
            nets.push(net);
        } else {
            let address = go::address(value)
                .map_err(|error| format!("invalid IP address {} in filter: {error}", go::quote(value)))?;
            addresses.extend(address.filter(|address| address.to_string() == *value));
        }
    }
    Ok((addresses, nets))
}

fn addresses_of(values: &[String], side: Side, all: &mut Conditions) -> Result<(), String> {
    let (addresses, nets) = read_addresses(values)?;
    when(values, all, |_| {
        Box::new(move |view| {
            let own = view.end(side).1.ip().to_canonical();
            addresses.contains(&own) || nets.iter().any(|net| net.contains(&own))
        })
    });
    Ok(())
}

/// `namespace/prefix`.
fn names<F>(values: &[String], all: &mut Conditions, of: F) -> Result<(), String>
where
    F: for<'v> Fn(&View<'v>) -> (&'v str, &'v str) + Send + Sync + 'static,
{
    let read = |value: &String| match value.split('/').collect::<Vec<_>>().as_slice() {
        [] | [""] => Err("invalid filter, name must not be empty".to_owned()),
        [name] => Ok(("default".to_owned(), (*name).to_owned())),
        [namespace, prefix, ..] => Ok(((*namespace).to_owned(), (*prefix).to_owned())),
    };
    let wanted = values.iter().map(read).collect::<Result<Vec<_>, String>>()?;
    when(values, all, |_| {
        Box::new(move |view| {
            let (namespace, name) = of(view);
            let is_one = !namespace.is_empty() || !name.is_empty();
            is_one
                && wanted.iter().any(|(wanted, prefix)| {
                    name.starts_with(prefix.as_str()) && (wanted.is_empty() || wanted == namespace)
                })
        })
    });
    Ok(())
}

fn workload(workloads: &[Workload], side: Side) -> Condition {
    let wanted = workloads.to_vec();
    let is = |wanted: &str, own: &str| wanted.is_empty() || wanted == own;
    Box::new(move |view| {
        let own = view.peer(side).workload.as_ref();
        own.is_some_and(|(kind, name)| wanted.iter().any(|wanted| is(&wanted.name, name) && is(&wanted.kind, kind)))
    })
}

/// `source_port` and `destination_port`.
pub(super) fn ports(filter: &FlowFilter, all: &mut Conditions) -> Result<(), String> {
    let ports = [("source", &filter.source_port), ("destination", &filter.destination_port)];
    for ((field, ports), side) in ports.into_iter().zip(SIDES) {
        let read = |port: &String| {
            go::port(port)
                .map_err(|error| format!("invalid {field} port filter: invalid port {}: {error}", go::quote(port)))
        };
        let ports = ports.iter().map(read).collect::<Result<Vec<_>, String>>()?;
        when(&ports, all, |ports| {
            let ports = ports.to_vec();
            Box::new(move |view| view.port(side).is_some_and(|port| ports.contains(&port)))
        });
    }
    Ok(())
}

/// `source_cluster_name` and `destination_cluster_name`.
pub(super) fn clusters(filter: &FlowFilter, all: &mut Conditions) -> Result<(), String> {
    for (names, side) in [&filter.source_cluster_name, &filter.destination_cluster_name].into_iter().zip(SIDES) {
        if names.iter().any(String::is_empty) {
            return Err("invalid filter, name must not be empty".to_owned());
        }
        when(names, all, |names| {
            let names = names.to_vec();
            Box::new(move |view| names.contains(&view.peer(side).cluster))
        });
    }
    Ok(())
}
