//! Requests and responses: the lines that are written most.

use super::{
    Formatter, below,
    ends::ends,
    kind, reason_name,
    text::{escape, list, number, raw, text},
};
use crate::flow::{Asked, Ends, Flow, Headers, HttpRecord, said::Said, summary::NO_FLAGS, tag};

/// Of Cilium's monitor.
const EVENT_L7: u32 = 129;

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
        let begin = self.open(flow, &said, out);
        let Self { kept, ends: [asked, answered], peers, node, about, target, .. } = self;
        let known = if is_reply { answered } else { asked };
        known.write(between, 0, out, |Ends { direction, source, destination }, out| {
            // A response goes the other way.
            let (from, to) = if is_reply { (destination, source) } else { (source, destination) };
            ends(kept, peers, (from, to), ("TCP", NO_FLAGS), out);
            kind(kept, "L7", node, out);
            if is_reply {
                // The older of two fields, and the default when it is not true.
                kept.field(tag::REPLY, out, |out| out.extend_from_slice(b",\"reply\":true"));
            }
            below::event(kept, (EVENT_L7, 0), *direction, out);
            below::is_reply(kept, is_reply, out);
            out.extend_from_slice(about);
        });
        let target = Target::of(record, target);
        kept.field(tag::L7, out, |out| l7(headers, record, is_reply, target, out));
        reason_name(kept, said.drop, out);
        if let Some(trace) = &http.trace {
            // Only hexadecimal digits: nothing to escape.
            kept.field(tag::TRACE_CONTEXT, out, |out| {
                raw([",\"trace_context\":{\"parent\":{\"trace_id\":\"", trace, "\"}}"], out);
            });
        }
        kept.field(tag::SUMMARY, out, |out| summary(record, is_reply, target, out));
        self.decided(&said, between.direction, out);
        self.close(begin, &said, out);
    }
}

/// Method and URL, escaped, with a blank between them.
#[derive(Clone, Copy)]
struct Target<'b> {
    both: &'b [u8],
    method: &'b [u8],
    url: &'b [u8],
}

impl<'b> Target<'b> {
    fn of(record: &HttpRecord, buffer: &'b mut Vec<u8>) -> Self {
        buffer.clear();
        escape(&record.asked.http.method, buffer);
        let end = buffer.len();
        buffer.push(b' ');
        escape(&record.asked.http.url, buffer);
        let (method, url) = buffer.split_at_checked(end).unwrap_or_default();
        Self { both: buffer, method, url: url.get(1..).unwrap_or_default() }
    }
}

fn l7(headers: &Headers, record: &HttpRecord, is_reply: bool, target: Target<'_>, out: &mut Vec<u8>) {
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
    out.extend_from_slice(target.method);
    out.extend_from_slice(b"\",\"url\":\"");
    out.extend_from_slice(target.url);
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
}

fn summary(record: &HttpRecord, is_reply: bool, target: Target<'_>, out: &mut Vec<u8>) {
    raw([",\"Summary\":\"", record.asked.http.protocol, " "], out);
    if is_reply {
        number(record.code, out);
        out.push(b' ');
        number(record.latency_ns / 1_000_000, out);
        out.extend_from_slice(b"ms (");
    }
    out.extend_from_slice(target.both);
    out.extend_from_slice(if is_reply { b")\"" } else { b"\"" });
}
