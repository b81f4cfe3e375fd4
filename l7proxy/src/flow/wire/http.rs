//! Requests and responses: what is encoded most.

use super::{
    event_type,
    field::{element, message as submessage, number, text},
    tag,
};
use crate::flow::{Flow, HttpInfo, HttpRecord};

/// Of `flow.FlowType`.
const L7: u32 = 2;
/// Of Cilium's monitor.
const EVENT_L7: u32 = 129;

pub(super) fn message(flow: &Flow, record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
    let HttpInfo { method, url, protocol, trace, .. } = &record.asked.http;
    number(tag::TYPE, L7, out);
    submessage(tag::L7, out, |out| {
        number(1, if is_reply { 2_u32 } else { 1 }, out);
        if is_reply {
            number(2, record.latency_ns, out);
        }
        submessage(101, out, |out| {
            number(1, record.code, out);
            text(2, method, out);
            text(3, url, out);
            text(4, protocol, out);
            for (key, value) in flow.headers.iter() {
                submessage(5, out, |out| {
                    text(1, key, out);
                    text(2, value, out);
                });
            }
        });
    });
    number(tag::REPLY, is_reply, out);
    submessage(tag::IS_REPLY, out, |out| number(1, is_reply, out));
    event_type(EVENT_L7, 0, out);
    if let Some(trace) = trace {
        submessage(tag::TRACE_CONTEXT, out, |out| submessage(1, out, |out| element(1, trace, out)));
    }
    submessage(tag::SUMMARY, out, |out| summary(record, is_reply, out));
}

fn summary(record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
    let HttpInfo { method, url, protocol, .. } = &record.asked.http;
    out.extend_from_slice(protocol.as_bytes());
    out.push(b' ');
    if is_reply {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(record.code).as_bytes());
        out.push(b' ');
        out.extend_from_slice(digits.format(record.latency_ns / 1_000_000).as_bytes());
        out.extend_from_slice(b"ms (");
    }
    for piece in [method, " ", url] {
        out.extend_from_slice(piece.as_bytes());
    }
    if is_reply {
        out.push(b')');
    }
}
