//! Where pods and policies come from. The only code that knows files' shape; it writes what it read into plain values.
//!
//! Never compiles a policy and never touches the kernel. Start at [`standalone::read`].

mod fault;
mod secrets;
pub mod standalone;
mod versions;
pub mod watch;

pub use fault::Fault;
pub use versions::{AppliedPolicy, Placed, PolicyState, PolicyStatus, Versions};
