//! What `l7proxy explain` says, read from its form for programs.
//!
//! Owns where in it a fact is found. Start at [`Explained`].

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Node;

/// The answer to one question.
#[derive(Clone, Debug)]
pub struct Explained {
    /// It may pass, says the exit code.
    pub allowed: bool,
    /// All of it.
    pub told: Value,
}

impl Explained {
    /// `ALLOWED`, `REDIRECTED`, `AUDIT`, `DENIED` or `MALFORMED`.
    #[must_use]
    pub fn verdict(&self) -> &str {
        text(&self.told, "verdict")
    }

    /// What one direction says alone.
    #[must_use]
    pub fn verdict_of(&self, direction: &str) -> &str {
        self.sides().iter().find(|side| text(side, "direction") == direction).map_or("", |side| text(side, "verdict"))
    }

    /// Of each side the rule that decides, or the nearest.
    #[must_use]
    pub fn rules(&self) -> Vec<&str> {
        let deciding = ["/allowedBy/rule", "/denyRule/rule", "/tried/0/rule"];
        let of_side = |side| deciding.iter().find_map(|pointer| Value::pointer(side, pointer)?.as_str());
        self.sides().iter().filter_map(of_side).collect()
    }

    /// Of each side the field that the nearest rule misses.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        self.sides().iter().filter_map(|side| side.pointer("/tried/0/missed/0/field")?.as_str()).collect()
    }

    fn sides(&self) -> &[Value] {
        self.told.get("sides").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

impl Node {
    /// What its configuration means for one connection or request.
    pub fn explain(&self, arguments: &[&str]) -> Result<Explained> {
        let output = self.run("explain", &[&["--output", "json"], arguments].concat())?;
        let text = || String::from_utf8_lossy(&output.stderr).into_owned();
        let allowed = match output.status.code() {
            Some(0) => true,
            Some(1) => false,
            code => bail!("explain: exit {code:?}: {}", text()),
        };
        Ok(Explained { allowed, told: serde_json::from_slice(&output.stdout).with_context(text)? })
    }
}
