//! The real binary with real eBPF on a node made of network namespaces. Run by `cargo xtask test netns`.

mod attack;
mod audit;
mod backstop;
mod baseline;
mod chaos;
mod clients;
mod configuration;
mod datagram;
mod egress;
mod enrol;
mod enrolment;
mod events;
mod existing;
mod explain;
mod features;
mod hand_over;
mod http2;
mod icmp;
mod ingress;
mod isolation;
mod killed;
mod kinds;
mod limits;
mod manifests;
mod metrics;
mod moved;
mod policies;
mod ports;
mod protocol;
mod reload;
mod replay;
mod restart;
mod services;
mod slow;
mod sockets;
mod untouched;
mod websocket;

/// Held by tests that ask who else is attached above, or attach there themselves.
static WHOLE_NODE: std::sync::Mutex<()> = std::sync::Mutex::new(());
