//! Flow records, as far as the demo shows them.
//!
//! Owns how a record is found and printed. Must never make one up: what is not in the file after a while is an error.
//! Start at [`Records`].

use std::{
    fmt, fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// The file of records, read on from where it was left.
#[derive(Debug)]
pub(super) struct Records {
    file: PathBuf,
    seen: usize,
}

/// Message type of Cilium's monitor.
const POLICY_VERDICT: u64 = 5;

/// The verdict of one record.
#[derive(Debug)]
pub(super) struct Record(Value);

impl Records {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, seen: 0 }
    }

    /// The next verdicts on a destination port, as many as there must be, in the order of the request's way.
    pub(super) fn next(&mut self, port: u16, number: usize) -> Result<Vec<Record>> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            // The last line may still be being written.
            let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            let mut found = Vec::new();
            for line in lines.iter().skip(self.seen) {
                let record: Value =
                    serde_json::from_str(line).with_context(|| format!("{}: not JSON", self.file.display()))?;
                let record = Record(record);
                if record.is_verdict() && record.port() == Some(port.into()) {
                    found.push(record);
                }
            }
            if found.len() >= number {
                self.seen = lines.len();
                // Denials are written first; on the way egress comes before ingress.
                found.sort_by(|a, b| a.direction().cmp(b.direction()));
                return Ok(found);
            }
            thread::sleep(PAUSE);
        }
        bail!("{}: fewer than {number} verdicts on port {port} after {PATIENCE:?}", self.file.display());
    }
}

impl Record {
    fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// A request, or a connection that was refused; not a response.
    fn is_verdict(&self) -> bool {
        let kind = self.text("/flow/l7/type");
        // Beside a drop stands the policy verdict of the same connection.
        let is_decision = self.at("/flow/event_type/type").as_u64() == Some(POLICY_VERDICT);
        kind == "REQUEST" || (kind.is_empty() && self.verdict() == "DROPPED" && !is_decision)
    }

    fn port(&self) -> Option<u64> {
        self.at("/flow/l4/TCP/destination_port").as_u64()
    }

    pub(super) fn verdict(&self) -> &str {
        self.text("/flow/verdict")
    }

    pub(super) fn direction(&self) -> &str {
        self.text("/flow/traffic_direction")
    }

    /// The policy that allowed it, or that put the pod under default deny.
    pub(super) fn policy(&self) -> Option<String> {
        let by = ["egress_allowed_by", "egress_denied_by", "ingress_allowed_by", "ingress_denied_by"];
        let policy = by.iter().find_map(|by| self.0.pointer(&format!("/flow/{by}/0")))?;
        let part = |name: &str| policy.get(name).and_then(Value::as_str).unwrap_or_default();
        Some(format!("{} {}/{}", part("kind"), part("namespace"), part("name")))
    }

    /// The rule that allowed it, or the one that came nearest and the field of it that failed.
    fn rule(&self) -> String {
        let nearest = |name: &str| self.text(&format!("/flow/extensions/value/nearest/{name}"));
        let summary = self.text("/flow/extensions/value/summary");
        let rule = self.text("/flow/extensions/value/rule");
        if !rule.is_empty() {
            return format!("rule {rule} ({summary})");
        }
        if nearest("rule").is_empty() {
            return "no rule names this peer and port".to_owned();
        }
        format!(
            "nearest rule {} ({}): {} is not {}",
            nearest("rule"),
            nearest("summary"),
            nearest("field"),
            nearest("expected")
        )
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.policy().unwrap_or_else(|| "no policy".to_owned());
        writeln!(f, "    {:<9} {:<7} by {policy}", self.verdict(), self.direction())?;
        write!(f, "    {:<17} {}", "", self.rule())
    }
}
