//! The figures of one run.
//!
//! Start at [`Figures`].

use serde_json::{Value, json};

/// What the paths of rules look like.
pub(super) const KINDS: [&str; 3] = ["literal", "prefix", "regex"];
/// How many rules there are.
pub(super) const SIZES: [u32; 4] = [1, 100, 1_000, 10_000];
/// Which rule a request meets.
pub(super) const TARGETS: [&str; 3] = ["first", "last", "none"];

/// One point of a curve.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) kind: &'static str,
    pub(super) rules: u32,
    pub(super) target: &'static str,
    /// Of one decision.
    pub(super) instructions: u64,
    pub(super) nanoseconds: f64,
    /// CPU time of a request in Envoy's process.
    pub(super) envoy_microseconds: Option<f64>,
}

/// Making rules ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Compilation {
    pub(super) kind: &'static str,
    pub(super) rules: u32,
    /// Of parsing and resolving; the start of the process and some decisions add a hundredth.
    pub(super) instructions: u64,
    pub(super) milliseconds: f64,
    /// Most memory resident, of the whole process.
    pub(super) peak_mib: f64,
}

/// One policy among many changes.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) name: &'static str,
    pub(super) milliseconds: f64,
}

/// Patterns that are meant to cost.
#[derive(Clone, Debug)]
pub(super) struct Hostile {
    /// Patterns that ought to be refused and are not.
    pub(super) taken: Vec<String>,
    /// Instructions for a value, and for one that is twice as long.
    pub(super) instructions: [u64; 2],
}

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) decisions: Vec<Decision>,
    /// Nanoseconds of a decision when each of the most rules is met in its turn, by kind.
    pub(super) each: Vec<(&'static str, f64)>,
    pub(super) compilations: Vec<Compilation>,
    pub(super) changes: Vec<Change>,
    pub(super) hostile: Hostile,
}

impl Figures {
    /// The points of one curve, by the number of rules.
    pub(super) fn curve(&self, kind: &str, target: &str) -> Vec<&Decision> {
        self.decisions.iter().filter(|point| point.kind == kind && point.target == target).collect()
    }

    pub(super) fn json(&self) -> Value {
        let decision = |point: &Decision| {
            json!({
                "kind": point.kind, "rules": point.rules, "target": point.target,
                "instructions": point.instructions, "nanoseconds": point.nanoseconds,
                "envoyMicroseconds": point.envoy_microseconds,
            })
        };
        let compilation = |one: &Compilation| {
            json!({
                "kind": one.kind, "rules": one.rules, "instructions": one.instructions,
                "milliseconds": one.milliseconds, "peakMib": one.peak_mib,
            })
        };
        let change = |one: &Change| json!({ "name": one.name, "milliseconds": one.milliseconds });
        let each = |(kind, time): &(&str, f64)| json!({ "kind": kind, "nanoseconds": time });
        json!({
            "decisions": self.decisions.iter().map(decision).collect::<Vec<_>>(),
            "each": self.each.iter().map(each).collect::<Vec<_>>(),
            "compilations": self.compilations.iter().map(compilation).collect::<Vec<_>>(),
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
            "hostile": { "taken": self.hostile.taken, "instructions": self.hostile.instructions },
        })
    }
}
