//! Killed at any moment, the proxy leaves the old state or the new one, and never an opening.
//!
//! The moments are its calls of the kernel that change something, one after the other. Those that tell most are tried; with
//! `L7PROXY_THOROUGH` set, all of them.

use std::{env, fs, net::Ipv4Addr, process::Command};

use anyhow::{Context, Result};
use conformance::{
    eventually,
    node::{Place, Plan},
    process::output,
    server, told,
    tracer::{Call, Outcome, Then, Tracer},
};
use serde_json::json;

use crate::{
    enrol::wait_gone,
    hand_over::{BOTH_WAYS, Stage},
};

/// The same for another port, and one rule more.
pub(crate) fn other_policy() -> String {
    let rule = "    - toCIDR: [198.51.100.0/24]\n---\n";
    BOTH_WAYS.replace("\"7000\"", "\"7001\"").replacen("---\n", rule, 1)
}

/// Which calls to kill at, that is, not to make.
#[derive(Clone, Copy)]
enum Moments {
    /// Those right after something was switched, and some others.
    Switches,
    /// Every so many.
    Each(usize),
}

impl Moments {
    fn has(self, call: &Call, before: Option<&Call>) -> bool {
        let switches = |call: &Call| {
            matches!(call.name, "link-create" | "link-update" | "pin" | "rename" | "unlink" | "mount" | "unmount")
        };
        env::var_os("L7PROXY_THOROUGH").is_some()
            || match self {
                Self::Switches => before.is_some_and(switches) || call.number.is_multiple_of(16),
                Self::Each(count) => call.number.is_multiple_of(count),
            }
    }
}

/// Kills a process at the first of these moments after call number `after`; or lets it go when it is done before.
fn kill_after(
    tracer: Tracer,
    after: usize,
    moments: Moments,
    is_done: impl FnMut() -> Result<bool>,
) -> Result<Option<Call>> {
    let mut last = None;
    let at = |call: &Call| {
        let before = last.replace(call.clone());
        Ok(if call.number > after && moments.has(call, before.as_ref()) { Then::Kill } else { Then::GoOn })
    };
    let outcome = tracer.run(at, is_done)?;
    Ok(last.filter(|_| outcome == Outcome::Killed))
}

pub(crate) fn status(from: &Place, to: &Place, path: &str) -> Result<Option<u16>> {
    let nowhere = (Ipv4Addr::UNSPECIFIED, 0).into();
    Ok(server::dial(from, "plain", (to.v4, 8080).into(), path, nowhere)?.status)
}

pub(crate) fn connects(from: &Place, to: &Place, port: u16) -> Result<bool> {
    Ok(server::connect(from, (to.v4, port), None)?.result == "connected")
}

/// What policy denies, before and after, passes nowhere.
pub(crate) fn nothing_is_open(stage: &Stage, at: &Call) -> Result<()> {
    assert_ne!(status(&stage.client, &stage.api, "/write")?, Some(200), "out, {at:?}");
    assert_ne!(status(&stage.outer, &stage.inner, "/write")?, Some(200), "in, {at:?}");
    assert!(!connects(&stage.api, &stage.inner, 8080)?, "from a pod that may not, {at:?}");
    assert!(!connects(&stage.client, &stage.inner, 8080)?, "to a pod that it may not, {at:?}");
    for server in [&stage.served, &stage.guarded] {
        assert!(server.seen()?.iter().all(|seen| seen.target != "/write"), "{at:?}");
    }
    Ok(())
}

/// Policy is in force, and what it allows passes.
pub(crate) fn is_served(stage: &Stage, at: &Call) -> Result<()> {
    for (from, to) in [(&stage.client, &stage.api), (&stage.outer, &stage.inner)] {
        assert_eq!(status(from, to, "/read/a")?, Some(200), "{at:?}");
        assert_eq!(status(from, to, "/write")?, Some(403), "{at:?}");
    }
    nothing_is_open(stage, at)
}

/// As if there had never been a proxy.
fn is_clean(stage: &Stage, at: &Call) -> Result<()> {
    assert!(!stage.node.path("bpf").exists(), "{at:?}: {:?}", stage.node.pins());
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.contains(&stage.node.path("bpf").display().to_string()), "{at:?}: {mounts}");
    for name in ["admin.sock", "admin.sock.new"] {
        assert!(!stage.node.path(name).exists(), "{at:?}: {name}");
    }
    for pod in [&stage.client, &stage.api, &stage.outer, &stage.inner] {
        for side in ["ingress", "egress"] {
            let filters = output(Command::new("tc").args(["filter", "show", "dev", &pod.host_end(), side]))?;
            assert_eq!(filters, "", "{at:?}: {}", pod.name);
        }
    }
    for (from, to) in [(&stage.client, &stage.api), (&stage.outer, &stage.inner), (&stage.api, &stage.inner)] {
        assert_eq!(status(from, to, "/free")?, Some(200), "{at:?}");
    }
    Ok(())
}

pub(crate) fn clean(stage: &Stage, at: &Call) -> Result<()> {
    let cleaned = stage.node.run("cleanup", &[])?;
    assert!(cleaned.status.success(), "{at:?}: {cleaned:?}");
    is_clean(stage, at)
}

fn times_ready(stage: &Stage) -> usize {
    stage.node.log().matches(" ready ").count()
}

/// One more process that is killed at a call after number `after`.
fn killed_start(stage: &Stage, after: usize, moments: Moments) -> Result<Option<Call>> {
    let before = times_ready(stage);
    let (process, tracer) = stage.node.traced("run", &[])?;
    let at = kill_after(tracer, after, moments, || Ok(times_ready(stage) > before))?;
    if at.is_none() {
        process.kill()?;
    }
    Ok(at)
}

#[test]
fn at_a_start_after_a_crash() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.node.start()?;
    stage.node.kill()?;
    let (mut after, mut moments) = (0, 0);
    while let Some(at) = killed_start(&stage, after, Moments::Switches)? {
        nothing_is_open(&stage, &at)?;
        // What was left half done is adopted, also by one that is killed too.
        if moments % 4 == 0 {
            stage.node.start()?;
            is_served(&stage, &at)?;
            stage.node.kill()?;
        }
        (after, moments) = (at.number, moments + 1);
    }
    told(format_args!("killed at {moments} moments of {after} calls"));
    assert!(moments > 10);
    clean(&stage, &Call { number: after, name: "the end" })
}

/// On a node that nothing was on before.
fn at_a_first_start(backstop: &str) -> Result<()> {
    let mut stage = Stage::new()?;
    stage.node.set_redirect("backstop", json!(backstop));
    stage.node.write_config()?;
    let (mut after, mut moments) = (0, 0);
    while let Some(at) = killed_start(&stage, after, Moments::Each(5))? {
        if moments % 4 == 0 {
            stage.node.start()?;
            assert_eq!(status(&stage.client, &stage.api, "/write")?, Some(403), "{at:?}");
            assert_eq!(status(&stage.outer, &stage.inner, "/write")?, Some(403), "{at:?}");
            stage.node.kill()?;
        }
        clean(&stage, &at)?;
        (after, moments) = (at.number, moments + 1);
    }
    told(format_args!("{backstop}: killed at {moments} moments of {after} calls"));
    assert!(moments > 10);
    clean(&stage, &Call { number: after, name: "the end" })
}

#[test]
fn at_a_first_start_with_tcx() -> Result<()> {
    at_a_first_start("auto")
}

#[test]
fn at_a_first_start_with_clsact() -> Result<()> {
    at_a_first_start("clsact")
}

#[test]
fn while_policy_changes() -> Result<()> {
    let mut stage = Stage::new()?;
    let ways = [(BOTH_WAYS.to_owned(), 7000, 7001), (other_policy(), 7001, 7000)];
    let mut after = 0;
    for (moment, way) in (0..).zip([1, 0].into_iter().cycle()) {
        let (policy, then, now) = ways.get(way).context("there are two")?;
        stage.node.start()?;
        assert!(connects(&stage.client, &stage.api, *now)?);
        let tracer = Tracer::attach(stage.node.proxy()?.id())?;
        stage.node.write_manifest("policy.yaml", policy)?;
        let killed = kill_after(tracer, after, Moments::Each(1), || connects(&stage.client, &stage.api, *then))?;
        let open = [connects(&stage.client, &stage.api, *now)?, connects(&stage.client, &stage.api, *then)?];
        assert!(open == [true, false] || open == [false, true], "neither before nor after: {open:?}, {killed:?}");
        let Some(at) = killed else {
            told(format_args!("killed at {moment} moments"));
            assert!(moment > 3);
            return is_served(&stage, &Call { number: after, name: "the end" });
        };
        nothing_is_open(&stage, &at)?;
        after = at.number;
    }
    Ok(())
}

/// An address that no pod has is allowed by none of these, each time for another CIDR's sake: by the wider one that allows it
/// only, or without the narrower one that denies it, it would be.
#[test]
fn while_cidrs_change() -> Result<()> {
    let mut stage = Stage::new()?;
    let (denied, allowed) = (stage.node.stranger()?, stage.node.stranger()?);
    let _servers = [server::tcp(&denied, "0.0.0.0:7000")?, server::tcp(&allowed, "0.0.0.0:7000")?];
    let policy = |egress: &str, deny: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: default}}\nspec:\n  \
             endpointSelector: {{matchLabels: {{app: client}}}}\n  egress: [{egress}]\n  egressDeny: [{deny}]\n"
        )
    };
    let (one, wide) = (format!("{{toCIDR: [{}/32]}}", denied.v4), "{toCIDR: [10.0.0.0/8]}");
    // Whether each allows the other address.
    let ways = [
        (policy("{toCIDR: [192.0.2.0/24]}", ""), false),
        (policy(wide, &one), true),
        (policy("{toEntities: [all]}", wide), false),
        (policy(wide, &one), true),
    ];
    for (before, after) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
        let (Some((first, _)), Some((then, opens))) = (ways.get(before), ways.get(after)) else { continue };
        let mut number = 0;
        for moment in 0.. {
            stage.node.write_manifest("policy.yaml", first)?;
            stage.node.start()?;
            assert!(!connects(&stage.client, &denied, 7000)?);
            let tracer = Tracer::attach(stage.node.proxy()?.id())?;
            stage.node.write_manifest("policy.yaml", then)?;
            let is_done = || Ok(connects(&stage.client, &allowed, 7000)? == *opens);
            let killed = kill_after(tracer, number, Moments::Each(1), is_done)?;
            assert!(!connects(&stage.client, &denied, 7000)?, "from {before} to {after}: {killed:?}");
            let Some(at) = killed else {
                told(format_args!("from {before} to {after}: killed at {moment} moments"));
                assert!(moment > 3);
                stage.node.kill()?;
                break;
            };
            number = at.number;
        }
    }
    Ok(())
}

/// A pod that comes while the proxy runs is judged as a whole or not at all.
#[test]
fn while_a_pod_comes() -> Result<()> {
    let mut stage = Stage::new()?;
    let plan = stage.node.plan("default/guest", &[("app", "client")])?;
    let mut after = 0;
    for moment in 0.. {
        stage.node.start()?;
        let tracer = Tracer::attach(stage.node.proxy()?.id())?;
        let guest = stage.node.make(&plan)?;
        // Of a pod that nobody knows everything passes; 7001 is denied to clients.
        let killed = kill_after(tracer, after, Moments::Each(3), || Ok(!connects(&guest, &stage.api, 7001)?))?;
        let open = [connects(&guest, &stage.api, 7001)?, status(&guest, &stage.api, "/free")? == Some(200)];
        assert!(open == [true, true] || open == [false, false], "half a pod: {open:?}, {killed:?}");
        let at = killed.clone().unwrap_or(Call { number: after, name: "the end" });
        nothing_is_open(&stage, &at)?;
        if killed.is_some() {
            stage.node.start()?;
        }
        is_served(&stage, &at)?;
        assert_eq!(status(&guest, &stage.api, "/read/a")?, Some(200), "{at:?}");
        assert_eq!(status(&guest, &stage.api, "/write")?, Some(403), "{at:?}");
        assert!(!connects(&guest, &stage.api, 7001)?, "{at:?}");
        stage.node.kill()?;
        is_gone(&guest, &plan)?;
        if killed.is_none() {
            told(format_args!("killed at {moment} moments"));
            assert!(moment > 3);
            return clean(&stage, &at);
        }
        after = at.number;
    }
    Ok(())
}

fn is_gone(guest: &Place, plan: &Plan) -> Result<()> {
    guest.netns().delete()?;
    wait_gone(plan)
}

/// A pod that the configuration names no more is judged until it is not; others are all the time.
#[test]
fn while_a_pod_goes() -> Result<()> {
    let mut stage = Stage::new()?;
    let guest = stage.node.pod("default/guest", &[("app", "client")])?;
    let endpoints = stage.node.endpoints_mut().clone();
    let mut after = 0;
    for moment in 0.. {
        *stage.node.endpoints_mut() = endpoints.clone();
        stage.node.start()?;
        let pins = stage.node.pins()?.len();
        assert!(!connects(&guest, &stage.api, 7001)?);
        let tracer = Tracer::attach(stage.node.proxy()?.id())?;
        stage.node.endpoints_mut().pop();
        stage.node.write_config()?;
        let killed = kill_after(tracer, after, Moments::Each(3), || connects(&guest, &stage.api, 7001))?;
        let at = killed.clone().unwrap_or(Call { number: after, name: "the end" });
        nothing_is_open(&stage, &at)?;
        // What was left of it ends with the next start.
        if killed.is_some() {
            stage.node.start()?;
        }
        is_served(&stage, &at)?;
        assert!(connects(&guest, &stage.api, 7001)?, "{at:?}");
        assert_eq!(status(&guest, &stage.api, "/free")?, Some(200), "{at:?}");
        eventually("its pins to go", || Ok((stage.node.pins()?.len() == pins - 3).then_some(())))?;
        stage.node.kill()?;
        if killed.is_none() {
            told(format_args!("killed at {moment} moments"));
            assert!(moment > 3);
            return clean(&stage, &at);
        }
        after = at.number;
    }
    Ok(())
}

/// Whoever cleans up is killed too.
#[test]
fn while_it_is_cleaned_up() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.node.set_redirect("backstop", json!("clsact"));
    let mut after = 0;
    for moment in 0.. {
        stage.node.start()?;
        stage.node.kill()?;
        let (_process, tracer) = stage.node.traced("cleanup", &[])?;
        let Some(at) = kill_after(tracer, after, Moments::Each(3), || Ok(false))? else {
            told(format_args!("killed at {moment} moments"));
            assert!(moment > 3);
            return is_clean(&stage, &Call { number: after, name: "the end" });
        };
        clean(&stage, &at)?;
        after = at.number;
    }
    Ok(())
}
