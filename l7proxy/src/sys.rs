//! Safe doors to what neither std nor rustix offers. The only module with `unsafe`; holds no policy.
//!
//! Start at the door that you need: [`netns_cookie`], [`replace_program`], [`abort_on_close`].

mod barrier;
mod bpf;
mod cgroup;
mod memory;
mod readiness;
mod socket;

pub use barrier::ProgramBarrier;
pub use bpf::{can_link_tcx, is_bpffs, link_is_alive, link_program, mount_bpffs, programs_at, replace_program};
pub use cgroup::cgroup2_mount;
pub use memory::resident_memory;
pub use readiness::register;
pub use socket::{abort_on_close, bind_address, leave_no_time_wait, netns_cookie};
