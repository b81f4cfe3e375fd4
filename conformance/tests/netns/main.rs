//! The real binary with real eBPF on a node made of network namespaces. Run by `cargo xtask test netns`.

mod attack;
mod audit;
mod backstop;
mod baseline;
mod configuration;
mod datagram;
mod egress;
mod enrol;
mod enrolment;
mod events;
mod existing;
mod explain;
mod icmp;
mod ingress;
mod isolation;
mod kinds;
mod manifests;
mod policies;
mod ports;
mod protocol;
mod reload;
mod replay;
mod restart;
mod services;
mod sockets;
mod untouched;
