//! Real clients, run inside pods.
//!
//! Owns how each is called and how its answer is read. Must never judge the answer.

pub mod curl;
pub mod grpc;
pub mod h2spec;
mod tools;

pub use curl::{Answer, curl};
