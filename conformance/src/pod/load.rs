//! Clients in a loop, until told to stop.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;

use super::{http::Client, say};

/// Nobody waits longer than this, whatever happens to the test.
const LONGEST: Duration = Duration::from_mins(2);

/// What one client saw, in order: equal answers that follow each other are counted.
type Runs = Vec<(String, u64)>;

/// So many new connections would use up the pod's ports.
const PAUSE: Duration = Duration::from_millis(2);

/// Half of the clients keep their connection, the others make a new one for each request. Each makes one more request
/// after the sign to stop.
pub(super) fn run(address: &str, path: &str, clients: usize) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    say("ready")?;
    let seen: Vec<Runs> = thread::scope(|scope| {
        let go_on = || !stop.load(Ordering::Relaxed) && begin.elapsed() < LONGEST;
        let start = |number| scope.spawn(move || client(address, path, number % 2 == 0, go_on));
        let running: Vec<_> = (0..clients).map(start).collect();
        // Its end is the sign to stop; what it says is of no interest.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        stop.store(true, Ordering::Relaxed);
        running.into_iter().map(|client| client.join().unwrap_or_else(|_| vec![("panicked".to_owned(), 1)])).collect()
    });
    say(&json!({ "clients": seen, "seconds": begin.elapsed().as_secs_f64() }).to_string())
}

fn client(address: SocketAddr, path: &str, keeps: bool, go_on: impl Fn() -> bool) -> Runs {
    let mut runs = Runs::new();
    let mut kept = None;
    let mut last = false;
    while !last {
        last = !go_on();
        let connection = match kept.take() {
            Some(connection) => Ok(connection),
            None => Client::connect(address),
        };
        let answer = connection.and_then(|mut connection| {
            let status = connection.get(path)?;
            kept = keeps.then_some(connection);
            Ok(status.to_string())
        });
        let answer = answer.unwrap_or_else(|error| format!("error: {error}"));
        match runs.last_mut() {
            Some((last, count)) if *last == answer => *count += 1,
            _ => runs.push((answer, 1)),
        }
        if !keeps {
            thread::sleep(PAUSE);
        }
    }
    runs
}
