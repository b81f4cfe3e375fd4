//! `expected-differences.toml`: which differences are meant, and why.
//!
//! The file is a list of tables of texts, and that much of TOML is what is read here.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};

use crate::difference::Difference;

const KEYS: [&str; 7] = ["id", "reason", "ours", "theirs", "field", "says", "about"];

/// One entry. What it does not ask for may be anything.
#[derive(Debug)]
pub(crate) struct Expected {
    texts: BTreeMap<String, String>,
}

pub(crate) fn read() -> Result<Vec<Expected>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected-differences.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut entries: Vec<Expected> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[difference]]" {
            entries.push(Expected { texts: BTreeMap::new() });
            continue;
        }
        let entry = entries.last_mut().with_context(|| format!("line {number}: before the first [[difference]]"))?;
        let (key, value) = line.split_once(" = ").with_context(|| format!("line {number}: not key = \"value\""))?;
        // A TOML text without escapes other than \" and \\ is a JSON text.
        let value = serde_json::from_str(value).with_context(|| format!("line {number}: not a text"))?;
        ensure!(KEYS.contains(&key), "line {number}: {key} is not one of {}", KEYS.join(", "));
        ensure!(entry.texts.insert(key.to_owned(), value).is_none(), "line {number}: {key} is given twice");
    }
    for entry in &entries {
        entry.check()?;
    }
    Ok(entries.iter().flat_map(Expected::of_each_field).collect())
}

impl Expected {
    fn check(&self) -> Result<()> {
        for key in ["id", "reason", "ours", "theirs"] {
            if self.get(key).is_none_or(str::is_empty) {
                bail!("{:?} needs {key}", self.texts);
            }
        }
        Ok(())
    }

    /// One for each field, so that a field that is not refused any more is told.
    fn of_each_field(&self) -> Vec<Self> {
        let Some(fields) = self.get("field") else { return vec![Self { texts: self.texts.clone() }] };
        let of = |field: &str| {
            let mut texts = self.texts.clone();
            texts.insert("field".to_owned(), field.to_owned());
            if fields.contains('|') {
                texts.insert("id".to_owned(), format!("{} {field}", self.id()));
            }
            Self { texts }
        };
        fields.split('|').map(of).collect()
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    pub(crate) fn id(&self) -> &str {
        self.get("id").unwrap_or_default()
    }

    /// Whether it tells of this difference.
    pub(crate) fn matches(&self, difference: &Difference<'_>) -> bool {
        let one_of = |key: &str, value: &str| self.get(key).is_none_or(|all| all.split('|').any(|one| one == value));
        one_of("ours", &difference.ours)
            && one_of("theirs", &difference.theirs)
            && one_of("field", &difference.refusal.field)
            && self.get("says").is_none_or(|text| difference.refusal.reason.contains(text))
            && self.get("about").is_none_or(|about| difference.about.contains(&about))
    }
}
