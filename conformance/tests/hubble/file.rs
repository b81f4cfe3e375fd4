//! The command line reads our file of records, and filters it with its own code: what it prints is what everybody else must.

use anyhow::Result;
use conformance::{
    client::hubble::{Cli, Target},
    missing,
};
use serde_json::json;

use crate::{
    stage::{PAYMENTS, Stage},
    table::{self, OWN_ROWS, ROWS},
};

#[test]
fn it_is_read_without_a_complaint() -> Result<()> {
    let Some(cli) = Cli::find() else { return missing("the Hubble CLI") };
    let Some(mut stage) = Stage::new(PAYMENTS, &json!({}))? else { return missing("gRPC's server") };
    stage.act()?;
    let file = Target::file(&stage.node.path("flows.jsonl"));
    table::ask(&cli, &file, &[&stage], ROWS)?;
    table::ask(&cli, &file, &[&stage], OWN_ROWS)
}
