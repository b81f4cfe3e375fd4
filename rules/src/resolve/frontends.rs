//! Services as destinations: their virtual addresses, and what stands behind them.

use crate::{identity::Identity, verdict::Protocol};

/// A Service's virtual addresses of one family. In Cilium's words: frontends that share their backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Whom these addresses are taken for; nobody else's.
    pub identity: Identity,
    /// Its ports, each once.
    pub ports: Vec<FrontendPort>,
    /// Whom they are taken for on other ports, on which no Service answers: world, or a CIDR that policies name.
    pub otherwise: Identity,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendPort {
    /// Its protocol, one that has ports.
    pub protocol: Protocol,
    /// On the virtual address.
    pub port: u16,
    /// The pods behind it that are ready. None: nothing is allowed, because nobody knows who will be.
    pub targets: Vec<Target>,
}

/// A pod behind a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who it is.
    pub identity: Identity,
    /// On the pod.
    pub port: u16,
}
