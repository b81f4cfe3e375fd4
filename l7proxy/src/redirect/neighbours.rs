//! Other owners of the hooks that we judge at.
//!
//! The kernel runs all programs of a hook in the order in which they were attached, those of a cgroup before those of the ones
//! above it. What runs before us may send a connection elsewhere: we judge where it goes then. What runs after us may send it
//! where nobody was asked. Owns that question; changes nothing. Start at [`Redirect::overriders`].

use aya::programs::loaded_programs;

use super::{Redirect, RedirectError};
use crate::sys;

/// Hooks whose programs may change where something goes, with the kernel's numbers (`enum bpf_attach_type`).
const HOOKS: [(&str, u32); 4] = [("connect4", 10), ("connect6", 11), ("sendmsg4", 14), ("sendmsg6", 15)];

impl Redirect {
    /// Programs that run after ours at one of these hooks, a line for each.
    pub fn overriders(&self) -> Result<Vec<String>, RedirectError> {
        let mut lines = Vec::new();
        for (hook, number) in HOOKS {
            let (cgroup, pin) = self.links.at_cgroup(hook);
            let look = |what| RedirectError::path(pin.clone(), what);
            let own = sys::link_program(&pin).map_err(look("read its program"))?;
            let order = sys::programs_at(cgroup, number).map_err(look("list the programs of its hook"))?;
            let after = order.iter().skip_while(|id| **id != own).skip(1);
            lines.extend(after.map(|id| {
                format!(
                    "{hook}: program {id} ({}) runs after ours and may send connections where policy was not asked; without a \
                     backstop nobody sees it: start its owner before l7proxy",
                    name(*id)
                )
            }));
        }
        Ok(lines)
    }
}

fn name(id: u32) -> String {
    let known = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    known.and_then(|program| program.name_as_str().map(str::to_owned)).unwrap_or_else(|| "without a name".to_owned())
}
