//! What all calls know: this node, its records, and what is said of them in one message.
//!
//! Owns `ServerStatus`, `GetNodes` and `GetNamespaces`. Must never look through records for these. Start at [`Observer`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hubble_api::{
    observer::{
        GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse, Namespace, Node,
        ServerStatusRequest, ServerStatusResponse, Tls,
    },
    relay::NodeState,
};
use tokio_util::sync::CancellationToken;

use super::{Sources, peers::Peers};
use crate::{config::Config, metrics::Counters};

/// What all calls know.
#[derive(Debug)]
pub(super) struct Observer {
    /// `cluster/node`, as every answer says it.
    pub(super) node_name: String,
    pub(super) sources: Sources,
    pub(super) peers: Peers,
    pub(super) counters: Arc<Counters>,
    /// This process answers no more.
    pub(super) stop: CancellationToken,
    started: Instant,
}

impl Observer {
    pub(super) fn new(config: &Config, sources: Sources, counters: Arc<Counters>, stop: CancellationToken) -> Self {
        Self {
            node_name: sources.node.full(),
            peers: Peers::new(config),
            sources,
            counters,
            stop,
            started: Instant::now(),
        }
    }

    pub(super) fn server_status(&self, _: ServerStatusRequest) -> ServerStatusResponse {
        let stats = self.sources.rings.stats();
        ServerStatusResponse {
            num_flows: stats.readable,
            max_flows: stats.capacity,
            seen_flows: stats.seen,
            uptime_ns: nanoseconds(self.started.elapsed()),
            version: version(),
            flows_rate: stats.rate,
            ..ServerStatusResponse::default()
        }
    }

    /// This one.
    pub(super) fn nodes(&self, _: GetNodesRequest) -> GetNodesResponse {
        let stats = self.sources.rings.stats();
        let own = self.peers.own();
        let node = Node {
            name: own.name.clone(),
            version: version(),
            address: own.address.clone(),
            state: NodeState::NodeConnected.into(),
            tls: Some(Tls {
                enabled: own.tls.is_some(),
                server_name: own.tls.as_ref().map(|tls| tls.server_name.clone()).unwrap_or_default(),
            }),
            uptime_ns: nanoseconds(self.started.elapsed()),
            num_flows: stats.readable,
            max_flows: stats.capacity,
            seen_flows: stats.seen,
        };
        GetNodesResponse { nodes: vec![node] }
    }

    /// Those of the last hour's records.
    pub(super) fn namespaces(&self, _: GetNamespacesRequest) -> GetNamespacesResponse {
        let seen = self.sources.namespaces.seen();
        let namespaces = seen.into_iter().map(|(cluster, namespace)| Namespace { cluster, namespace });
        GetNamespacesResponse { namespaces: namespaces.collect() }
    }
}

fn version() -> String {
    concat!("l7proxy v", env!("CARGO_PKG_VERSION")).to_owned()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
