//! The limits. Those of counted instructions decide; those of time and memory are only told.
//!
//! Start at [`judge`] and [`tell`].

use anyhow::Result;

use super::figures::{Figures, KINDS, TARGETS};
use crate::say;

/// The dearest decision of a curve may cost so many percent of the cheapest.
const MOST_PERCENT: u64 = 110;
/// A decision among literal or prefix rules: what a slow core (2 GHz, two instructions in a cycle) does in 1 µs.
const MOST_OF_DECISION: u64 = 4_000;
/// Parsing and resolving: what such a core does in 1 s.
const MOST_OF_COMPILATION: u64 = 4_000_000_000;
/// A value that is twice as long may cost so many percent.
const MOST_OF_TWICE: u64 = 220;
const MOST_MILLISECONDS: f64 = 1_000.0;
const MOST_MIB: f64 = 64.0;
const MOST_CHANGE_MILLISECONDS: f64 = 50.0;

/// One limit, and whether it is kept.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) text: String,
    pub(super) kept: bool,
    /// It decides how the run ends.
    pub(super) decides: bool,
}

/// Says of each limit whether it is kept; whether all that decide are.
pub(super) fn tell(all: &[Judged]) -> Result<bool> {
    for judged in all {
        let word = match (judged.kept, judged.decides) {
            (true, _) => "ok    ",
            (false, true) => "FAILED",
            (false, false) => "over  ",
        };
        say(format_args!("{word} {}{}", judged.text, if judged.decides { "" } else { " (information)" }))?;
    }
    Ok(all.iter().all(|judged| judged.kept || !judged.decides))
}

/// Every limit.
pub(super) fn judge(figures: &Figures) -> Vec<Judged> {
    let mut judged = Vec::new();
    for kind in KINDS {
        for target in TARGETS {
            let costs = figures.curve(kind, target).into_iter().map(|point| point.instructions);
            let (least, most) = (costs.clone().min().unwrap_or(0), costs.max().unwrap_or(0));
            let percent = percent(most, least);
            let text = format!("{kind}, {target}: the dearest is {percent} % of the cheapest, most {MOST_PERCENT} %");
            judged.push(Judged { text, kept: percent <= MOST_PERCENT, decides: true });
            if kind != "regex" {
                let text = format!("{kind}, {target}: {most} instructions, most {MOST_OF_DECISION}");
                judged.push(Judged { text, kept: most <= MOST_OF_DECISION, decides: true });
            }
        }
    }
    for one in &figures.compilations {
        let what = format!("{} {} rules compiled", one.rules, one.kind);
        let told = |text: String, kept, decides| Judged { text: format!("{what}: {text}"), kept, decides };
        let text = format!("{} instructions, most {MOST_OF_COMPILATION}", one.instructions);
        judged.push(told(text, one.instructions <= MOST_OF_COMPILATION, true));
        let text = format!("{:.0} ms, most {MOST_MILLISECONDS:.0} ms", one.milliseconds);
        judged.push(told(text, one.milliseconds <= MOST_MILLISECONDS, false));
        let text = format!("{:.1} MiB, most {MOST_MIB:.0} MiB", one.peak_mib);
        judged.push(told(text, one.peak_mib <= MOST_MIB, false));
    }
    for change in &figures.changes {
        let text = format!("{}: {:.0} ms, most {MOST_CHANGE_MILLISECONDS:.0} ms", change.name, change.milliseconds);
        judged.push(Judged { text, kept: change.milliseconds <= MOST_CHANGE_MILLISECONDS, decides: false });
    }
    let hostile = &figures.hostile;
    let text = format!("patterns that are too large and not refused: {}", hostile.taken.len());
    judged.push(Judged { text, kept: hostile.taken.is_empty(), decides: true });
    let [once, twice] = hostile.instructions;
    let percent = percent(twice, once);
    let text = format!("a value twice as long costs {percent} %, most {MOST_OF_TWICE} %");
    judged.push(Judged { text, kept: percent <= MOST_OF_TWICE, decides: true });
    judged
}

/// Rounded up.
fn percent(of: u64, whole: u64) -> u64 {
    (of * 100).div_ceil(whole.max(1))
}

#[cfg(test)]
mod tests {
    use super::{
        super::figures::{Decision, Hostile, SIZES},
        *,
    };

    fn figures(dearest: u64) -> Figures {
        let point = |kind, target, rules| Decision {
            kind,
            rules,
            target,
            instructions: if rules == 10_000 { dearest } else { 1_000 },
            nanoseconds: 1e6,
            envoy_microseconds: None,
        };
        let curve = |kind, target| SIZES.map(|rules| point(kind, target, rules));
        let decisions =
            KINDS.into_iter().flat_map(|kind| TARGETS.into_iter().flat_map(move |target| curve(kind, target)));
        let hostile = Hostile { taken: Vec::new(), instructions: [100, 200] };
        Figures {
            decisions: decisions.collect(),
            each: Vec::new(),
            compilations: Vec::new(),
            changes: Vec::new(),
            hostile,
        }
    }

    fn is_kept(figures: &Figures) -> bool {
        judge(figures).iter().all(|judged| judged.kept || !judged.decides)
    }

    #[test]
    fn growth_decides_and_time_does_not() {
        assert!(is_kept(&figures(1_100)));
        assert!(!is_kept(&figures(1_101)));
    }

    #[test]
    fn hostile_patterns_decide() {
        let mut taken = figures(1_000);
        taken.hostile.taken.push("(a{1000}){1000}".to_owned());
        assert!(!is_kept(&taken));
        let mut quadratic = figures(1_000);
        quadratic.hostile.instructions = [100, 400];
        assert!(!is_kept(&quadratic));
    }
}
