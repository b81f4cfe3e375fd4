//! `l7proxy replay`: recorded flows against the manifests of now.
//!
//! Owns what is told of the differences. Nothing that a client sent reaches the screen unescaped. Start at
//! [`Replay::run`].

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use self::{
    compare::{Comparison, Now, Outcome},
    read::{Flow, Record},
};
use super::{
    Exit, Output, counted,
    judge::{Scene, rule_json},
    place::Places,
    printable, say, trouble, with,
};
use crate::{
    config,
    source::{Fault, Versions, standalone},
};

mod compare;
mod read;

/// Lines that cannot be read are told up to this number, and counted.
const MAX_TOLD: usize = 20;

/// Which flows.
#[derive(Debug, Args)]
pub struct Replay {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Manifests instead of the configuration's: a file or directory; may be given several times.
    #[arg(long = "policies", value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// `text` or `json`.
    #[arg(long, default_value = "text")]
    output: Output,
    /// Files of recorded flows, one JSON object a line.
    #[arg(required = true)]
    flows: Vec<PathBuf>,
}

/// Equal lines, how many, and as JSON.
type Groups = BTreeMap<String, (usize, Value)>;

/// What became of all flows.
#[derive(Default)]
struct Told {
    changes: Groups,
    depends: Groups,
    not_judged: BTreeMap<String, usize>,
    errors: Vec<Fault>,
    broken: usize,
    judged: usize,
    equal: usize,
    changed: usize,
    depending: usize,
}

impl Replay {
    pub(super) fn run(&self) -> Exit {
        let scene = match self.scene() {
            Ok(scene) => scene,
            Err(error) => return trouble(error),
        };
        let mut comparison = Comparison::new(scene);
        let mut told = Told::default();
        for file in &self.flows {
            read::lines(file, |line| match line {
                Ok(Record::Flow(flow)) => {
                    let outcome = comparison.of(&flow);
                    told.add(&flow, outcome, comparison.places());
                }
                Ok(Record::NotJudged(reason)) => told.leave(reason),
                Ok(Record::Other) => {}
                Err(fault) => told.fail(fault),
            });
        }
        for error in &told.errors {
            trouble(error);
        }
        match self.output {
            Output::Json => say(told.json()),
            Output::Text => told.print(),
        }
        match (told.broken, told.changed) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::Refused,
            _ => Exit::Trouble,
        }
    }

    fn scene(&self) -> Result<Scene, String> {
        let config = config::load(&self.config).map_err(|error| error.to_string())?;
        let paths = if self.policies.is_empty() { &config.policies } else { &self.policies };
        let versions =
            Versions::default().next(&standalone::read_manifests(paths), 1).with_secrets(config.secrets.as_deref());
        if !versions.problems().is_empty() {
            return Err(versions.problems().join("\n"));
        }
        // A refused policy takes part: it allows nothing.
        for error in versions.errors() {
            trouble(error);
        }
        Ok(Scene::new(config, &versions))
    }
}

impl Told {
    fn add(&mut self, flow: &Flow, outcome: Outcome, places: &Places) {
        let now = match outcome {
            Outcome::NotJudged(reason) => return self.leave(reason),
            Outcome::Same => {
                self.judged += 1;
                self.equal += 1;
                return;
            }
            Outcome::DependsOnHeaders(rule) => {
                self.judged += 1;
                self.depending += 1;
                let text = format!(
                    "now depends on headers that are not recorded: {} {} ({})",
                    rule.policy, rule.rule, rule.summary
                );
                return group(&mut self.depends, flow, &text, || json!({"dependsOn": rule_json(&rule, places)}));
            }
            Outcome::Changed(now) => now,
        };
        self.judged += 1;
        self.changed += 1;
        let text = match &now {
            Now::Verdict(answer) => format!("now {}", answer.text()),
            Now::Malformed(malformed) => format!("now answered with 400: {malformed}"),
        };
        group(&mut self.changes, flow, &text, || match &now {
            Now::Verdict(answer) => answer.json(places),
            Now::Malformed(malformed) => json!({"verdict": "MALFORMED", "reason": malformed.reason()}),
        });
    }

    fn leave(&mut self, reason: String) {
        let count = self.not_judged.entry(reason).or_default();
        *count += 1;
    }

    fn fail(&mut self, fault: Fault) {
        self.broken += 1;
        if self.errors.len() < MAX_TOLD {
            self.errors.push(fault);
        }
    }

    fn print(&self) {
        for (text, count, _) in sorted(&self.changes).into_iter().chain(sorted(&self.depends)) {
            say(format_args!("{count}x {text}"));
        }
        for (reason, count) in &self.not_judged {
            say(printable(&format!("{count}x not judged: {reason}")));
        }
        let judged = counted(self.judged, "flow", "flows");
        let mut parts = vec![format!("{judged} judged: {} equal", self.equal), format!("{} changed", self.changed)];
        let left = self.not_judged.values().sum::<usize>();
        for (count, text) in [
            (self.depending, "depend on headers that are not recorded"),
            (left, "not judged"),
            (self.broken, "cannot be read"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {text}"));
            }
        }
        say(parts.join(", "));
    }

    fn json(&self) -> Value {
        let list = |groups: &Groups| -> Vec<Value> {
            let with_count = |(_, count, value): Group<'_>| with(value.clone(), "count", count.into());
            sorted(groups).into_iter().map(with_count).collect()
        };
        let left = |(reason, count): (&String, &usize)| json!({"reason": reason, "count": count});
        json!({
            "changes": list(&self.changes),
            "dependsOnHeaders": list(&self.depends),
            "notJudged": self.not_judged.iter().map(left).collect::<Vec<_>>(),
            "errors": self.errors,
            "judged": self.judged,
            "equal": self.equal,
            "changed": self.changed,
            "broken": self.broken,
        })
    }
}

/// Text, how many, and as JSON.
type Group<'g> = (&'g str, usize, &'g Value);

/// Most often first.
fn sorted(groups: &Groups) -> Vec<Group<'_>> {
    let mut sorted: Vec<_> = groups.iter().map(|(text, (count, value))| (text.as_str(), *count, value)).collect();
    sorted.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    sorted
}

/// Equal texts are one group.
fn group(groups: &mut Groups, flow: &Flow, now: &str, json: impl FnOnce() -> Value) {
    let text = printable(&format!("{}: {}, {now}", asked(flow), was(flow)));
    let (count, _) = groups.entry(text).or_insert_with(|| (0, flow_json(flow, &json())));
    *count += 1;
}

fn name(end: &read::End) -> String {
    end.pod.clone().unwrap_or_else(|| end.address.to_string())
}

/// `EGRESS default/web -> default/api:8080/TCP GET http://api:8080/read`, `… -> default/api type 8/ICMP`.
fn asked(flow: &Flow) -> String {
    let Flow { direction, source, destination, port, protocol, request, .. } = flow;
    let number = if protocol.has_types() { format!(" type {port}") } else { format!(":{port}") };
    let ends = format!("{direction} {} -> {}{number}/{protocol}", name(source), name(destination));
    match request {
        Some(request) => format!("{ends} {} {}", request.method, request.url),
        None => ends,
    }
}

fn was(flow: &Flow) -> String {
    let verdict = if flow.was_denied { "denied" } else { "allowed" };
    if flow.by.is_empty() { format!("was {verdict}") } else { format!("was {verdict} by {}", flow.by.join(", ")) }
}

fn flow_json(flow: &Flow, now: &Value) -> Value {
    let (port, kind) = if flow.protocol.has_types() { (None, Some(flow.port)) } else { (Some(flow.port), None) };
    json!({
        "direction": flow.direction.to_string(),
        "source": name(&flow.source),
        "destination": name(&flow.destination),
        "port": port,
        "type": kind,
        "protocol": flow.protocol.to_string(),
        "method": flow.request.as_ref().map(|request| &request.method),
        "url": flow.request.as_ref().map(|request| &request.url),
        "old": {"verdict": if flow.was_denied { "DENIED" } else { "ALLOWED" }, "by": flow.by},
        "new": now,
    })
}
