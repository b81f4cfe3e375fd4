//! `peer.Peer`: which nodes there are, for Relay.
//!
//! Owns how this node is named and reached. Must never end a stream while the process lives: Relay waits half a minute
//! before it asks again. Start at [`Peers::new`].

use std::{net::SocketAddr, path::Path, sync::Arc};

use http::{Request, Response};
use hubble_api::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest, Tls};
use tokio::sync::mpsc;
use tonic::{Status, body::Body};

use super::{
    call::{self, Piece},
    ended,
    observer::Observer,
};
use crate::config::Config;

/// This node first.
#[derive(Debug)]
pub(super) struct Peers {
    own: ChangeNotification,
    others: Vec<ChangeNotification>,
}

impl Peers {
    pub(super) fn new(config: &Config) -> Self {
        let flows = &config.flows;
        let serves_tls = flows.tls.is_some();
        let added = |name: &str, address: String, server_name: Option<String>| ChangeNotification {
            name: name.to_owned(),
            address,
            r#type: ChangeNotificationType::PeerAdded.into(),
            tls: server_name.map(|server_name| Tls { server_name }),
        };
        let own = added(&config.peer_name(), own_address(config), serves_tls.then(|| config.tls_server_name()));
        let others =
            flows.peers.iter().map(|peer| added(&peer.name, peer.address.clone(), peer.tls_server_name.clone()));
        Self { own, others: others.collect() }
    }

    pub(super) fn own(&self) -> &ChangeNotification {
        &self.own
    }
}

/// Where others reach this node: its TCP address, else its socket.
fn own_address(config: &Config) -> String {
    let socket = |path: &Path| format!("unix://{}", path.display());
    match (config.flows.listen, &config.flows.socket) {
        (Some(listen), _) if !listen.ip().is_unspecified() => listen.to_string(),
        (Some(listen), path) => match (config.host.addresses.first(), path) {
            (Some(address), _) => SocketAddr::new(*address, listen.port()).to_string(),
            // A path has no TLS.
            (None, Some(path)) if config.flows.tls.is_none() => socket(path),
            (None, _) => {
                let loopback =
                    if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
                SocketAddr::new(loopback, listen.port()).to_string()
            }
        },
        (None, Some(path)) => socket(path),
        (None, None) => String::new(),
    }
}

/// Every node once; then nothing more, because the configuration of them is fixed.
pub(super) async fn notify(observer: &Arc<Observer>, request: Request<Body>) -> Result<Response<Body>, Status> {
    call::ask::<NotifyRequest>(request).await?;
    let mut messages = Vec::new();
    let Peers { own, others } = &observer.peers;
    for peer in [own].into_iter().chain(others) {
        call::frame_message(&mut messages, peer);
    }
    let (sender, receiver) = mpsc::channel(1);
    let stop = observer.stop.clone();
    tokio::spawn(async move {
        if sender.send(Piece::Messages(messages.into())).await.is_ok() {
            tokio::select! {
                () = stop.cancelled() => drop(sender.send(Piece::End(ended())).await),
                () = sender.closed() => {}
            }
        }
    });
    Ok(call::answer(receiver))
}
