//! What Cilium's own code makes of all cases: `conformance/cilium-policy`, built and run once.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{
    answer::{Answer, Refusal, Verdict},
    corpus::Case,
};

#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    errors: Vec<String>,
    verdicts: Vec<Verdict>,
}

/// Go's own cache makes every build but the first one short.
fn build() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cilium-policy");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    let program = directory.join("cilium-policy");
    let status = Command::new("go")
        .args(["build", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .status()
        .context("go: cannot be started; this test needs Go as new as cilium-policy/go.mod says")?;
    ensure!(status.success(), "go build in {}: {status}", source.display());
    Ok(program)
}

/// One answer for each case, in their order.
pub(crate) fn answers(cases: &[Case]) -> Result<Vec<Answer>> {
    let program = build()?;
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{}: cannot be started", program.display()))?;
    let mut input = child.stdin.take().context("no input")?;
    let output = child.stdout.take().context("no output")?;
    let lines: Result<Vec<String>, _> = cases.iter().map(serde_json::to_string).collect();
    let lines = lines.context("a case is no JSON")?;
    // It answers while it is still being asked.
    let writer = thread::spawn(move || lines.iter().try_for_each(|line| writeln!(input, "{line}")));
    let mut answers = Vec::with_capacity(cases.len());
    for (line, case) in BufReader::new(output).lines().zip(cases) {
        let line = line.context("cilium-policy's answers cannot be read")?;
        let line: Line = serde_json::from_str(&line).with_context(|| format!("not an answer: {line}"))?;
        ensure!(line.name == case.name, "{} is answered instead of {}", line.name, case.name);
        answers.push(answer(line, case)?);
    }
    let status = child.wait().context("cilium-policy's end")?;
    ensure!(status.success(), "cilium-policy: {status}");
    let written = writer.join();
    ensure!(matches!(written, Ok(Ok(()))), "cilium-policy did not read all cases");
    ensure!(answers.len() == cases.len(), "cilium-policy answered {} of {} cases", answers.len(), cases.len());
    Ok(answers)
}

fn answer(line: Line, case: &Case) -> Result<Answer> {
    if !line.errors.is_empty() {
        let refusal = |reason| Refusal { field: String::new(), reason };
        return Ok(Answer::Refused(line.errors.into_iter().map(refusal).collect()));
    }
    ensure!(line.verdicts.len() == case.queries.len(), "{}: {} verdicts", line.name, line.verdicts.len());
    Ok(Answer::Accepted(line.verdicts))
}
