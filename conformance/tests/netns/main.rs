//! The real binary with real eBPF on a node made of network namespaces. Run by `cargo xtask test netns`.

mod attack;
mod audit;
mod backstop;
mod baseline;
mod configuration;
mod datagram;
mod egress;
mod enrolment;
mod icmp;
mod ingress;
mod isolation;
mod kinds;
mod manifests;
mod protocol;
mod reload;
mod restart;
mod untouched;
