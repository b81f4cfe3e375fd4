//! Each request of the table: alone, and in the middle of a pipeline in one write, where it is most of use to whoever
//! wants to be read differently.
//!
//! | expected | means |
//! |---|---|
//! | `pass` | it arrives as the table says, and so does the request behind it |
//! | `closes` | it arrives, is answered, and both sides are closed: what stands behind it reaches nobody |
//! | `403 …` | it is denied, nothing of it arrives, the request behind it does |
//! | `4xx …` | nothing of it arrives, nor of what stands behind it, and both sides are closed |
//!
//! The word behind a status is the record's reason. A body that is wrong can be so after its head arrived: then both sides
//! end with a reset.

use crate::{
    exchange::{End, OK, Plan, Seen, When, each, run},
    stage::{Stage, told},
    table::{self, Case, shown},
};

/// Messages, families counted out.
const LEAST: usize = 1700;

const FIRST: &[u8] = b"GET /read/first HTTP/1.1\r\nHost: h\r\n\r\n";
const NEXT: &[u8] = b"GET /read/next HTTP/1.1\r\nHost: h\r\n\r\n";
const BODY: &str = "body-framing";

/// All of them, read.
pub(crate) fn all() -> Vec<Case> {
    table::read("requests")
}

#[test]
fn every_request_has_the_end_that_the_table_gives_it() {
    let cases = all();
    assert!(cases.len() >= LEAST, "{} cases", cases.len());
    let wrong =
        each(&cases, |case| check(case).map_err(|why| format!("{}: {} expected, {why}", case.name, case.expected)));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn check(case: &Case) -> Result<(), String> {
    let (class, reason) = case.expected.split_once(' ').unwrap_or((&case.expected, ""));
    match class {
        "pass" | "closes" => {
            alone_allowed(case, class == "closes")?;
            between_allowed(case, class == "closes")
        }
        "403" => {
            refused_alone(case, class, reason, false)?;
            denied_between(case)
        }
        status => {
            refused_alone(case, status, reason, true)?;
            refused_between(case, status)?;
            if reason == BODY { late(case) } else { Ok(()) }
        }
    }
}

fn alone_allowed(case: &Case, closes: bool) -> Result<(), String> {
    let server = vec![(case.arrives.as_slice(), OK)];
    let seen = run(&Stage::new(), &Plan { send: &case.send, server, answers: 1, closes, ..Plan::default() });
    arrived(&seen, &[&case.arrives])?;
    answered(&seen, &["200"], End::Closed)
}

fn between_allowed(case: &Case, closes: bool) -> Result<(), String> {
    let send = [FIRST, &case.send, NEXT].concat();
    let mut server = vec![(FIRST, OK), (case.arrives.as_slice(), OK)];
    if !closes {
        server.push((NEXT, OK));
    }
    let messages: Vec<&[u8]> = server.iter().map(|(request, _)| *request).collect();
    // Bytes behind a request that closes may come later only: together with it they are refused.
    let together = [FIRST, &case.send].concat();
    let send = if closes { together.as_slice() } else { &send };
    let plan = Plan { send, server: server.clone(), answers: server.len(), closes, ..Plan::default() };
    let seen = run(&Stage::new(), &plan);
    arrived(&seen, &messages)?;
    answered(&seen, &vec!["200"; server.len()], End::Closed)
}

fn denied_between(case: &Case) -> Result<(), String> {
    let send = [FIRST, &case.send, NEXT].concat();
    let server = vec![(FIRST, OK), (NEXT, OK)];
    let seen = run(&Stage::new(), &Plan { send: &send, server, answers: 3, ..Plan::default() });
    arrived(&seen, &[FIRST, NEXT])?;
    answered(&seen, &["200", "403", "200"], End::Closed)
}

fn refused_alone(case: &Case, status: &str, reason: &str, closes: bool) -> Result<(), String> {
    let stage = Stage::new();
    let seen = run(&stage, &Plan { send: &case.send, answers: 1, closes, ..Plan::default() });
    arrived(&seen, &[])?;
    answered(&seen, &[status], End::Closed)?;
    let records = told(&stage.records(2));
    let is_told = |record: &String| {
        record.starts_with("DROPPED ") && (reason.is_empty() || record.ends_with(&format!(" {reason}")))
    };
    if records.len() == 2 && is_told(&records[0]) { Ok(()) } else { Err(format!("recorded {records:?}")) }
}

fn refused_between(case: &Case, status: &str) -> Result<(), String> {
    let send = [FIRST, &case.send, NEXT].concat();
    let server = vec![(FIRST, OK)];
    let seen = run(&Stage::new(), &Plan { send: &send, server, answers: 2, closes: true, ..Plan::default() });
    arrived(&seen, &[FIRST])?;
    answered(&seen, &["200", status], End::Closed)
}

/// The head first; the body when the head arrived.
fn late(case: &Case) -> Result<(), String> {
    let end = memchr::memmem::find(&case.send, b"\r\n\r\n").unwrap() + 4;
    let (head, body) = case.send.split_at(end);
    let body = [body, NEXT].concat();
    let plan = Plan {
        send: head,
        then: Some((When::Reached, &body)),
        server: vec![(head, b"")],
        answers: 1,
        closes: true,
        ..Plan::default()
    };
    let seen = run(&Stage::new(), &plan);
    let rest = seen.server.bytes.strip_prefix(head).unwrap_or(&seen.server.bytes);
    // Good chunks in front of the bad one may have arrived; nothing of what stands behind.
    let is_free = memchr::memmem::find(rest, b"/read/next").is_none();
    if is_free && seen.server.end == End::Reset && seen.client.end == End::Reset && seen.client.bytes.is_empty() {
        return Ok(());
    }
    Err(format!("the body after its head: server {}, client {}", seen.server.shown(), seen.client.shown()))
}

fn arrived(seen: &Seen, messages: &[&[u8]]) -> Result<(), String> {
    let wanted = messages.concat();
    let ended = if messages.is_empty() { seen.server.end == End::None } else { seen.server.end != End::Open };
    if seen.server.bytes == wanted && ended {
        return Ok(());
    }
    let client = seen.client.shown();
    Err(format!("the server got {}, not \"{}\"; the client {client}", seen.server.shown(), shown(&wanted)))
}

/// The answers, by their statuses, and the end of the client's side.
fn answered(seen: &Seen, statuses: &[&str], end: End) -> Result<(), String> {
    let text = String::from_utf8_lossy(&seen.client.bytes).into_owned();
    let all = text.split("HTTP/1.").skip(1).filter_map(|answer| answer.get(2..5));
    // A client that sends without leave may be given it.
    let got: Vec<&str> = all.filter(|status| *status != "100").collect();
    if got == statuses && seen.client.end == end {
        return Ok(());
    }
    Err(format!("the client got {}, the server {}", seen.client.shown(), seen.server.shown()))
}
