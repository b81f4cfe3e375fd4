//! What is asked for as JSON is, to the last field, what the file of records has.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use conformance::client::hubble::Said;
use serde_json::Value;

use crate::stage::Told;

/// Compares line by line.
pub(crate) fn is_of_file(said: &Said, own: &[&Told]) -> Result<()> {
    ensure!(said.is_well(), "{said:#?}");
    let told: Vec<Value> = said.lines().into_iter().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut differ = Vec::new();
    for (told, own) in told.iter().zip(own) {
        differ.extend(differences(told, &own.flow.0).into_iter().map(|what| format!("{}: {what}", own.name)));
    }
    ensure!(differ.is_empty(), "what was asked for, and in the file: {differ:#?}");
    ensure!(told.len() == own.len(), "{} of {}", told.len(), own.len());
    Ok(())
}

/// Where two values are not the same.
fn differences(one: &Value, other: &Value) -> Vec<String> {
    let (Some(fields), Some(others)) = (one.as_object(), other.as_object()) else {
        return if one == other { Vec::new() } else { vec![format!(": {one} and {other}")] };
    };
    let keys: BTreeSet<&String> = fields.keys().chain(others.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        found.extend(differences(&one[key], &other[key]).into_iter().map(|rest| format!("/{key}{rest}")));
    }
    found
}
