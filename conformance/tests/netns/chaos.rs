//! Everything at once: killed, restarted, replaced and reconfigured under load, in an order that nobody chose.
//!
//! `L7PROXY_CHAOS_ROUNDS` makes it longer, `L7PROXY_CHAOS_SEED` another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
};

use anyhow::{Context, Result, ensure};
use conformance::{
    eventually,
    node::Plan,
    process::Process,
    server, told,
    tracer::{Call, Outcome, Then},
    traffic::{Tally, Tunnel, Volley, now},
};

use crate::{
    enrol::wait_gone,
    hand_over::{BOTH_WAYS, Stage},
    killed::{clean, connects, is_served, other_policy, status},
};

const ROUNDS: u64 = 60;
/// New connections a second, in each direction.
const RATE: u32 = 150;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Kill,
    Restart,
    TakeOver,
    TakeOverTwice,
    SuccessorDies,
    ChangePolicy,
    GuestComes,
    GuestGoes,
}

/// The same numbers from the same seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        // xorshift64*, whose upper bits are good enough for what comes next.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let upper = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(upper).unwrap_or_default() % sides
    }
}

struct Chaos {
    stage: Stage,
    guest: Plan,
    is_there: bool,
    is_other: bool,
    replaced: Vec<Process>,
    /// When what needs the proxy may be refused: it is not running.
    windows: Vec<(u64, u64)>,
}

impl Chaos {
    fn does(&mut self, deed: Deed, dice: &mut Dice) -> Result<()> {
        match deed {
            Deed::Kill => self.without_proxy(|stage| stage.node.kill()),
            Deed::Restart => self.without_proxy(|stage| stage.node.stop()),
            Deed::TakeOver => self.take_over(),
            Deed::TakeOverTwice => self.take_over().and_then(|()| self.take_over()),
            // Somewhere in the middle: while it fills its maps, or swaps programs.
            Deed::SuccessorDies => self.successor_dies(100 + dice.throw(60)),
            Deed::ChangePolicy => {
                self.is_other = !self.is_other;
                let policy = if self.is_other { other_policy() } else { BOTH_WAYS.to_owned() };
                self.stage.node.apply("policy.yaml", &policy)?;
                let (open, shut) = if self.is_other { (7001, 7000) } else { (7000, 7001) };
                let Stage { client, api, .. } = &self.stage;
                ensure!(connects(client, api, open)? && !connects(client, api, shut)?, "the policy is not in force");
                Ok(())
            }
            Deed::GuestComes => {
                let guest = self.stage.node.make(&self.guest)?;
                let is_ready = |pod: &conformance::node::Endpoint| pod.pod == "default/guest" && pod.state == "ready";
                self.stage.node.wait_status("the guest", |status| status.endpoints.iter().any(is_ready))?;
                ensure!(status(&guest, &self.stage.api, "/read/guest")? == Some(200), "a guest is served");
                ensure!(status(&guest, &self.stage.api, "/write/guest")? == Some(403), "and judged");
                self.is_there = true;
                Ok(())
            }
            Deed::GuestGoes => {
                conformance::node::ip(&["netns", "del", &self.guest.name])?;
                self.is_there = false;
                wait_gone(&self.guest)
            }
        }
    }

    /// What is in flight, and what comes meanwhile, may be lost.
    fn without_proxy(&mut self, end: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
        let since = now();
        end(&mut self.stage)?;
        self.stage.node.start()?;
        self.windows.push((since, now()));
        Ok(())
    }

    fn take_over(&mut self) -> Result<()> {
        let (client, api) = (&self.stage.client, self.stage.api.v4);
        let mut tunnel = Tunnel::open(client, (api, 8080), "/read/stream")?;
        self.replaced.push(self.stage.node.take_over()?);
        ensure!(tunnel.word("after")?, "a stream ended with a take-over");
        Ok(())
    }

    /// What it swapped is refused until the process that runs takes it back.
    fn successor_dies(&mut self, at: usize) -> Result<()> {
        let node = &self.stage.node;
        let told = |what: &str| node.log().matches(what).count();
        let before = told("ended before it did");
        let (_second, tracer) = node.traced("run", &["--take-over"])?;
        let mut since = now();
        let outcome = tracer.run(
            |call| {
                since = now();
                Ok(if call.number >= at { Then::Kill } else { Then::GoOn })
            },
            || Ok(false),
        )?;
        ensure!(outcome == Outcome::Killed, "{outcome:?}");
        eventually("the process to go on", || Ok((told("ended before it did") > before).then_some(())))?;
        node.wait_status("the process to answer", |status| status.ready)?;
        self.windows.push((since, now()));
        Ok(())
    }

    fn next(&self, dice: &mut Dice) -> Deed {
        let guest = if self.is_there { Deed::GuestGoes } else { Deed::GuestComes };
        let deeds = [
            Deed::Kill,
            Deed::Restart,
            Deed::TakeOver,
            Deed::TakeOverTwice,
            Deed::SuccessorDies,
            Deed::ChangePolicy,
            Deed::ChangePolicy,
            guest,
            guest,
        ];
        deeds.get(dice.throw(deeds.len())).copied().unwrap_or(Deed::Kill)
    }

    fn descriptors(&mut self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.stage.node.proxy()?.id()))?.count())
    }
}

fn number(name: &str, otherwise: u64) -> Result<u64> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}: no number")),
        Err(_) => Ok(otherwise),
    }
}

#[test]
fn nothing_gets_by_and_nothing_is_lost() -> Result<()> {
    let mut dice = Dice(number("L7PROXY_CHAOS_SEED", 1)?.max(1));
    let rounds = number("L7PROXY_CHAOS_ROUNDS", ROUNDS)?;
    let mut stage = Stage::new()?;
    let forbidden = server::tcp(&stage.api, "0.0.0.0:9090")?;
    let guest = stage.node.plan("default/guest", &[("app", "client")])?;
    stage.node.start()?;
    let mut chaos = Chaos { stage, guest, is_there: false, is_other: false, replaced: Vec::new(), windows: Vec::new() };
    let (pins, descriptors) = (chaos.stage.node.pins()?, chaos.descriptors()?);
    let volleys = chaos.stage.volleys(RATE, "a")?;
    let mut deeds: BTreeMap<Deed, u64> = BTreeMap::new();
    for round in 0..rounds {
        let deed = chaos.next(&mut dice);
        chaos.does(deed, &mut dice).with_context(|| format!("round {round}: {deed:?}\n{}", chaos.stage.node.log()))?;
        *deeds.entry(deed).or_default() += 1;
    }
    if chaos.is_there {
        chaos.does(Deed::GuestGoes, &mut dice)?;
    }
    let [out, into] = volleys.map(Volley::finish);
    let tallies = [out?, into?];
    told(format_args!("{deeds:?}"));
    is_right(&chaos, &tallies)?;
    assert!(forbidden.seen()?.is_empty(), "{:?}", forbidden.seen()?);
    at_most_one_record(&chaos.stage)?;
    for process in std::mem::take(&mut chaos.replaced) {
        assert!(process.wait()?.success(), "a process that was replaced ends by itself");
    }
    assert_eq!(chaos.stage.node.pins()?, pins, "nothing is left pinned");
    eventually("the end of all descriptors", || Ok((chaos.descriptors()? <= descriptors).then_some(())))?;
    let end = Call { number: 0, name: "the end" };
    is_served(&chaos.stage, &end)?;
    chaos.stage.node.stop()?;
    clean(&chaos.stage, &end)
}

/// Nothing that policy denies passed; nothing that it allows was lost, but while no proxy was running.
fn is_right(chaos: &Chaos, tallies: &[Tally]) -> Result<()> {
    let mut excused = 0;
    for tally in tallies {
        told(tally);
        for (thread, lost) in tally.lost() {
            ensure!(!lost.is_wrong(), "{thread}: answered against policy: {lost:?}");
            let overlaps = |(begin, end): &(u64, u64)| lost.since <= *end && lost.until >= *begin;
            let is_excused = chaos.windows.iter().any(overlaps);
            ensure!(is_excused, "{thread}: {lost:?}; windows {:?}\n{}", chaos.windows, chaos.stage.node.log());
            excused += 1;
        }
        let refused = tally.closed().map(|closed| closed.seen.keys().cloned().collect::<Vec<_>>());
        ensure!(refused.is_none_or(|seen| seen == ["111"]), "{:?}", tally.closed());
    }
    let open: u64 = chaos.windows.iter().map(|(begin, end)| end - begin).sum();
    let asked: u64 = tallies.iter().map(Tally::requests).sum();
    let windows = chaos.windows.len();
    told(format_args!("{excused} of {asked} requests had no answer, all in {windows} windows of {open} ms in all"));
    let allowed: BTreeSet<String> = tallies.iter().flat_map(|tally| tally.paths(true)).collect();
    for server in [&chaos.stage.served, &chaos.stage.guarded] {
        for seen in server.seen()? {
            let is_of_test = ["/read/stream", "/read/guest"].contains(&seen.target.as_str());
            ensure!(is_of_test || allowed.contains(&seen.target), "arrived and must not have: {seen:?}");
        }
    }
    Ok(())
}

fn at_most_one_record(stage: &Stage) -> Result<()> {
    let mut known = BTreeSet::new();
    for flow in stage.node.flows()?.iter().filter(|flow| flow.kind() == "REQUEST" && flow.url().contains("/a-")) {
        ensure!(known.insert(flow.url().to_owned()), "two records: {}", flow.url());
    }
    ensure!(!known.is_empty(), "there are records");
    Ok(())
}
