//! Records as JSON lines: `observer.ExportEvent` of Hubble's API, by protojson's rules (names as in the .proto files,
//! 64-bit numbers as text, defaults left out).

use rules::{Direction, PolicyKey, RuleRef};

use super::{
    ConnectionRecord, DropReason, DropRecord, Ends, Flow, Headers, LostRecord, NodeNames, Record, fragments::Fragments,
    said::Said, summary,
};
use crate::endpoint::Peer;

mod below;
mod ends;
mod extension;

mod http;
mod text;

use self::{
    ends::{by_policies, ends, policy_log},
    extension::extension,
    text::{Stamp, escape, list, number, put, raw, text},
};

/// Bytes of a line that Hubble's reader reads: it gives up at 64 KiB.
const MAX_LINE: usize = 60 << 10;

/// Formats flows of one node.
#[derive(Debug)]
pub(super) struct Formatter {
    /// `cluster/node`, escaped.
    node: String,
    /// Labels of the node, and who we are.
    about: Vec<u8>,
    /// Between a flow and the time of its event.
    after: String,
    /// The time of the flow that is being written.
    stamp: Stamp,
    /// What all requests of a connection say, and all that is answered to them.
    ends: [Fragments<Ends>; 2],
    peers: Fragments<Peer>,
    /// By revision.
    policies: Fragments<PolicyKey>,
    rules: Fragments<RuleRef>,
}

impl Formatter {
    pub(super) fn new(names: &NodeNames) -> Self {
        let mut name = Vec::new();
        escape(&names.full(), &mut name);
        let node = String::from_utf8_lossy(&name).into_owned();
        let mut about = Vec::new();
        if !names.labels.is_empty() {
            about.extend_from_slice(b",\"node_labels\":");
            list(&names.labels, &mut about, |label, out| text(label, out));
        }
        let version = env!("CARGO_PKG_VERSION");
        raw([",\"emitter\":{\"name\":\"L7proxy\",\"version\":\"", version, "\"}"], &mut about);
        let after = format!("}},\"node_name\":\"{node}\",\"time\":\"");
        let ends = [Fragments::new(), Fragments::new()];
        let (peers, policies, rules) = (Fragments::new(), Fragments::new(), Fragments::new());
        Self { node, about, after, stamp: Stamp::default(), ends, peers, policies, rules }
    }

    /// One line: one that Hubble's reader reads.
    pub(super) fn flow(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        let begin = out.len();
        self.line(flow, &flow.headers, out);
        if out.len() - begin > MAX_LINE {
            // What else is in it has limits that add up to less.
            out.truncate(begin);
            self.line(flow, &Headers::default(), out);
        }
    }

    fn line(&mut self, flow: &Flow, headers: &Headers, out: &mut Vec<u8>) {
        self.stamp.set(flow.time);
        match &flow.record {
            Record::Request(http) => self.http(flow, headers, (http, false), out),
            Record::Response(http) => self.http(flow, headers, (http, true), out),
            Record::Drop(refusal) => self.refusal(flow, refusal, out),
            Record::Connection(connection) => self.connection(flow, connection, out),
            Record::Lost(lost) => self.lost(lost, out),
        }
    }

    /// How many records are missing.
    fn lost(&mut self, lost: &LostRecord, out: &mut Vec<u8>) {
        let LostRecord { source, count, first, last } = lost;
        let (_, source) = source.hubble();
        put(
            out,
            format_args!("{{\"lost_events\":{{\"source\":\"{source}\",\"num_events_lost\":\"{count}\",\"first\":\""),
        );
        for (time, after) in [(first, "\",\"last\":\""), (last, "\"}")] {
            self.stamp.set(*time);
            out.extend_from_slice(self.stamp.bytes());
            out.extend_from_slice(after.as_bytes());
        }
        raw([",\"node_name\":\"", &self.node, "\",\"time\":\""], out);
        out.extend_from_slice(self.stamp.bytes());
        out.extend_from_slice(b"\"}\n");
    }

    fn refusal(&mut self, flow: &Flow, record: &DropRecord, out: &mut Vec<u8>) {
        let said = Said::refusal(record);
        self.open(flow, &said, out);
        let layer4 = summary::layer4(record.protocol);
        ends(&mut self.peers, (&record.source, &record.destination), (layer4, summary::flags(record)), out);
        raw([",\"Type\":\"L3_L4\",\"node_name\":\"", &self.node, "\""], out);
        below::refused(record, out);
        reason_name(said.drop, out);
        self.decided(&said, record.direction, out);
        out.extend_from_slice(b",\"Summary\":");
        text(&summary::refusal(record), out);
        self.close(&said, out);
    }

    fn connection(&mut self, flow: &Flow, record: &ConnectionRecord, out: &mut Vec<u8>) {
        let Ends { direction, source, destination } = &record.ends;
        let said = Said::connection(record);
        self.open(flow, &said, out);
        let flags = summary::connection_flags(record.end.is_some());
        ends(&mut self.peers, (source, destination), ("TCP", flags), out);
        raw([",\"Type\":\"L3_L4\",\"node_name\":\"", &self.node, "\""], out);
        below::passed(record, out);
        self.decided(&said, *direction, out);
        self.close(&said, out);
    }

    fn open(&mut self, flow: &Flow, said: &Said<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"flow\":{\"time\":\"");
        out.extend_from_slice(self.stamp.bytes());
        out.extend_from_slice(b"\",\"uuid\":\"");
        flow.uuid(out);
        raw(["\",\"verdict\":\"", said.verdict.hubble().1, "\""], out);
        if let Some((reason @ 1.., _)) = said.drop.map(DropReason::hubble) {
            out.extend_from_slice(b",\"drop_reason\":");
            number(reason, out);
        }
    }

    /// By which policies, and what they want to be told.
    fn decided(&mut self, said: &Said<'_>, direction: Direction, out: &mut Vec<u8>) {
        by_policies(&mut self.policies, said, direction, out);
        policy_log(said.log(), out);
    }

    fn close(&mut self, said: &Said<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.about);
        extension(&mut self.rules, said, out);
        out.extend_from_slice(self.after.as_bytes());
        out.extend_from_slice(self.stamp.bytes());
        out.extend_from_slice(b"\"}\n");
    }
}

fn reason_name(reason: Option<DropReason>, out: &mut Vec<u8>) {
    if let Some((1.., name)) = reason.map(DropReason::hubble) {
        put(out, format_args!(",\"drop_reason_desc\":\"{name}\""));
    }
}

#[cfg(test)]
mod tests;
