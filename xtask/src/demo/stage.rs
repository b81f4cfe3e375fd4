//! What the demo shows: requests between two pods, each with its answer and its record.
//!
//! Owns the play and what must come of it. Start at [`stage`].

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result, bail};

use super::{
    node::{CLIENT, Node, SERVER, SERVER_ADDRESS},
    records::{Record, Records},
};
use crate::say;

const READ_ONLY: &str = "internal-api-l7.yaml";
const GUARDED: &str = "internal-api-ingress.yaml";
/// What is added to the first manifest while the proxy runs.
const ALSO_WRITE: &str = "              - method: POST\n                path: \"/api/v1/write\"\n";

const FORWARDED: &str = "FORWARDED";
const DROPPED: &str = "DROPPED";

/// A request, the answer it must get, and the verdicts that must be recorded for it, in their order.
#[derive(Clone, Copy, Debug)]
struct Request {
    method: &'static str,
    port: u16,
    path: &'static str,
    answer: Answer,
    verdicts: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Status(u16),
    /// `connect()` fails with "connection refused".
    Refused,
}

const fn request(method: &'static str, path: &'static str, status: u16, verdicts: &'static [&'static str]) -> Request {
    Request { method, port: 8080, path, answer: Answer::Status(status), verdicts }
}

const READING: [Request; 5] = [
    request("GET", "/api/v1/read/items", 200, &[FORWARDED]),
    request("GET", "/api/v1/readers?x=1", 200, &[FORWARDED]),
    request("POST", "/api/v1/readers?x=1", 403, &[DROPPED]),
    request("GET", "/api/v1/write", 403, &[DROPPED]),
    Request { method: "GET", port: 9090, path: "/", answer: Answer::Refused, verdicts: &[DROPPED] },
];
const WRITING: [Request; 1] = [request("POST", "/api/v1/write", 200, &[FORWARDED])];
const GUARDING: [Request; 2] = [
    request("GET", "/api/v1/read/items", 200, &[FORWARDED, FORWARDED]),
    request("GET", "/api/v1/readers?x=1", 403, &[FORWARDED, DROPPED]),
];

/// Plays it; says whether every answer and every verdict was as it must be.
pub(crate) fn stage(proxy: &Path, manifests: &Path) -> Result<bool> {
    let begin = Instant::now();
    let read_only = manifests.join(READ_ONLY);
    let node = Node::start(proxy, &read_only)?;
    say(format_args!("pods {CLIENT} (10.77.0.2) and {SERVER} ({SERVER_ADDRESS}), and the proxy"))?;
    say(format_args!("are up after {:.1} s; in force: docs/examples/{READ_ONLY}", begin.elapsed().as_secs_f64()))?;
    let mut play = Play { records: Records::new(node.flows()), node, wrong: Vec::new() };
    play.all(&READING)?;

    let text = read(&read_only)?;
    let revision = play.node.apply(&format!("{text}{ALSO_WRITE}"), &read_only)?;
    say(format_args!("\nthe manifest changes while the proxy runs (now revision {revision}):"))?;
    ALSO_WRITE.lines().try_for_each(|line| say(format_args!("  + {line}")))?;
    play.all(&WRITING)?;

    let guarded = manifests.join(GUARDED);
    let revision = play.node.apply(&read(&guarded)?, &guarded)?;
    say(format_args!("\nthe API gets a policy of its own, docs/examples/{GUARDED} (now revision {revision}):"))?;
    play.all(&GUARDING)?;

    say(format_args!("\nthe demo took {:.1} s; its pods, proxy and files end here", begin.elapsed().as_secs_f64()))?;
    for wrong in &play.wrong {
        say(format_args!("NOT AS EXPECTED: {wrong}"))?;
    }
    Ok(play.wrong.is_empty())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))
}

#[derive(Debug)]
struct Play {
    node: Node,
    records: Records,
    wrong: Vec<String>,
}

impl Play {
    fn all(&mut self, requests: &[Request]) -> Result<()> {
        requests.iter().try_for_each(|request| self.one(*request))
    }

    fn one(&mut self, request: Request) -> Result<()> {
        let Request { method, port, path, answer, verdicts } = request;
        let title = format!("{method} http://{SERVER_ADDRESS}:{port}{path}");
        let got = self.curl(request)?;
        let records = self.records.next(port, verdicts.len())?;
        say(format_args!("\n  {title:<52} -> {}", got.told()))?;
        records.iter().try_for_each(say)?;
        if got != answer {
            self.wrong.push(format!("{title}: {}, must be {}", got.told(), answer.told()));
        }
        let given: Vec<&str> = records.iter().map(Record::verdict).collect();
        if given != verdicts {
            self.wrong.push(format!("{title}: verdicts {given:?}, must be {verdicts:?}"));
        }
        if records.iter().any(|record| record.policy().is_none()) {
            self.wrong.push(format!("{title}: a record names no policy"));
        }
        Ok(())
    }

    fn curl(&self, Request { method, port, path, .. }: Request) -> Result<Answer> {
        /// curl's exit code for a connection that could not be made.
        const NO_CONNECTION: i32 = 7;
        let url = format!("http://{SERVER_ADDRESS}:{port}{path}");
        let output = self
            .node
            .in_client("curl")
            .args(["--silent", "--noproxy", "*", "--max-time", "10", "--output", "/dev/null"])
            .args(["--write-out", "%{http_code}", "--request", method, &url])
            .output()
            .context("curl cannot be started")?;
        if output.status.code() == Some(NO_CONNECTION) {
            return Ok(Answer::Refused);
        }
        if !output.status.success() {
            bail!("curl {url}: {}", output.status);
        }
        let status = String::from_utf8_lossy(&output.stdout);
        Ok(Answer::Status(status.trim().parse().with_context(|| format!("curl {url}: status {status:?}"))?))
    }
}

impl Answer {
    fn told(self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Refused => "connection refused".to_owned(),
        }
    }
}
