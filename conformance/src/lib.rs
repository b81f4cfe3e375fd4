//! Black-box tests: the real binary on a node made of network namespaces, judged by other people's programs.
//!
//! Owns nodes, pods and clients, and the form of the cases under `cases/`. Must never link against the program under
//! test; what it knows of it is its command line, its configuration and its records. Runs inside `.ci/in-netns` only.
//! Start at [`Node`].

pub mod case;
pub mod certificates;
pub mod client;
#[cfg(target_arch = "x86_64")]
pub mod lacking;
pub mod node;
pub mod packet;
pub mod pod;
pub mod process;
pub mod server;
pub mod sniffer;
pub mod tracer;
pub mod traffic;

pub use node::{Node, Pod};
pub use process::{Process, eventually, missing, skipped, told};
