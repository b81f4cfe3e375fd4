//! Hubble's API as types: messages, clients and servers.
//!
//! Owns what goes over the wire, and nothing else: the files in `generated/` are made from those in `proto/`, which have the
//! packages, names and numbers of Cilium 1.20, so that its programs understand them, and comments of ours on every message,
//! field and value. Never edit them by hand; after a change to a .proto file run
//! `HUBBLE_API_WRITE=1 cargo test -p hubble-api`. Start at `proto/observer/observer.proto`.

// Not denied: the test that writes `generated/` has to compile also while a comment is missing there.
#![warn(missing_docs)]
#![allow(clippy::large_enum_variant, clippy::allow_attributes, reason = "the shapes are those of the .proto files")]

/// The descriptors of all packages, for reflection and for names of fields: a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// What is seen of traffic: package `flow`.
pub mod flow {
    include!("generated/flow.rs");
}
/// How to ask for it: package `observer`.
pub mod observer {
    include!("generated/observer.rs");
}
/// Which nodes there are: package `peer`.
pub mod peer {
    include!("generated/peer.rs");
}
/// What Relay says of nodes: package `relay`.
pub mod relay {
    include!("generated/relay.rs");
}
