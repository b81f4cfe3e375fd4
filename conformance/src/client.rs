//! Real clients, run inside pods.
//!
//! Owns how each is called and how its answer is read. Must never judge the answer.

pub mod autobahn;
pub mod curl;
pub mod ghz;
pub mod go;
pub mod grpc;
pub mod grpcurl;
pub mod h2spec;
pub mod hubble;
pub mod node;
pub mod promtool;
pub mod slow;
mod tools;

pub use curl::{Answer, curl};
