//! Records as JSON lines: `observer.ExportEvent` of Hubble's API, by protojson's rules (names as in the .proto files,
//! 64-bit numbers as text, defaults left out).

use std::{
    fs::File,
    io::{self, Read, Write},
    sync::Arc,
    time::SystemTime,
};

use rules::{Direction, PolicyKey, RuleRef};

use super::{ConnectionRecord, DropReason, DropRecord, Ends, HttpRecord, Record, Verdict};
use crate::endpoint::{End, Peer};

mod below;
mod extension;

use self::extension::{Details, extension};

/// Message types of Hubble's event types.
const EVENT_DROP: u32 = 1;
/// `POLICY_VERDICT_NOTIFY` of Cilium's monitor.
const EVENT_POLICY_VERDICT: u32 = 5;
const EVENT_L7: u32 = 129;

/// Formats records of one node.
#[derive(Debug)]
pub(super) struct Formatter {
    /// `cluster/node`, escaped.
    node: String,
    /// State of a generator for record ids; not for secrets.
    random: u64,
}

impl Formatter {
    pub(super) fn new(cluster: &str, node: &str) -> io::Result<Self> {
        let mut seed = [0; 8];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let mut name = Vec::new();
        escape(&format!("{cluster}/{node}"), &mut name);
        let node = String::from_utf8_lossy(&name).into_owned();
        Ok(Self { node, random: u64::from_ne_bytes(seed) | 1 })
    }

    /// One line.
    pub(super) fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        match record {
            Record::Request(http) => self.http(http, false, out),
            Record::Response(http) => self.http(http, true, out),
            Record::Drop(refusal) => self.refusal(refusal, out),
            Record::Connection(connection) => self.connection(connection, out),
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

    fn http(&mut self, record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
        let Ends { direction, source, destination } = &*record.ends;
        let verdict = match &record.verdict {
            Verdict::Forwarded(_) => "FORWARDED",
            Verdict::Dropped { .. } => "DROPPED",
            Verdict::Audited { .. } => "AUDIT",
            Verdict::Error => "ERROR",
        };
        let reason = match &record.verdict {
            Verdict::Dropped { reason, .. } => Some(*reason),
            Verdict::Forwarded(_) | Verdict::Audited { .. } | Verdict::Error => None,
        };
        self.open(record.time, verdict, reason, out);
        // A response goes the other way.
        let (from, to) = if is_reply { (destination, source) } else { (source, destination) };
        ends(from, to, "TCP", out);
        put(out, format_args!(",\"Type\":\"L7\",\"node_name\":\"{}\"", self.node));
        l7(record, is_reply, out);
        put(
            out,
            format_args!(
                ",\"reply\":{is_reply},\"event_type\":{{\"type\":{EVENT_L7}}},\"traffic_direction\":\"{direction}\""
            ),
        );
        reason_name(reason, out);
        put(out, format_args!(",\"is_reply\":{is_reply}"));
        if let Some(trace) = &record.http.trace {
            // Only hexadecimal digits: nothing to escape.
            put(out, format_args!(",\"trace_context\":{{\"parent\":{{\"trace_id\":\"{trace}\"}}}}"));
        }
        let mut details = Details { reason: record.reason, revision: record.revision, ..Details::default() };
        details.notes = record.notes.as_deref();
        match &record.verdict {
            Verdict::Forwarded(rule) => {
                let policies = rule.iter().map(|rule| &rule.policy);
                by_policies("allowed", *direction, policies, record.revision, out);
                details.rule = rule.as_deref();
            }
            Verdict::Dropped { denied_by, rule, tier, nearest, .. }
            | Verdict::Audited { denied_by, rule, tier, nearest } => {
                by_policies("denied", *direction, denied_by.iter(), record.revision, out);
                details.rule = rule.as_deref();
                details.tier = tier.as_deref();
                details.nearest = nearest.as_ref();
            }
            Verdict::Error => {}
        }
        policy_log(details.rule, out);
        summary(record, is_reply, out);
        self.close(record.time, &details, out);
    }

    fn refusal(&mut self, record: &DropRecord, out: &mut Vec<u8>) {
        let (verdict, reason) = if record.audit { ("AUDIT", None) } else { ("DROPPED", Some(record.reason)) };
        self.open(record.time, verdict, reason, out);
        let layer4 = match record.protocol {
            1 => "ICMPv4",
            6 => "TCP",
            17 => "UDP",
            58 => "ICMPv6",
            132 => "SCTP",
            _ => "",
        };
        ends(&record.source, &record.destination, layer4, out);
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
        by_policies("denied", record.direction, record.denied_by.iter(), record.revision, out);
        policy_log(record.rule.as_deref(), out);
        below::summary(record, layer4, out);
        let details = Details {
            repeats: record.repeats,
            backends: record.backends.as_deref(),
            nearest: record.nearest.as_ref(),
            process: record.process.as_ref(),
            reason: record.detail,
            revision: record.revision,
            rule: record.rule.as_deref(),
            tier: record.tier.as_deref(),
            ..Details::default()
        };
        self.close(record.time, &details, out);
    }

    fn connection(&mut self, record: &ConnectionRecord, out: &mut Vec<u8>) {
        let Ends { direction, source, destination } = &record.ends;
        self.open(record.time, "FORWARDED", None, out);
        ends(source, destination, "TCP", out);
        put(out, format_args!(",\"Type\":\"L3_L4\",\"node_name\":\"{}\"", self.node));
        below::trace(record, out);
        by_policies("allowed", *direction, record.rule.iter().map(|rule| &rule.policy), record.revision, out);
        policy_log(record.rule.as_deref(), out);
        let details = Details {
            process: record.process.as_ref(),
            revision: record.revision,
            rule: record.rule.as_deref(),
            connection: Some(record),
            ..Details::default()
        };
        self.close(record.time, &details, out);
    }

    fn open(&mut self, time: SystemTime, verdict: &str, reason: Option<DropReason>, out: &mut Vec<u8>) {
        let time = humantime::format_rfc3339_nanos(time);
        let (high, low) = (self.next_random(), self.next_random());
        // Version 4, variant 1 (RFC 9562 §5.4).
        put(
            out,
            format_args!(
                "{{\"flow\":{{\"time\":\"{time}\",\"uuid\":\"{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}\",\"verdict\":\"{verdict}\"",
                high >> 32,
                (high >> 16) & 0xffff,
                high & 0xfff,
                ((low >> 48) & 0x3fff) | 0x8000,
                low & 0xffff_ffff_ffff
            ),
        );
        if let Some((number, _)) = reason.map(DropReason::hubble) {
            put(out, format_args!(",\"drop_reason\":{number}"));
        }
    }

    fn close(&self, time: SystemTime, details: &Details<'_>, out: &mut Vec<u8>) {
        put(out, format_args!(",\"emitter\":{{\"name\":\"L7proxy\",\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION")));
        extension(details, out);
        let time = humantime::format_rfc3339_nanos(time);
        put(out, format_args!("}},\"node_name\":\"{}\",\"time\":\"{time}\"}}\n", self.node));
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

fn ends(from: &End, to: &End, layer4: &str, out: &mut Vec<u8>) {
    let (source, destination) = (from.1.ip().to_canonical(), to.1.ip().to_canonical());
    let version = if destination.is_ipv4() { "IPv4" } else { "IPv6" };
    put(
        out,
        format_args!(
            ",\"IP\":{{\"source\":\"{source}\",\"destination\":\"{destination}\",\"ipVersion\":\"{version}\"}}"
        ),
    );
    if !layer4.is_empty() {
        put(out, format_args!(",\"l4\":{{\"{layer4}\":{{"));
        let mut separator = "";
        for (name, port) in below::numbers(layer4, from.1.port(), to.1.port()) {
            if port != 0 {
                put(out, format_args!("{separator}\"{name}\":{port}"));
                separator = ",";
            }
        }
        out.extend_from_slice(b"}}");
    }
    out.extend_from_slice(b",\"source\":");
    peer(&from.0, out);
    out.extend_from_slice(b",\"destination\":");
    peer(&to.0, out);
    service("source_service", &from.0, out);
    service("destination_service", &to.0, out);
}

fn service(field: &str, peer: &Peer, out: &mut Vec<u8>) {
    let Some(service) = &peer.service else { return };
    put(out, format_args!(",\"{field}\":{{\"name\":"));
    text(&service.name, out);
    out.extend_from_slice(b",\"namespace\":");
    text(&service.namespace, out);
    out.push(b'}');
}

fn peer(peer: &Peer, out: &mut Vec<u8>) {
    out.push(b'{');
    if peer.id != 0 {
        put(out, format_args!("\"ID\":{},", peer.id));
    }
    put(out, format_args!("\"identity\":{}", peer.identity));
    for (name, value) in [("cluster_name", &peer.cluster), ("namespace", &peer.namespace), ("pod_name", &peer.pod)] {
        if !value.is_empty() {
            put(out, format_args!(",\"{name}\":"));
            text(value, out);
        }
    }
    if !peer.labels.is_empty() {
        out.extend_from_slice(b",\"labels\":");
        list(&peer.labels, out, |label, out| text(label, out));
    }
    if let Some((kind, name)) = &peer.workload {
        out.extend_from_slice(b",\"workloads\":[{\"name\":");
        text(name, out);
        out.extend_from_slice(b",\"kind\":");
        text(kind, out);
        out.extend_from_slice(b"}]");
    }
    out.push(b'}');
}

fn l7(record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
    put(out, format_args!(",\"l7\":{{\"type\":\"{}\"", if is_reply { "RESPONSE" } else { "REQUEST" }));
    if is_reply {
        put(out, format_args!(",\"latency_ns\":\"{}\"", record.latency_ns));
    }
    out.extend_from_slice(b",\"http\":{");
    if record.code != 0 {
        put(out, format_args!("\"code\":{},", record.code));
    }
    out.extend_from_slice(b"\"method\":");
    text(&record.http.method, out);
    out.extend_from_slice(b",\"url\":");
    text(&record.http.url, out);
    put(out, format_args!(",\"protocol\":\"{}\"}}}}", record.http.protocol));
}

fn summary(record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
    let http = &*record.http;
    put(out, format_args!(",\"Summary\":\"{} ", http.protocol));
    if is_reply {
        put(out, format_args!("{} {}ms (", record.code, record.latency_ns / 1_000_000));
    }
    escape(&http.method, out);
    out.push(b' ');
    escape(&http.url, out);
    out.extend_from_slice(if is_reply { b")\"" } else { b"\"" });
}

fn reason_name(reason: Option<DropReason>, out: &mut Vec<u8>) {
    if let Some((_, name)) = reason.map(DropReason::hubble) {
        put(out, format_args!(",\"drop_reason_desc\":\"{name}\""));
    }
}

/// `log.value` of the deciding rule's policy.
fn policy_log(rule: Option<&RuleRef>, out: &mut Vec<u8>) {
    if let Some(log) = rule.and_then(|rule| rule.log.as_deref()) {
        out.extend_from_slice(b",\"policy_log\":[");
        text(log, out);
        out.push(b']');
    }
}

/// `egress_denied_by` and its three sisters.
fn by_policies<'p>(
    verb: &str,
    direction: Direction,
    policies: impl Iterator<Item = &'p Arc<PolicyKey>>,
    revision: u64,
    out: &mut Vec<u8>,
) {
    let mut policies = policies.peekable();
    if policies.peek().is_none() {
        return;
    }
    let direction = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    put(out, format_args!(",\"{direction}_{verb}_by\":"));
    list(policies, out, |policy, out| {
        out.extend_from_slice(b"{\"name\":");
        text(&policy.name, out);
        if !policy.namespace.is_empty() {
            out.extend_from_slice(b",\"namespace\":");
            text(&policy.namespace, out);
        }
        put(out, format_args!(",\"revision\":\"{revision}\",\"kind\":\"{}\"}}", policy.kind));
    });
}

fn list<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, mut item: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, value) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(value, out);
    }
    out.push(b']');
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(value, out);
    out.push(b'"');
}

/// Control characters, also those of terminals beyond ASCII, never reach a reader's screen as such.
fn escape(value: &str, out: &mut Vec<u8>) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if value.as_bytes().iter().all(is_plain) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    for letter in value.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            letter if letter.is_control() => put(out, format_args!("\\u{:04x}", u32::from(letter))),
            letter => {
                let mut bytes = [0; 4];
                out.extend_from_slice(letter.encode_utf8(&mut bytes).as_bytes());
            }
        }
    }
}

fn put(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    drop(out.write_fmt(arguments));
}

#[cfg(test)]
mod tests;
