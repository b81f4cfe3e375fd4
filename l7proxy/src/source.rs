//! Where pods and policies come from. The only code that knows files' shape; it writes what it read into plain values.
//!
//! Never compiles a policy and never touches the kernel. Start at [`standalone::read`].

pub mod standalone;
mod versions;
pub mod watch;

pub use versions::{PolicyState, PolicyStatus, Versions};
