//! Requests and responses: the lines that are written most.

use std::ops::Range;

use rules::Direction;

use super::{
    Formatter,
    ends::ends,
    reason_name,
    text::{escape, list, number, raw, text},
};
use crate::flow::{Asked, Ends, Flow, Headers, HttpRecord, said::Said, summary::NO_FLAGS};

impl Formatter {
    pub(super) fn http(
        &mut self,
        flow: &Flow,
        headers: &Headers,
        (record, is_reply): (&HttpRecord, bool),
        out: &mut Vec<u8>,
    ) {
        let Asked { ends: between, http, .. } = &*record.asked;
        let said = Said::http(record, is_reply);
        self.open(flow, &said, out);
        let Self { ends: [asked, answered], peers, node, .. } = self;
        let known = if is_reply { answered } else { asked };
        known.write(between, 0, out, |Ends { source, destination, .. }, out| {
            // A response goes the other way.
            let (from, to) = if is_reply { (destination, source) } else { (source, destination) };
            ends(peers, (from, to), ("TCP", NO_FLAGS), out);
            raw([",\"Type\":\"L7\",\"node_name\":\"", node, "\""], out);
        });
        let escaped = l7(headers, record, is_reply, out);
        // `reply` is the older of two fields, and the default when it is not true.
        let event = match (is_reply, between.direction) {
            (false, Direction::Ingress) => ",\"event_type\":{\"type\":129},\"traffic_direction\":\"INGRESS\"",
            (false, Direction::Egress) => ",\"event_type\":{\"type\":129},\"traffic_direction\":\"EGRESS\"",
            (true, Direction::Ingress) => {
                ",\"reply\":true,\"event_type\":{\"type\":129},\"traffic_direction\":\"INGRESS\""
            }
            (true, Direction::Egress) => {
                ",\"reply\":true,\"event_type\":{\"type\":129},\"traffic_direction\":\"EGRESS\""
            }
        };
        out.extend_from_slice(event.as_bytes());
        reason_name(said.drop, out);
        out.extend_from_slice(if is_reply { b",\"is_reply\":true" } else { b",\"is_reply\":false" });
        if let Some(trace) = &http.trace {
            // Only hexadecimal digits: nothing to escape.
            raw([",\"trace_context\":{\"parent\":{\"trace_id\":\"", trace, "\"}}"], out);
        }
        self.decided(&said, between.direction, out);
        summary(record, is_reply, escaped, out);
        self.close(&said, out);
    }
}

/// Where method and URL stand, escaped.
type Escaped = [Range<usize>; 2];

fn l7(headers: &Headers, record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) -> Escaped {
    if is_reply {
        out.extend_from_slice(b",\"l7\":{\"type\":\"RESPONSE\",\"latency_ns\":\"");
        number(record.latency_ns, out);
        out.extend_from_slice(b"\",\"http\":{");
    } else {
        out.extend_from_slice(b",\"l7\":{\"type\":\"REQUEST\",\"http\":{");
    }
    if record.code != 0 {
        out.extend_from_slice(b"\"code\":");
        number(record.code, out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"method\":\"");
    let method = out.len();
    escape(&record.asked.http.method, out);
    let method = method..out.len();
    out.extend_from_slice(b"\",\"url\":\"");
    let url = out.len();
    escape(&record.asked.http.url, out);
    let url = url..out.len();
    raw(["\",\"protocol\":\"", record.asked.http.protocol, "\""], out);
    if !headers.is_empty() {
        out.extend_from_slice(b",\"headers\":");
        list(headers.iter(), out, |(key, value), out| {
            out.extend_from_slice(b"{\"key\":");
            text(key, out);
            if !value.is_empty() {
                out.extend_from_slice(b",\"value\":");
                text(value, out);
            }
            out.push(b'}');
        });
    }
    out.extend_from_slice(b"}}");
    [method, url]
}

fn summary(record: &HttpRecord, is_reply: bool, [method, url]: Escaped, out: &mut Vec<u8>) {
    raw([",\"Summary\":\"", record.asked.http.protocol, " "], out);
    if is_reply {
        number(record.code, out);
        out.push(b' ');
        number(record.latency_ns / 1_000_000, out);
        out.extend_from_slice(b"ms (");
    }
    out.extend_from_within(method);
    out.push(b' ');
    out.extend_from_within(url);
    out.extend_from_slice(if is_reply { b")\"" } else { b"\"" });
}
