//! `l7proxy status`: what the running process says of itself.
//!
//! Owns the text, made to be read in a hurry: what is wrong comes first. What programs are given is the process' own
//! answer. Start at [`status`].

use std::{collections::BTreeMap, io, path::Path};

use serde_json::Value;
use tokio::runtime;

use super::{Exit, Output, counted, printable, say, trouble};
use crate::{admin, config};

/// Names in one line, and lines of one kind that nobody reads one by one.
const MAX_NAMES: usize = 3;
const MAX_SKIPPED: usize = 10;
/// Kinds that say what others mean, and nothing of a pod.
const NOT_OF_PODS: [&str; 4] = ["Tier", "NetworkSet", "GlobalNetworkSet", "CiliumCIDRGroup"];

/// Asks the running process.
pub(super) fn status(file: &Path, output: Output) -> Exit {
    let socket = match config::load(file) {
        Ok(config) => config.admin.socket,
        Err(error) => return trouble(error),
    };
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return trouble(error),
    };
    let answer = match runtime.block_on(admin::ask(&socket)) {
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return trouble(format_args!("{}: {error}; ask as the user that runs the process", socket.display()));
        }
        Err(error) => {
            return trouble(format_args!(
                "{}: {error}; is `l7proxy run --config {}` running?",
                socket.display(),
                file.display()
            ));
        }
    };
    match serde_json::from_slice::<Value>(&answer) {
        Ok(status) => {
            match output {
                Output::Json => say(&status),
                Output::Text => lines(&status).iter().for_each(|line| say(printable(line))),
            }
            if at(&status, "/ready").as_bool().unwrap_or_default() { Exit::Done } else { Exit::Refused }
        }
        Err(error) => trouble(format_args!("{}: not a status: {error}", socket.display())),
    }
}

fn lines(status: &Value) -> Vec<String> {
    let ready = if at(status, "/ready") == &Value::Bool(true) { "ready" } else { "NOT READY" };
    let number = |pointer: &str| at(status, pointer);
    let mut lines = vec![format!("{ready}   revision {}   pid {}", number("/revision"), number("/pid"))];
    lines.push(summary(status));
    lines.push(format!(
        "kernel: links {}, policies {} and {} kept for the next change, entries {}",
        number("/kernel/links"),
        number("/kernel/policies"),
        number("/kernel/policyStandbys"),
        number("/kernel/policyEntries")
    ));
    lines.extend(at(status, "/hubble").is_object().then(|| of_hubble(at(status, "/hubble"))));
    lines.extend(list(at(status, "/errors")).iter().map(|line| format!("error: {}", word(line))));
    lines.extend(list(at(status, "/kernel/lacking")).iter().map(|line| format!("kernel lacks {}", word(line))));
    lines.extend(list(at(status, "/kernel/overriders")).iter().map(|line| format!("warning: {}", word(line))));
    let endpoints = || list(at(status, "/endpoints")).iter();
    // What is not as it should be comes first.
    for endpoint in endpoints().filter(|one| !is_ready(one)).chain(endpoints().filter(|one| is_ready(one))) {
        of_endpoint(endpoint, &mut lines);
    }
    let pods = pods(status);
    let mut policies: Vec<&Value> = list(at(status, "/policies")).iter().collect();
    policies.sort_by_key(|policy| (is_in_force(policy), list(at(policy, "/errors")).is_empty()));
    for policy in policies {
        of_policy(policy, &pods, &mut lines);
    }
    lines.extend(list(at(status, "/pathRelaxed")).iter().map(|line| format!("relaxed: proxy.path.{}", word(line))));
    lines.extend(list(at(status, "/notEnforced")).iter().map(|line| format!("not enforced: {}", word(line))));
    let skipped = list(at(status, "/skipped"));
    lines.extend(skipped.iter().take(MAX_SKIPPED).map(|line| format!("skipped: {}", word(line))));
    if let Some(left @ 1..) = skipped.len().checked_sub(MAX_SKIPPED) {
        lines.push(format!("skipped: and {}; --output json has all", counted(left, "document more", "documents more")));
    }
    for (name, value) in at(status, "/counters").as_object().into_iter().flatten() {
        if value.as_u64() != Some(0) {
            lines.push(format!("counter {name}: {value}"));
        }
    }
    lines
}

/// `hubble: /run/hubble.sock and 127.0.0.1:4244 (TLS); 2 connections, 1 stream; 5 records in 1 KiB`.
fn of_hubble(hubble: &Value) -> String {
    let number = |name: &str| usize::try_from(at(hubble, name).as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
    let tls = if at(hubble, "/tls") == &Value::Bool(true) { " (TLS)" } else { "" };
    let listen = at(hubble, "/listen").as_str().map(|address| format!("{address}{tls}"));
    let places: Vec<String> = at(hubble, "/socket").as_str().map(str::to_owned).into_iter().chain(listen).collect();
    format!(
        "hubble: {}; {}, {}; {} in {} KiB",
        places.join(" and "),
        counted(number("/connections"), "connection", "connections"),
        counted(number("/streams"), "stream", "streams"),
        counted(number("/records"), "record", "records"),
        number("/bytes").div_ceil(1024)
    )
}

/// `2 pods, 1 of them not ready; 3 policies: 2 in force, 1 refused`.
fn summary(status: &Value) -> String {
    let (endpoints, policies) = (list(at(status, "/endpoints")), list(at(status, "/policies")));
    let pods = counted(endpoints.len(), "pod", "pods");
    let failed = match endpoints.iter().filter(|endpoint| !is_ready(endpoint)).count() {
        0 => String::new(),
        failed => format!(", {failed} of them not ready"),
    };
    let by_state = ["in force", "last good version", "refused"].into_iter().filter_map(|state| {
        let number = policies.iter().filter(|policy| word(at(policy, "/state")) == state).count();
        (number > 0).then(|| format!("{number} {state}"))
    });
    let by_state: Vec<String> = by_state.collect();
    let colon = if by_state.is_empty() { "" } else { ": " };
    format!("{pods}{failed}; {}{colon}{}", counted(policies.len(), "policy", "policies"), by_state.join(", "))
}

fn is_ready(endpoint: &Value) -> bool {
    word(at(endpoint, "/state")) == "ready"
}

fn is_in_force(policy: &Value) -> bool {
    word(at(policy, "/state")) == "in force"
}

fn of_endpoint(endpoint: &Value, lines: &mut Vec<String>) {
    let direction = |name: &str| {
        let enforced = at(endpoint, &format!("/{name}/enforced")).as_bool().unwrap_or_default();
        let redirects = at(endpoint, &format!("/{name}/redirects")).as_u64().unwrap_or_default();
        let redirects = counted(usize::try_from(redirects).unwrap_or(usize::MAX), "redirect", "redirects");
        if enforced { format!("{name} enforced ({redirects})") } else { format!("{name} open") }
    };
    let error = at(endpoint, "/error").as_str().map(|error| format!(": {error}")).unwrap_or_default();
    let backstop = at(endpoint, "/backstop").as_str().map(|guard| format!(", backstop {guard}")).unwrap_or_default();
    lines.push(format!(
        "endpoint {} [{}]: {}, {}, {}{backstop}{error}",
        word(at(endpoint, "/pod")),
        at(endpoint, "/id"),
        word(at(endpoint, "/state")),
        direction("ingress"),
        direction("egress")
    ));
    for name in ["ingress", "egress"] {
        let of_direction =
            list(at(endpoint, "/policies")).iter().filter(|one| one.get(name) == Some(&Value::Bool(true)));
        let named = of_direction.map(|one| {
            let policy = word(at(one, "/policy"));
            if is_in_force(one) { policy.to_owned() } else { format!("{policy} ({})", word(at(one, "/state"))) }
        });
        let named: Vec<String> = named.collect();
        if !named.is_empty() {
            lines.push(format!("  {name}: {}", named.join(", ")));
        }
    }
}

fn of_policy(policy: &Value, pods: &Pods<'_>, lines: &mut Vec<String>) {
    let name = word(at(policy, "/policy"));
    let (revision, errors) = (at(policy, "/revision"), list(at(policy, "/errors")));
    let state = match word(at(policy, "/state")) {
        "refused" => {
            format!("refused since revision {revision}: it allows nothing, and what it selects is under default deny")
        }
        "last good version" if errors.is_empty() => {
            format!("last good version, of revision {revision}, stays in force: its file cannot be read")
        }
        "last good version" => {
            format!("last good version, of revision {revision}, stays in force: what its file holds now is not valid")
        }
        state => format!("{state} since revision {revision}"),
    };
    let audit = if at(policy, "/audit") == &Value::Bool(true) { ", only audited" } else { "" };
    let kind = name.split(' ').next().unwrap_or_default();
    let whom = if NOT_OF_PODS.contains(&kind) { String::new() } else { format!("; {}", whom(pods.get(name))) };
    lines.push(format!("policy {name}: {state}{audit}{whom}"));
    lines.extend(errors.iter().map(|error| format!("  {}", word(error))));
}

/// Pods by the policies that say something of them.
type Pods<'v> = BTreeMap<&'v str, Vec<&'v str>>;

fn pods(status: &Value) -> Pods<'_> {
    let mut pods = Pods::new();
    for endpoint in list(at(status, "/endpoints")) {
        for applied in list(at(endpoint, "/policies")) {
            pods.entry(word(at(applied, "/policy"))).or_default().push(word(at(endpoint, "/pod")));
        }
    }
    pods
}

/// `for default/a, default/b and 7 pods more`.
fn whom(pods: Option<&Vec<&str>>) -> String {
    let Some(pods) = pods else { return "for no pod of this node".to_owned() };
    let named = pods.get(..MAX_NAMES).unwrap_or(pods).join(", ");
    match pods.len().checked_sub(MAX_NAMES) {
        Some(more @ 1..) => format!("for {named} and {}", counted(more, "pod more", "pods more")),
        Some(0) | None => format!("for {named}"),
    }
}

/// What a JSON pointer names, or null.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
