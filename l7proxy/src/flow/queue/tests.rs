use std::{
    fs,
    net::Ipv4Addr,
    sync::atomic::AtomicBool,
    time::{Instant, SystemTime},
};

use rules::Direction;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::flow::{Asked, Ends, HttpInfo, HttpRecord, RawHeaders};

/// A request at this second.
fn request(second: u64, verdict: Verdict) -> Record {
    let end = || (Arc::default(), (Ipv4Addr::LOCALHOST, 80).into());
    let ends = Arc::new(Ends { direction: Direction::Egress, source: end(), destination: end() });
    let http = HttpInfo {
        method: "GET".into(),
        url: second.to_string(),
        protocol: "HTTP/1.1",
        trace: None,
        headers: RawHeaders::default(),
    };
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    let asked = Asked { ends, http, time, started: Instant::now(), ended: AtomicBool::new(false) };
    let (asked, code, latency_ns, reason, notes, revision) = (Arc::new(asked), 0, 0, "", None, 1);
    Record::Request(HttpRecord {
        time,
        asked,
        verdict,
        code,
        latency_ns,
        reason,
        answer: RawHeaders::default(),
        notes,
        revision,
    })
}

fn allow(second: u64) -> Record {
    request(second, Verdict::Forwarded(None))
}

/// Not forwarded.
fn deny(second: u64) -> Record {
    request(second, Verdict::Error)
}

fn stage() -> (TempDir, Arc<Counters>, Sink, Writer) {
    let directory = tempfile::tempdir().unwrap();
    let file = FileConfig { path: directory.path().join("flows.jsonl"), max_size_mb: 10, max_backups: 0 };
    let counters = Arc::new(Counters::default());
    let config = Config { file: Some(file), ..Config::default() };
    let (sink, writer) = pipeline(config, Arc::clone(&counters)).unwrap();
    (directory, counters, sink, writer)
}

/// The URL of each record, or how many were lost.
fn written(directory: &TempDir) -> Vec<String> {
    let text = fs::read_to_string(directory.path().join("flows.jsonl")).unwrap();
    let line = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let lost = event["lost_events"]["num_events_lost"].as_str().map(|lost| format!("{lost} lost"));
        lost.unwrap_or_else(|| event["flow"]["l7"]["http"]["url"].as_str().unwrap().to_owned())
    };
    text.lines().map(line).collect()
}

#[test]
fn what_finds_no_room_is_counted_and_told_and_allows_never_push_out_denials() {
    let (directory, counters, sink, writer) = stage();
    let lane = sink.lane(ROOM / 2);
    for second in 1..=4 {
        lane.emit(allow(second));
    }
    for second in 5..=7 {
        lane.emit(deny(second));
    }
    assert_eq!(counters.records_lost_forwarded.load(Ordering::Relaxed), 2);
    assert_eq!(counters.records_lost_dropped.load(Ordering::Relaxed), 1);
    sink.emit(allow(8));
    drop((sink, lane));
    writer.run();
    assert_eq!(written(&directory), ["1", "2", "5", "6", "8", "3 lost"]);
}

#[test]
fn lines_of_all_threads_are_in_the_order_of_time() {
    let (directory, _, sink, writer) = stage();
    let lanes = [sink.lane(2), sink.lane(2)];
    for second in 10..30 {
        let lane = &lanes[usize::from(second % 3 == 0)];
        lane.emit(if second % 4 == 0 { deny(second) } else { allow(second) });
    }
    drop((sink, lanes));
    writer.run();
    let wanted: Vec<String> = (10..30).map(|second: u64| second.to_string()).collect();
    assert_eq!(written(&directory), wanted);
}

#[test]
fn nothing_is_lost_between_many_threads_and_the_writers_looks() {
    let (directory, counters, sink, writer) = stage();
    let writer = thread::spawn(move || writer.run());
    let each: u64 = 2000;
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let lane = sink.lane(3);
            thread::spawn(move || {
                for index in 0..each {
                    let second = number * each + index;
                    lane.emit(if index % 7 == 0 { deny(second) } else { allow(second) });
                    if index % 500 == 0 {
                        // A worker with nothing to do: the writer comes to wait for it.
                        thread::sleep(FLUSH * 2);
                    }
                }
            })
        })
        .collect();
    drop(sink);
    for thread in threads {
        thread.join().unwrap();
    }
    writer.join().unwrap();
    let mut found: Vec<u64> = written(&directory).iter().map(|url| url.parse().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..3 * each).collect::<Vec<_>>());
    assert_eq!(counters.records_lost_forwarded.load(Ordering::Relaxed), 0);
}

#[test]
fn without_a_writer_every_record_is_counted_as_lost() {
    let (_directory, counters, sink, writer) = stage();
    let lane = sink.lane(1);
    drop(writer);
    lane.emit(allow(1));
    sink.emit(deny(2));
    assert_eq!(counters.records_lost_forwarded.load(Ordering::Relaxed), 1);
    assert_eq!(counters.records_lost_dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn a_record_is_written_while_others_may_come() {
    let (directory, _, sink, writer) = stage();
    let writer = thread::spawn(move || writer.run());
    let lane = sink.lane(1);
    // Each finds the writer waiting, or about to wait.
    for (number, second) in (1..=20).enumerate() {
        lane.emit(if second % 2 == 0 { deny(second) } else { allow(second) });
        let begin = Instant::now();
        while written(&directory).len() <= number {
            assert!(begin.elapsed() < Duration::from_secs(10), "record {second} waits for the next one");
            thread::sleep(FLUSH / 10);
        }
    }
    drop((sink, lane));
    writer.join().unwrap();
}
