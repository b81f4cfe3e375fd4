//! What it costs to be watched: the same requests with nobody looking, with Hubble's command line following, and with records
//! exported to a file.
//!
//! Owns the order of these. Whoever follows must read every record; what it missed is told. Start at [`run`].

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use conformance::eventually;
use serde_json::{Map, Value, json};

use super::{
    peer::{Kind, Peer},
    per,
    stage::{PATH, Stage},
};

/// Connections, and requests a second of each.
const CLIENTS: u32 = 10;
const RATE: u32 = 500;

/// A record is printed within this time where nothing else is.
const PRINTED: Duration = Duration::from_millis(500);

/// `hubble`: its program. Without rounds it is followed once, and nothing else.
pub(crate) fn run(seconds: u32, rounds: u32, hubble: &Path, peers: &Path) -> Result<Value> {
    let mut figures = Map::new();
    let mut add = |name: &str, figure: Value| {
        let list = figures.entry(name).or_insert_with(|| json!([]));
        list.as_array_mut().into_iter().for_each(|list| list.push(figure.clone()));
    };
    let start = |exported| -> Result<(Stage, Peer)> {
        let mut stage = Stage::watched(peers.to_path_buf(), exported)?;
        let peer = stage.start(Kind::L7proxy)?;
        // Warms up.
        stage.paced(&peer, 2)?;
        Ok((stage, peer))
    };
    for round in 0..rounds.max(1) {
        let (stage, peer) = start(false)?;
        if rounds > 0 {
            add("alone", stage.alone(&peer, seconds)?);
        }
        add("follower", stage.followed(&peer, hubble, seconds).with_context(|| format!("round {round}"))?);
        if rounds > 0 {
            add("alone", stage.alone(&peer, seconds)?);
            drop((peer, stage));
            let (stage, peer) = start(true)?;
            add("export", stage.alone(&peer, seconds)?);
        }
    }
    Ok(figures.into())
}

impl Stage {
    /// With nobody looking.
    fn alone(&self, peer: &Peer, seconds: u32) -> Result<Value> {
        Ok(json!({ "cpuMicroseconds": self.paced(peer, seconds)?.1 }))
    }

    /// While Hubble's command line prints every record.
    fn followed(&self, peer: &Peer, hubble: &Path, seconds: u32) -> Result<Value> {
        let follower = Follower::start(self.follower(peer, hubble))?;
        // From the first request on that it prints both records of.
        let before = eventually("the follower prints what comes", || {
            let before = follower.read();
            self.one(peer)?;
            thread::sleep(PRINTED);
            Ok((follower.read() == before + 2).then(|| follower.read()))
        })?;
        let (requests, cost) = self.paced(peer, seconds)?;
        let told = follower.end(before, 2 * u64::from(requests))?;
        Ok(json!({ "cpuMicroseconds": cost, "requests": requests, "read": told.flows, "lost": told.lost }))
    }

    /// Follows every record that comes.
    fn follower(&self, peer: &Peer, hubble: &Path) -> Command {
        let mut command = self.client(peer, &hubble.display().to_string());
        command.args(["observe", "--follow", "--server"]).arg(format!("unix://{}", self.socket().display()));
        command
    }

    /// A request.
    fn one(&self, peer: &Peer) -> Result<()> {
        let url = format!("http://{}{PATH}", peer.target());
        self.h2load(peer, &["--h1", "-c", "1", "-n", "1", &url]).map(drop)
    }

    /// How many requests were answered, and what each cost the proxy's process, in microseconds.
    fn paced(&self, peer: &Peer, seconds: u32) -> Result<(u32, f64)> {
        let requests = CLIENTS * RATE * seconds;
        let before = peer.cpu()?;
        let [clients, rate, count] = [CLIENTS, RATE, requests].map(|number| number.to_string());
        let url = format!("http://{}{PATH}", peer.target());
        self.h2load(peer, &["--h1", "-c", &clients, "--rps", &rate, "-n", &count, &url])?;
        Ok((requests, per(peer.cpu()? - before, requests.into()) / 1e3))
    }
}

/// `hubble observe --follow`, and who counts what it prints.
struct Follower {
    process: Child,
    counter: JoinHandle<Result<()>>,
    read: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

/// What it printed.
struct Told {
    flows: u64,
    lost: u64,
}

impl Follower {
    fn start(mut command: Command) -> Result<Self> {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("hubble")?;
        let out = BufReader::new(process.stdout.take().context("hubble has no output")?);
        let (read, lost) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (of_flows, of_losses) = (Arc::clone(&read), Arc::clone(&lost));
        let counter = thread::spawn(move || {
            for line in out.lines() {
                // `EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) 42 (first: …`
                let line = line?;
                match line.split_once("EVENTS LOST: ") {
                    Some((_, lost)) => {
                        let count = lost.split(' ').nth(2).and_then(|count| count.parse().ok());
                        of_losses.fetch_add(count.with_context(|| format!("{line:?}"))?, Ordering::Relaxed);
                    }
                    None => drop(of_flows.fetch_add(1, Ordering::Relaxed)),
                }
            }
            Ok(())
        });
        Ok(Self { process, counter, read, lost })
    }

    fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// When it has printed `all` after those `before`, or said what it missed.
    fn end(mut self, before: u64, all: u64) -> Result<Told> {
        let (read, lost) = (Arc::clone(&self.read), Arc::clone(&self.lost));
        let told = || Told { flows: read.load(Ordering::Relaxed) - before, lost: lost.load(Ordering::Relaxed) };
        let settled = eventually("every record is printed or told as lost", || {
            Ok((told().flows + told().lost >= all).then_some(()))
        });
        self.process.kill()?;
        self.process.wait()?;
        self.counter.join().ok().context("whoever counted panicked")??;
        let Told { flows, lost } = told();
        settled.with_context(|| format!("{flows} of {all} records were printed, {lost} told as lost"))?;
        Ok(Told { flows, lost })
    }
}
