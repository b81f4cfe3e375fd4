//! Hubble's API as types: messages, clients and servers.
//!
//! Owns what goes over the wire, and nothing else: the files in `generated/` are made from those in `proto/`, which have the
//! packages, names and numbers of Cilium 1.20, so that its programs understand them. Never edit them by hand; after a change to
//! a .proto file run `HUBBLE_API_WRITE=1 cargo test -p hubble-api`. Start at `proto/observer/observer.proto`.

/// The descriptors of all packages, for reflection and for names of fields: a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// What is seen of traffic: package `flow`.
#[path = "generated/flow.rs"]
pub mod flow;
/// How to ask for it: package `observer`.
#[path = "generated/observer.rs"]
pub mod observer;
/// Which nodes there are: package `peer`.
#[path = "generated/peer.rs"]
pub mod peer;
/// What Relay says of nodes: package `relay`.
#[path = "generated/relay.rs"]
pub mod relay;
