//! Cases: a policy, pods, requests, and what must become of them. One YAML file each, under `cases/`.
//!
//! Owns the form of these files and how they are played. Must never know more of a case than its file says. Start at
//! [`play`].

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    client::{Answer, curl},
    node::{Flow, Node, Pod},
    server::{self, Server},
};

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows; for whoever reads it.
    #[serde(rename = "about")]
    _about: String,
    manifests: Vec<Value>,
    pods: Vec<PodSpec>,
    requests: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PodSpec {
    pod: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Ports on which it answers HTTP.
    #[serde(default)]
    serves: Vec<u16>,
    /// Whether the configuration names it; otherwise it is part of the world.
    #[serde(default = "yes")]
    known: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    from: String,
    to: String,
    port: u16,
    request: Request,
    expect: Expect,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default = "get")]
    method: String,
    path: String,
    #[serde(default)]
    host: Option<String>,
    /// `Name: value`
    #[serde(default)]
    headers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// Absent: the connection is refused.
    #[serde(default)]
    status: Option<u16>,
    /// Absent: there is no record, because no connection had to be judged as HTTP.
    #[serde(default)]
    verdict: Option<String>,
    /// Verdicts on its way; two where both sides have rules.
    #[serde(default = "one")]
    records: usize,
    /// One of the policies that the record names.
    #[serde(default)]
    policy: Option<String>,
    /// The rule that allowed it, or the nearest.
    #[serde(default)]
    rule: Option<String>,
    /// The field of the nearest rule that failed.
    #[serde(default)]
    field: Option<String>,
}

impl Expect {
    fn told(&self) -> usize {
        if self.verdict.is_some() { self.records } else { 0 }
    }
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn get() -> String {
    "GET".to_owned()
}

/// Plays a case by the name of its file; every step that went wrong is told.
pub fn play(name: &str) -> Result<()> {
    let (path, case) = read(name)?;
    let mut node = Node::new()?;
    let mut pods = BTreeMap::new();
    let mut servers = BTreeMap::new();
    for spec in &case.pods {
        let labels: Vec<(&str, &str)> = spec.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let pod = if spec.known { node.pod(&spec.pod, &labels)? } else { node.stranger()? };
        for port in &spec.serves {
            servers.insert((spec.pod.clone(), *port), server::http(&pod, *port)?);
        }
        pods.insert(spec.pod.clone(), pod);
    }
    for (index, manifest) in case.manifests.iter().enumerate() {
        // The addresses of pods are known only now.
        let text = pods.iter().fold(serde_json::to_string_pretty(manifest)?, |text, (name, pod)| {
            text.replace(&format!("${{{name}}}"), &pod.v4.to_string())
        });
        node.write_manifest(&format!("{index}.json"), &text)?;
    }
    node.start()?;
    let status = node.status()?;
    let refused: Vec<_> = status.policies.iter().filter(|policy| policy.state != "in force").collect();
    ensure!(refused.is_empty(), "policies are not in force: {refused:#?}");
    let stage = Stage { node, pods, servers };
    let wrong: Vec<String> =
        case.requests
            .iter()
            .enumerate()
            .filter_map(|(index, step)| {
                stage.step(step).err().map(|error| {
                    format!("request {}: {} {}: {error:#}", index + 1, step.request.method, step.request.path)
                })
            })
            .collect();
    ensure!(wrong.is_empty(), "{}:\n{}", path.display(), wrong.join("\n"));
    let told: usize = case.requests.iter().map(|step| step.expect.told()).sum();
    let records = stage.node.flows()?.into_iter().filter(Flow::is_verdict).count();
    ensure!(records == told, "{}: {records} verdicts are recorded in all, must be {told}", path.display());
    Ok(())
}

fn read(name: &str) -> Result<(PathBuf, Case)> {
    let path = directory().join(format!("{name}.yaml"));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let case = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
    Ok((path, case))
}

/// Names of all case files.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory())? {
        let path = entry?.path();
        let name = path.file_stem().context("a case has no name")?.to_string_lossy().into_owned();
        ensure!(path.extension().is_some_and(|kind| kind == "yaml"), "{}: is no case", path.display());
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

struct Stage {
    node: Node,
    pods: BTreeMap<String, Pod>,
    servers: BTreeMap<(String, u16), Server>,
}

impl Stage {
    fn step(&self, step: &Step) -> Result<()> {
        let pod = |name: &str| self.pods.get(name).with_context(|| format!("{name}: no such pod in this case"));
        let (from, to) = (pod(&step.from)?, pod(&step.to)?);
        let records = self.node.flows()?.len();
        let reached = self.reached(step)?;
        let answer = send(step, from, to)?;
        let told = format!("status {}, curl exit {}", answer.status, answer.exit);
        match step.expect.status {
            Some(status) => ensure!(answer.status == status, "{told}, must be {status}"),
            None => ensure!(answer.is_refused(), "{told}, must be refused"),
        }
        let got = self.reached(step)? - reached;
        let allowed = step.expect.status == Some(200);
        ensure!(got == usize::from(allowed), "{got} requests reached the server");
        self.judge_record(step, records)?;
        self.judge_explain(step, allowed)
    }

    fn reached(&self, step: &Step) -> Result<usize> {
        let server = self.servers.get(&(step.to.clone(), step.port));
        server.map_or(Ok(0), |server| Ok(server.seen()?.len()))
    }

    /// The first record with the verdict that decided.
    fn judge_record(&self, step: &Step, from: usize) -> Result<()> {
        let expect = &step.expect;
        let Some(verdict) = &expect.verdict else { return Ok(()) };
        let found = self.node.wait_flows(from, expect.records, Flow::is_verdict)?;
        ensure!(found.len() == expect.records, "{} verdicts, must be {}", found.len(), expect.records);
        let flow = found.iter().find(|flow| flow.verdict() == verdict);
        let flow = flow.with_context(|| format!("no verdict is {verdict}: {found:?}"))?;
        if let Some(policy) = &expect.policy {
            ensure!(flow.policies().contains(policy), "policies {:?}, must name {policy}", flow.policies());
        }
        for (what, got, must) in [("rule", flow.rule(), &expect.rule), ("field", flow.failed_field(), &expect.field)] {
            if let Some(must) = must {
                ensure!(got == must, "{what} {got:?}, must be {must:?}: {}", flow.0);
            }
        }
        Ok(())
    }

    /// What `explain` says of it must be what happened.
    fn judge_explain(&self, step: &Step, allowed: bool) -> Result<()> {
        let (from, to) = (self.explained(&step.from)?, self.explained(&step.to)?);
        let port = step.port.to_string();
        let host = step.request.host.as_ref().map(|host| format!("Host: {host}"));
        let mut arguments = vec!["--from", &from, "--to", &to, "--port", &port];
        for header in host.iter().chain(&step.request.headers) {
            arguments.extend(["--header", header]);
        }
        arguments.extend([step.request.method.as_str(), step.request.path.as_str()]);
        let explained = self.node.explain(&arguments)?;
        ensure!(explained.allowed == allowed, "explain: {}", explained.told);
        for (what, must) in [("rule", &step.expect.rule), ("field", &step.expect.field)] {
            let Some(must) = must else { continue };
            let named: Vec<&str> = if what == "rule" { explained.rules() } else { explained.fields() };
            ensure!(named.contains(&must.as_str()), "explain names {what} {named:?}, must be {must:?}");
        }
        Ok(())
    }

    /// A pod's name, or the address of one that the configuration does not name.
    fn explained(&self, name: &str) -> Result<String> {
        let pod = self.pods.get(name).with_context(|| format!("{name}: no such pod in this case"))?;
        Ok(if pod.name == name { name.to_owned() } else { pod.v4.to_string() })
    }
}

fn send(step: &Step, from: &Pod, to: &Pod) -> Result<Answer> {
    let mut arguments = vec!["--request", step.request.method.as_str()];
    let host = step.request.host.as_ref().map(|host| format!("Host: {host}"));
    for header in host.iter().chain(&step.request.headers) {
        arguments.extend(["--header", header]);
    }
    if step.request.method == "HEAD" {
        arguments.push("--head");
    }
    curl(from, &arguments, &format!("http://{}:{}{}", to.v4, step.port, step.request.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_whole() -> Result<()> {
        for name in names()? {
            let (path, case) = read(&name)?;
            let pods: Vec<&str> = case.pods.iter().map(|spec| spec.pod.as_str()).collect();
            for step in &case.requests {
                assert!(
                    pods.contains(&step.from.as_str()) && pods.contains(&step.to.as_str()),
                    "{}: {step:?}",
                    path.display()
                );
            }
        }
        Ok(())
    }
}
