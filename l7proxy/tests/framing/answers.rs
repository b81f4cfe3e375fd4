//! Each answer of the table: what the server sends after the group's `request`, and what of it reaches the client.
//!
//! | expected | means |
//! |---|---|
//! | `pass` | it arrives as the table says, and the connection carries the next request |
//! | `closes` | it arrives as the table says, and both sides are closed; nothing that the server said behind it arrives |
//! | `reset` | nothing of it arrives; both sides end, the client's with a reset; the record blames the server |
//! | `cut` | no more of it arrives than the table says, and the client's side ends with a reset |

use crate::{
    exchange::{End, OK, Plan, Seen, When, each, run},
    stage::{Stage, told},
    table::{self, Case, shown},
};

/// Lines of the table.
const LEAST: usize = 110;

const GET: &[u8] = b"GET /read HTTP/1.1\r\nHost: h\r\n\r\n";
const NEXT: &[u8] = b"GET /read/next HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn every_answer_has_the_end_that_the_table_gives_it() {
    let cases = table::read("answers");
    assert!(cases.len() >= LEAST, "{} cases", cases.len());
    let wrong =
        each(&cases, |case| check(case).map_err(|why| format!("{}: {} expected, {why}", case.name, case.expected)));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn check(case: &Case) -> Result<(), String> {
    let request = case.request.as_deref().unwrap_or(GET);
    let server = vec![(request, case.send.as_slice())];
    let arrives = case.arrives.as_slice();
    let plan = Plan { send: request, server, closes: true, server_closes: true, ..Plan::default() };
    match case.expected.as_str() {
        "pass" => {
            let server = vec![(request, case.send.as_slice()), (NEXT, OK)];
            let then = Some((When::Got(arrives.len()), NEXT));
            let bytes = arrives.len() + OK.len();
            let plan = Plan { send: request, then, server, bytes, ..Plan::default() };
            got(&run(&Stage::new(), &plan), &[arrives, OK], End::Closed)
        }
        "closes" => got(&run(&Stage::new(), &plan), &[arrives], End::Closed),
        "cut" => {
            let seen = run(&Stage::new(), &plan);
            let beginning = arrives.get(..seen.client.bytes.len().min(arrives.len())).unwrap_or_default();
            got(&seen, &[beginning], End::Reset)
        }
        "reset" => {
            let stage = Stage::new();
            got(&run(&stage, &Plan { server_closes: false, ..plan }), &[], End::Reset)?;
            let records = told(&stage.records(2));
            let blames = records.last().is_some_and(|record| record.ends_with(" 502 upstream-protocol"));
            if records.len() == 2 && blames { Ok(()) } else { Err(format!("recorded {records:?}")) }
        }
        other => panic!("{other:?} is not an expectation"),
    }
}

fn got(seen: &Seen, messages: &[&[u8]], end: End) -> Result<(), String> {
    let wanted = messages.concat();
    if seen.client.bytes == wanted && seen.client.end == end && seen.server.end != End::Open {
        return Ok(());
    }
    Err(format!("the client got {}, not \"{}\"; the server {:?}", seen.client.shown(), shown(&wanted), seen.server.end))
}
