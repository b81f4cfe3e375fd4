//! Records as JSON lines: `observer.ExportEvent` of Hubble's API, by protojson's rules (names as in the .proto files,
//! 64-bit numbers as text, defaults left out).

use std::{
    fs::File,
    io::{self, Read},
    time::SystemTime,
};

use rules::{PolicyKey, RuleRef};

use super::{ConnectionRecord, DropReason, DropRecord, Ends, Record, fragments::Fragments, summary};
use crate::endpoint::Peer;

mod below;
mod ends;
mod extension;

mod http;
mod text;

use self::{
    ends::{by_policies, ends, policy_log},
    extension::{Details, extension},
    text::{Stamp, escape, id, number, put, raw},
};

/// Message types of Hubble's event types.
const EVENT_DROP: u32 = 1;
/// `POLICY_VERDICT_NOTIFY` of Cilium's monitor.
const EVENT_POLICY_VERDICT: u32 = 5;

/// Formats records of one node.
#[derive(Debug)]
pub(super) struct Formatter {
    /// `cluster/node`, escaped.
    node: String,
    /// State of a generator for record ids; not for secrets.
    random: u64,
    /// The time of the record that is being written.
    stamp: Stamp,
    peers: Fragments<Peer>,
    /// By revision.
    policies: Fragments<PolicyKey>,
    rules: Fragments<RuleRef>,
}

impl Formatter {
    pub(super) fn new(cluster: &str, node: &str) -> io::Result<Self> {
        let mut seed = [0; 8];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let mut name = Vec::new();
        escape(&format!("{cluster}/{node}"), &mut name);
        let node = String::from_utf8_lossy(&name).into_owned();
        let random = u64::from_ne_bytes(seed) | 1;
        let (peers, policies, rules) = (Fragments::new(), Fragments::new(), Fragments::new());
        Ok(Self { node, random, stamp: Stamp::default(), peers, policies, rules })
    }

    /// One line.
    pub(super) fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        match record {
            Record::Request(http) => self.http(http, false, out),
            Record::Response(http) => self.http(http, true, out),
            Record::Drop(refusal) => self.refusal(refusal, out),
            Record::Connection(connection) => self.connection(connection, out),
            Record::Lost(lost) => self.lost(lost.count, out),
        }
    }

    /// One line that says how many records are missing.
    pub(super) fn lost(&self, records: u64, out: &mut Vec<u8>) {
        put(
            out,
            format_args!(
                "{{\"lost_events\":{{\"source\":\"OBSERVER_EVENTS_QUEUE\",\"num_events_lost\":\"{records}\"}},\"node_name\":\"{}\"}}\n",
                self.node
            ),
        );
    }

    fn refusal(&mut self, record: &DropRecord, out: &mut Vec<u8>) {
        let (verdict, reason) = if record.audit { ("AUDIT", None) } else { ("DROPPED", Some(record.reason)) };
        self.open(record.time, verdict, reason, out);
        let layer4 = summary::layer4(record.protocol);
        ends(&mut self.peers, &record.source, &record.destination, layer4, out);
        let (event, number) =
            if record.audit { (EVENT_POLICY_VERDICT, 0) } else { (EVENT_DROP, record.reason.hubble().0) };
        put(
            out,
            format_args!(
                ",\"Type\":\"L3_L4\",\"node_name\":\"{}\",\"event_type\":{{\"type\":{event},\"sub_type\":{number}}},\"traffic_direction\":\"{}\"",
                self.node, record.direction
            ),
        );
        reason_name(reason, out);
        by_policies(&mut self.policies, ("denied", record.direction), record.denied_by.iter(), record.revision, out);
        policy_log(record.rule.as_deref(), out);
        raw([",\"Summary\":\"", &summary::refusal(record), "\""], out);
        let details = Details {
            repeats: record.repeats,
            backends: record.backends.as_deref(),
            nearest: record.nearest.as_ref(),
            process: record.process.as_ref(),
            reason: record.detail,
            revision: record.revision,
            rule: record.rule.as_ref(),
            tier: record.tier.as_deref(),
            ..Details::default()
        };
        self.close(&details, out);
    }

    fn connection(&mut self, record: &ConnectionRecord, out: &mut Vec<u8>) {
        let Ends { direction, source, destination } = &record.ends;
        self.open(record.time, "FORWARDED", None, out);
        ends(&mut self.peers, source, destination, "TCP", out);
        put(out, format_args!(",\"Type\":\"L3_L4\",\"node_name\":\"{}\"", self.node));
        below::trace(record, out);
        let policies = record.rule.iter().map(|rule| &rule.policy);
        by_policies(&mut self.policies, ("allowed", *direction), policies, record.revision, out);
        policy_log(record.rule.as_deref(), out);
        let details = Details {
            process: record.process.as_ref(),
            revision: record.revision,
            rule: record.rule.as_ref(),
            connection: Some(record),
            ..Details::default()
        };
        self.close(&details, out);
    }

    fn open(&mut self, time: SystemTime, verdict: &str, reason: Option<DropReason>, out: &mut Vec<u8>) {
        self.stamp.set(time);
        out.extend_from_slice(b"{\"flow\":{\"time\":\"");
        out.extend_from_slice(self.stamp.bytes());
        out.extend_from_slice(b"\",\"uuid\":\"");
        id(self.next_random(), self.next_random(), out);
        raw(["\",\"verdict\":\"", verdict, "\""], out);
        if let Some((reason, _)) = reason.map(DropReason::hubble) {
            out.extend_from_slice(b",\"drop_reason\":");
            number(reason, out);
        }
    }

    fn close(&mut self, details: &Details<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(
            concat!(",\"emitter\":{\"name\":\"L7proxy\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}").as_bytes(),
        );
        extension(&mut self.rules, details, out);
        raw(["},\"node_name\":\"", &self.node, "\",\"time\":\""], out);
        out.extend_from_slice(self.stamp.bytes());
        out.extend_from_slice(b"\"}\n");
    }

    /// xorshift64*: ids must differ, no more.
    fn next_random(&mut self) -> u64 {
        let mut x = self.random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn reason_name(reason: Option<DropReason>, out: &mut Vec<u8>) {
    if let Some((_, name)) = reason.map(DropReason::hubble) {
        put(out, format_args!(",\"drop_reason_desc\":\"{name}\""));
    }
}

#[cfg(test)]
mod tests;
