//! Hubble's own programs, unmodified, read a running proxy: its command line in two versions, its Relay, and grpcurl.

#![expect(clippy::indexing_slicing, reason = "what is not there fails the test")]

mod bounded;
mod direct;
mod file;
mod json;
mod reflected;
mod relayed;
mod served;
mod stage;
mod table;
