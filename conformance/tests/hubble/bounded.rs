//! What is held for readers is bounded: denials stay, and who does not read is told how much it missed.

use anyhow::{Context, Result};
use conformance::{
    client::hubble::{Cli, Target},
    eventually, missing,
    server::Load,
};
use serde_json::{Value, json};

use crate::{
    served::{Options, Served, address, settle},
    stage::{ALL, PAYMENTS, time},
    table::{DROPPED, expected},
};

/// So many records have been pushed out: more than any connection to a reader holds.
const PUSHED_OUT: u64 = 5_000;
const CLIENTS: usize = 8;

#[test]
fn denials_stay_and_losses_are_told() -> Result<()> {
    let Some(cli) = Cli::find() else { return missing("the Hubble CLI") };
    let options = Options { buffer: Some(json!({ "sizeMib": 1, "denySizeMib": 1 })), ..Options::default() };
    let Some(served) = Served::start(PAYMENTS, address(), &options)? else {
        return missing("gRPC's interoperability client and server");
    };
    let served = served.acted()?;
    let target = served.unix();
    settle(&cli, &target, ALL.len())?;
    let mut stopped = cli.follow(&target, &["observe", "-f", "--last", "1"])?;
    let before = seen(&cli, &target)?;
    stopped.wait_lines(1)?;
    stopped.pause()?;
    let load = Load::start(&served.stage.web, (served.stage.checkout.v4, 8080), "/v1/flood", CLIENTS)?;
    // A machine that is busy takes longer than one patience.
    let mut held = before;
    while held.pushed_out < PUSHED_OUT {
        held = eventually("more records", || {
            let now = seen(&cli, &target)?;
            Ok((now.all > held.all).then_some(now))
        })?;
    }
    let answers = load.finish()?;
    assert!(answers.clients.iter().flatten().all(|(answer, _)| answer == "200"), "{answers:?}");
    // Whoever reads is told nothing of this: it was lost to nobody.
    let said = cli.run(&target, &["observe", "--last", "1000"])?;
    assert!(said.is_well() && said.lines().len() == 1000 && !said.out.contains("EVENTS LOST"), "{:?}", said.err);
    let last = time(&served.stage.told("boom-502")?.flow).replace('Z', "+00:00");
    let all = ["observe", "--all", "--verdict", "DROPPED", "--verdict", "ERROR", "--until", &last];
    let said = cli.run(&target, &all)?;
    let kept: Vec<&str> = DROPPED.iter().copied().chain(["boom-502"]).collect();
    assert_eq!(said.lines(), expected(&[&served.stage], &kept)?, "{said:#?}");
    // Who was stopped is told how many it did not get.
    stopped.resume()?;
    let new = seen(&cli, &target)?.all - before.all;
    eventually("every record is told, or told to be lost", || {
        let lines = stopped.wait_lines(1)?;
        let losses: Vec<u64> = lines.iter().filter_map(|line| lost(line)).collect();
        let told = u64::try_from(lines.len() - losses.len() - 1)?;
        anyhow::ensure!(told + losses.iter().sum::<u64>() <= new, "{told} and {losses:?} of {new}");
        Ok((!losses.is_empty() && told + losses.iter().sum::<u64>() == new).then_some(()))
    })?;
    let said = stopped.interrupt()?;
    assert!(said.exit == Some(0) && said.err.is_empty(), "{}", said.err);
    Ok(())
}

/// Records since the start, and those that nobody can read any more.
#[derive(Clone, Copy, Debug)]
struct Seen {
    all: u64,
    pushed_out: u64,
}

fn seen(cli: &Cli, target: &Target) -> Result<Seen> {
    let said = cli.run(target, &["status", "-o", "json"])?;
    let status: Value = serde_json::from_str(&said.out).with_context(|| format!("{said:#?}"))?;
    let number = |key: &str| -> Result<u64> { Ok(status[key].as_str().unwrap_or("0").parse()?) };
    let all = number("seen_flows")?;
    Ok(Seen { all, pushed_out: all - number("num_flows")? })
}

/// `… EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) 42 (first: …, last: …)`
fn lost(line: &str) -> Option<u64> {
    let rest = line.split_once("EVENTS LOST: HUBBLE_RING_BUFFER ")?.1;
    rest.split_whitespace().nth(1)?.parse().ok()
}
