//! A node whose records are asked for: by its unix socket, and by TCP with or without TLS.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::Result;
use conformance::{
    certificates::{Authority, Certificate},
    client::hubble::{Cli, Target},
    eventually,
};
use serde_json::{Value, json};

use crate::stage::{PAYMENTS, Site, Stage};

/// Certificates of one cluster.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) authority: Authority,
    /// Of its nodes.
    pub(crate) node: Certificate,
    /// Of its Relay, and of whoever else asks.
    pub(crate) relay: Certificate,
}

impl Secrets {
    pub(crate) fn new() -> Result<Self> {
        let authority = Authority::new()?;
        let node = authority.sign("node", "*.cluster1.hubble-grpc.cilium.io")?;
        let relay = authority.sign("relay", "*.hubble-relay.cilium.io")?;
        Ok(Self { authority, node, relay })
    }
}

/// What a node's certificate must be for.
pub(crate) fn server_name(site: Site) -> String {
    format!("{}.cluster1.hubble-grpc.cilium.io", site.node)
}

/// Where nobody listens: all of these addresses are the tests' own.
pub(crate) fn address() -> SocketAddr {
    static PORTS: AtomicU16 = AtomicU16::new(14_000);
    (Ipv4Addr::LOCALHOST, PORTS.fetch_add(1, Ordering::Relaxed)).into()
}

/// How a node serves.
#[derive(Debug, Default)]
pub(crate) struct Options<'o> {
    /// Further nodes that it tells of.
    pub(crate) others: &'o [(Site, SocketAddr)],
    /// With TLS.
    pub(crate) secrets: Option<&'o Secrets>,
    /// Other than by default.
    pub(crate) buffer: Option<Value>,
}

pub(crate) struct Served {
    pub(crate) stage: Stage,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// With everything done; nothing where a program is missing.
    pub(crate) fn new(secrets: Option<&Secrets>) -> Result<Option<Self>> {
        let served = Self::start(PAYMENTS, address(), &Options { secrets, ..Options::default() })?;
        served.map(Self::acted).transpose()
    }

    /// Nothing was done yet.
    pub(crate) fn start(site: Site, address: SocketAddr, options: &Options<'_>) -> Result<Option<Self>> {
        let peer = |(site, address): &(Site, SocketAddr)| {
            let name = format!("cluster1/{}", site.node);
            let tls = options.secrets.map(|_| server_name(*site));
            json!({ "name": name, "address": address, "tlsServerName": tls })
        };
        let peers: Vec<_> = options.others.iter().map(peer).collect();
        let mut flows = json!({ "socket": "hubble.sock", "listen": address, "peers": peers });
        if let Some(Secrets { authority, node, .. }) = options.secrets {
            flows["tls"] =
                json!({ "certificate": node.certificate, "key": node.key, "clientCa": authority.certificate() });
        }
        if let Some(buffer) = &options.buffer {
            flows["buffer"] = buffer.clone();
        }
        Ok(Stage::new(site, &flows)?.map(|stage| Self { stage, address }))
    }

    pub(crate) fn acted(mut self) -> Result<Self> {
        self.stage.act()?;
        Ok(self)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.stage.node.path("hubble.sock")
    }

    pub(crate) fn unix(&self) -> Target {
        Target::unix(&self.socket())
    }

    pub(crate) fn tcp(&self) -> Target {
        Target::tcp(self.address)
    }

    pub(crate) fn tls(&self, secrets: &Secrets, own: Option<&Certificate>) -> Target {
        Target::tls(self.address, &server_name(self.stage.site), &secrets.authority, own)
    }
}

/// Waits until so many records can be asked for: who writes them is a moment behind.
pub(crate) fn settle(cli: &Cli, target: &Target, number: usize) -> Result<()> {
    eventually(&format!("{number} records of {target:?}"), || {
        let said = cli.run(target, &["observe", "--all"])?;
        anyhow::ensure!(said.is_well() && said.lines().len() <= number, "{said:#?}");
        Ok((said.lines().len() == number).then_some(()))
    })
}
