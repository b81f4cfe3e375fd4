//! Our rules and Cilium's own policy code, asked the same: every difference must be one that is meant.

mod about;
mod answer;
mod corpus;
mod difference;
mod expected;
mod ours;
mod random;
mod theirs;

use std::{env, fmt::Write, fs, path::Path};

use anyhow::{Context, Result, ensure};

use self::{
    answer::{Answer, Verdict},
    difference::{Difference, Extent},
    expected::Expected,
};

/// Made cases, and what they are made from. `CILIUM_CASES` and `CILIUM_SEED` ask for others.
const MADE: u64 = 3000;
const SEED: u64 = 20;
/// So many differences are shown.
const SHOWN: usize = 12;

#[test]
fn every_difference_to_cilium_is_expected() {
    if let Err(error) = differences() {
        panic!("{error:#}");
    }
}

fn differences() -> Result<()> {
    let made = usize::try_from(number("CILIUM_CASES", MADE)?)?;
    let mut cases = corpus::cases(number("CILIUM_SEED", SEED)?, made);
    let ours: Vec<Answer> = cases.iter().map(ours::answer).collect::<Result<_>>()?;
    for (case, ours) in cases.iter_mut().zip(&ours) {
        if matches!(ours, Answer::Refused(_)) {
            // There is nothing to compare; the other side is to say only whether it accepts.
            case.queries.clear();
        }
    }
    let theirs = theirs::answers(&cases)?;
    let expected = expected::read()?;
    let mut extent = Extent::default();
    let mut unexpected = Vec::new();
    let mut hits = vec![0_usize; expected.len()];
    for ((case, ours), theirs) in cases.iter().zip(&ours).zip(&theirs) {
        for difference in difference::compare(case, ours, theirs, &mut extent) {
            extent.differences += 1;
            let mut known = false;
            for (entry, hits) in expected.iter().zip(&mut hits) {
                let fits = entry.matches(&difference);
                *hits += usize::from(fits);
                known |= fits;
            }
            if !known {
                unexpected.push(difference);
            }
        }
    }
    report(&extent, &expected, &hits, &unexpected)?;
    judge(unexpected, &expected, &hits)?;
    is_broad(&extent)
}

fn number(name: &str, otherwise: u64) -> Result<u64> {
    env::var(name).map_or(Ok(otherwise), |text| text.parse().with_context(|| format!("{name}={text} is no number")))
}

/// Numbers and everything that was not expected, for whoever wants them: `target/tmp/cilium-differences.txt`.
fn report(extent: &Extent, expected: &[Expected], hits: &[usize], unexpected: &[Difference<'_>]) -> Result<()> {
    let mut text = format!(
        "{} cases: {} accepted by both, {} refused by both; {} queries {:?}; {} differences\n",
        extent.cases,
        extent.accepted,
        extent.refused,
        extent.queries(),
        extent.verdicts,
        extent.differences
    );
    for (entry, hits) in expected.iter().zip(hits) {
        writeln!(text, "{hits:>6} {}", entry.id())?;
    }
    for difference in unexpected {
        writeln!(text, "\n{difference}")?;
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cilium-differences.txt");
    fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))
}

fn judge(mut unexpected: Vec<Difference<'_>>, expected: &[Expected], hits: &[usize]) -> Result<()> {
    // The smallest tell most.
    unexpected.sort_by_key(|difference| difference.case.manifests.len());
    let shown: Vec<String> = unexpected.iter().take(SHOWN).map(ToString::to_string).collect();
    ensure!(
        unexpected.is_empty(),
        "{} differences to Cilium are not in conformance/expected-differences.toml, among them:\n\n{}",
        unexpected.len(),
        shown.join("\n\n")
    );
    let idle = expected.iter().zip(hits).find(|(_, hits)| **hits == 0);
    if let Some((entry, _)) = idle {
        anyhow::bail!("{:?} in conformance/expected-differences.toml matches no difference; remove it", entry.id());
    }
    Ok(())
}

/// A corpus that asks little would find little.
fn is_broad(extent: &Extent) -> Result<()> {
    ensure!(extent.cases >= 2000, "only {} cases", extent.cases);
    ensure!(extent.accepted * 2 >= extent.cases, "only {} cases are accepted by both", extent.accepted);
    for verdict in Verdict::ALL {
        let count = extent.verdicts.get(&verdict).copied().unwrap_or(0);
        ensure!(count >= 20, "only {count} queries are {verdict}");
    }
    Ok(())
}
