//! What this kernel lacks of what is used where it is there.
//!
//! Owns how each such feature is found out, by trying it, and what is done without it. What there is nothing without is not
//! here: `load.rs` refuses to start. Start at [`Lacking`].

use std::{collections::BTreeMap, os::fd::AsFd};

use aya::{Ebpf, programs::Program};

use super::{
    Unenrolled,
    load::{self, BACKSTOP_IN, BACKSTOP_OUT, HOLD},
};
use crate::sys;

/// Links of a program at an interface, without a qdisc.
const TCX: &str = "tcx";

type Feature = (&'static str, &'static str, &'static str);

/// Features that a start does not need: name, since when they are there, and what is done without.
const OPTIONAL: [Feature; 4] = [
    (BACKSTOP_IN, "5.18", "what enters and leaves pods is not judged packet by packet"),
    (BACKSTOP_OUT, "5.18", "what enters and leaves pods is not judged packet by packet"),
    (HOLD, "6.15", "`redirect.unenrolled: hold` is refused"),
    (TCX, "6.6", "the backstop is attached by clsact"),
];

/// Features that are not there, with what the kernel said.
#[derive(Clone, Debug, Default)]
pub(super) struct Lacking(BTreeMap<&'static str, String>);

impl Lacking {
    /// Tries each. Nothing is attached by that.
    pub(super) fn probe(ebpf: &mut Ebpf) -> Self {
        let mut lacking = Self::default();
        for name in [BACKSTOP_OUT, BACKSTOP_IN, HOLD] {
            if let Err(error) = load::load_program(ebpf, name) {
                lacking.add(name, super::describe(&*error));
            }
        }
        // Without the program there is nothing to link.
        if let Some(Program::SchedClassifier(program)) = ebpf.program(BACKSTOP_OUT)
            && let Ok(fd) = program.fd()
            && let Err(error) = sys::can_link_tcx(fd.as_fd())
        {
            lacking.add(TCX, error.to_string());
        }
        lacking
    }

    fn add(&mut self, name: &'static str, reason: String) {
        tracing::warn!(feature = name, reason, "this kernel lacks it");
        self.0.insert(name, reason);
    }

    /// Why there is no backstop, if there is none.
    pub(super) fn backstop(&self) -> Option<&str> {
        [BACKSTOP_OUT, BACKSTOP_IN].into_iter().find_map(|name| self.0.get(name)).map(String::as_str)
    }

    /// Why nothing can be held, if so.
    pub(super) fn hold(&self) -> Option<&str> {
        self.0.get(HOLD).map(String::as_str)
    }

    /// Every feature, and whether it is there; without those of a start this process would not run.
    pub(super) fn all(&self) -> BTreeMap<&'static str, bool> {
        let needed = load::at_cgroup(Unenrolled::Allow).chain([load::AT_NETNS]).map(|name| (name, true));
        needed.chain(OPTIONAL.map(|(name, ..)| (name, !self.0.contains_key(name)))).collect()
    }

    /// One line for each that is not there.
    pub(super) fn lines(&self) -> Vec<String> {
        let lacking =
            OPTIONAL.iter().filter_map(|(name, since, without)| Some((name, since, without, self.0.get(*name)?)));
        lacking.map(|(name, since, without, reason)| format!("{name} (Linux {since}): {without}: {reason}")).collect()
    }
}
