//! Requests and responses: what is encoded most.

use super::{
    event_type,
    field::{element, message as submessage, number, pair, text},
};
use crate::flow::{Flow, HttpInfo, HttpRecord, Mask, kept::Kept, tag};

/// Of `flow.FlowType`.
const L7: u32 = 2;
/// Of Cilium's monitor.
const EVENT_L7: u32 = 129;

/// What says that it is a request, or a response.
pub(super) fn kind(kept: &mut Kept<Mask>, is_reply: bool, out: &mut Vec<u8>) {
    kept.field(tag::TYPE, out, |out| number(tag::TYPE, L7, out));
    kept.field(tag::REPLY, out, |out| number(tag::REPLY, is_reply, out));
    kept.field(tag::IS_REPLY, out, |out| submessage(tag::IS_REPLY, out, |out| number(1, is_reply, out)));
    kept.field(tag::EVENT_TYPE, out, |out| event_type(EVENT_L7, 0, out));
}

/// What it says itself.
pub(super) fn message(kept: &mut Kept<Mask>, flow: &Flow, record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
    kept.field(tag::L7, out, |out| layer7(flow, record, is_reply, out));
    if let Some(trace) = &record.asked.http.trace {
        let field = tag::TRACE_CONTEXT;
        kept.field(field, out, |out| submessage(field, out, |out| submessage(1, out, |out| element(1, trace, out))));
    }
    kept.field(tag::SUMMARY, out, |out| submessage(tag::SUMMARY, out, |out| summary(record, is_reply, out)));
}

fn layer7(flow: &Flow, record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
    let HttpInfo { method, url, protocol, .. } = &record.asked.http;
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
            flow.headers.iter().for_each(|(key, value)| pair(5, [key, value], out));
        });
    });
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
