//! Recorded flows: JSON lines of Hubble's exporter, also our own.
//!
//! Owns which records are verdicts of a policy. Must never take a record for one that is not. Start at [`lines`].

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    net::IpAddr,
    path::Path,
};

use rules::{Direction, Protocol};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::source::Fault;

/// A line may have this many bytes; ours have fewer than 64 KiB.
const MAX_LINE: u64 = 4 << 20;
/// Letters that are told of what is wrong with a line.
const MAX_SHOWN: usize = 200;
/// How a file compressed with gzip begins (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// `POLICY_VERDICT_NOTIFY` of Cilium's monitor: the verdict on a new connection, also where it passes.
const EVENT_POLICY_VERDICT: u32 = 5;
/// What Hubble writes in the place of a header's value when it is told to.
const REDACTED: &str = "HUBBLE_REDACTED";
/// URLs of this many bytes were cut by whoever recorded them when they end with dots.
const CUT_URL: usize = 8 << 10;

/// A verdict of a policy.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) direction: Direction,
    pub(super) source: End,
    pub(super) destination: End,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// `None`: a connection, or a datagram.
    pub(super) request: Option<Request>,
    pub(super) was_denied: bool,
    /// Policies, or the rule, that decided.
    pub(super) by: Vec<String>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) address: IpAddr,
    /// `namespace/name`.
    pub(super) pod: Option<String>,
    /// Sorted.
    pub(super) labels: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    /// Those that were recorded; ours have none.
    pub(super) headers: Vec<Header>,
}

impl Request {
    /// Whether what was recorded of its headers is all that was sent.
    pub(super) fn has_its_headers(&self) -> bool {
        !self.headers.is_empty() && self.headers.iter().all(|header| header.value != REDACTED)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    pub(super) key: String,
    pub(super) value: String,
}

/// What a line is.
#[derive(Debug)]
pub(super) enum Record {
    Flow(Box<Flow>),
    /// A flow, but why no policy can say otherwise of it.
    NotJudged(String),
    /// A response, a forwarded packet, a number of lost records: nothing was decided.
    Other,
}

/// Every line of `file` that can be read, and what is wrong with the others.
pub(super) fn lines(file: &Path, mut each: impl FnMut(Result<Record, Fault>)) {
    let unreadable = |line: usize, error: &io::Error| {
        Fault::at(file, line, format!("cannot be read: {error}; give a file of recorded flows, one JSON object a line"))
    };
    let opened = File::open(file).map(BufReader::new).and_then(|mut reader| {
        let is_gzip = reader.fill_buf()?.starts_with(&GZIP);
        Ok((reader, is_gzip))
    });
    let mut reader = match opened {
        Ok((reader, false)) => reader,
        Ok((_, true)) => return each(Err(Fault::at(file, 0, "is compressed with gzip; unpack it first (gunzip)"))),
        Err(error) => return each(Err(unreadable(0, &error))),
    };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) if !line.ends_with(b"\n") && line.len() >= usize::try_from(MAX_LINE).unwrap_or(usize::MAX) => {
                each(Err(Fault::at(file, number, format!("has more than {MAX_LINE} bytes; no flow has"))));
                if let Err(error) = reader.skip_until(b'\n') {
                    return each(Err(unreadable(number, &error)));
                }
            }
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => each(record(&line).map_err(|reason| Fault::at(file, number, reason))),
            Err(error) => return each(Err(unreadable(number, &error))),
        }
    }
}

fn record(line: &[u8]) -> Result<Record, String> {
    let broken = |error: &serde_json::Error| {
        if error.is_eof() && !line.ends_with(b"\n") {
            return "is cut off: the file ends inside of it; give the file again once it is whole".to_owned();
        }
        // The place within the text of the error is that of a line on its own.
        let what = error.to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        // It may hold a value of the line, however long that is.
        let what: String = what.chars().take(MAX_SHOWN).collect();
        format!("is no recorded flow: {what} (column {}); one JSON object a line is wanted", error.column())
    };
    let event: Line = serde_json::from_slice(line).map_err(|error| broken(&error))?;
    if let Some(flow) = event.flow {
        return Ok(flow.read());
    }
    if event.verdict.is_some() {
        // As Hubble's command line once wrote them.
        return serde_json::from_slice(line).map(Raw::read).map_err(|error| broken(&error));
    }
    let others = [event.lost_events, event.agent_event, event.debug_event, event.node_status];
    if others.iter().any(Option::is_some) {
        return Ok(Record::Other);
    }
    Err("is no recorded flow: it has no field \"flow\"; lines of Hubble's exporter are wanted".to_owned())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    flow: Option<Raw>,
    lost_events: Option<IgnoredAny>,
    agent_event: Option<IgnoredAny>,
    debug_event: Option<IgnoredAny>,
    node_status: Option<IgnoredAny>,
    /// Of a flow without anything around it.
    verdict: Option<IgnoredAny>,
}

/// The fields of `flow.Flow` that matter here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    verdict: String,
    drop_reason: u32,
    drop_reason_desc: String,
    #[serde(rename = "IP")]
    ip: RawIp,
    l4: Value,
    source: RawEnd,
    destination: RawEnd,
    #[serde(rename = "Type")]
    kind: String,
    event_type: RawEventType,
    l7: Option<RawL7>,
    is_reply: Option<bool>,
    traffic_direction: String,
    ingress_allowed_by: Vec<RawPolicy>,
    ingress_denied_by: Vec<RawPolicy>,
    egress_allowed_by: Vec<RawPolicy>,
    egress_denied_by: Vec<RawPolicy>,
    extensions: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawEventType {
    #[serde(rename = "type")]
    number: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawIp {
    source: String,
    destination: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawEnd {
    namespace: String,
    pod_name: String,
    labels: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawL7 {
    #[serde(rename = "type")]
    kind: String,
    http: Option<RawHttp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawHttp {
    method: String,
    url: String,
    headers: Vec<Header>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPolicy {
    kind: String,
    namespace: String,
    name: String,
}

impl Raw {
    fn read(self) -> Record {
        let not_judged = |reason: &str| Record::NotJudged(reason.to_owned());
        if self.is_reply == Some(true) {
            return Record::Other;
        }
        let request = match (self.kind.as_str(), &self.l7) {
            ("L7", Some(RawL7 { kind, http: Some(http) })) if kind == "REQUEST" => Some(http),
            ("L7", Some(RawL7 { kind, http: None })) if kind == "REQUEST" => {
                return not_judged("it is no HTTP request");
            }
            // A drop beside it tells the same of the same connection, and how often.
            ("L3_L4", _) if self.is_our_decision() => return Record::Other,
            ("L3_L4", _) if self.verdict == "DROPPED" || self.event_type.number == EVENT_POLICY_VERDICT => None,
            _ => return Record::Other,
        };
        let was_denied = match self.was_denied() {
            Ok(was_denied) => was_denied,
            Err(reason) => return Record::NotJudged(reason),
        };
        let direction = match self.traffic_direction.as_str() {
            "INGRESS" => Direction::Ingress,
            "EGRESS" => Direction::Egress,
            _ => return not_judged("its record has no direction"),
        };
        let (Some(source), Some(destination)) =
            (self.source.read(&self.ip.source), self.destination.read(&self.ip.destination))
        else {
            return not_judged("its record has no addresses");
        };
        if request.is_some_and(|http| http.url.len() >= CUT_URL && http.url.ends_with("...")) {
            return not_judged("its URL was too long to be recorded whole");
        }
        let (protocol, port) = self.layer4();
        let by = self.by(direction, was_denied);
        let request = self.l7.and_then(|l7| l7.http).filter(|_| self.kind == "L7");
        let request = request.map(|RawHttp { method, url, headers }| Request { method, url, headers });
        Record::Flow(Box::new(Flow { direction, source, destination, protocol, port, request, was_denied, by }))
    }

    fn is_our_decision(&self) -> bool {
        self.event_type.number == EVENT_POLICY_VERDICT
            && self.verdict == "DROPPED"
            && self.extensions.pointer("/value/policyRevision").is_some()
    }

    /// Whether a policy denied it, or why it was none.
    fn was_denied(&self) -> Result<bool, String> {
        // It did not come to the proxy: it was not judged.
        match self.extensions.pointer("/value/reason").and_then(Value::as_str) {
            Some("egress-port-without-redirection") => {
                return Err("it was dropped for want of redirection, not by policy".to_owned());
            }
            Some("ended-needs-http-rules") => {
                return Err("it was ended because it passed the proxy by, not refused by policy".to_owned());
            }
            Some(_) | None => {}
        }
        match (self.verdict.as_str(), self.drop_reason_desc.as_str(), self.drop_reason) {
            ("FORWARDED" | "REDIRECTED" | "AUDIT", _, _) => Ok(false),
            // POLICY_DENIED and POLICY_DENY; Cilium gives no reason for requests.
            ("DROPPED", "POLICY_DENIED" | "POLICY_DENY", _) | ("DROPPED", "", 0 | 133 | 181) => Ok(true),
            ("DROPPED", "", number) => Err(format!("it was dropped for reason {number}, not by policy")),
            ("DROPPED", name, _) => Err(format!("it was dropped as {name}, not by policy")),
            (other, _, _) => Err(format!("its verdict is {other:?}, not one of policy")),
        }
    }

    /// And the destination port, or the type of a message. What is 0 is left out (protojson).
    fn layer4(&self) -> (Protocol, u16) {
        let known = [
            ("TCP", Protocol::Tcp, "destination_port"),
            ("UDP", Protocol::Udp, "destination_port"),
            ("SCTP", Protocol::Sctp, "destination_port"),
            ("ICMPv4", Protocol::Icmp, "type"),
            ("ICMPv6", Protocol::Icmp6, "type"),
        ];
        for (name, protocol, field) in known {
            if let Some(fields) = self.l4.get(name) {
                let number = fields.get(field).and_then(Value::as_u64);
                return (protocol, number.and_then(|number| u16::try_from(number).ok()).unwrap_or_default());
            }
        }
        (if self.kind == "L7" { Protocol::Tcp } else { Protocol::Any }, 0)
    }

    /// The rule, if it was recorded; else the policies.
    fn by(&self, direction: Direction, was_denied: bool) -> Vec<String> {
        let text = |field: &str| self.extensions.pointer(field).and_then(Value::as_str);
        if let (Some(policy), Some(rule)) = (text("/value/policy"), text("/value/rule")) {
            return vec![format!("{policy} {rule}")];
        }
        let policies = match (direction, was_denied) {
            (Direction::Ingress, false) => &self.ingress_allowed_by,
            (Direction::Ingress, true) => &self.ingress_denied_by,
            (Direction::Egress, false) => &self.egress_allowed_by,
            (Direction::Egress, true) => &self.egress_denied_by,
        };
        policies.iter().map(RawPolicy::name).collect()
    }
}

impl RawEnd {
    fn read(&self, address: &str) -> Option<End> {
        let address = address.parse::<IpAddr>().ok()?.to_canonical();
        let mut labels = self.labels.clone();
        labels.sort();
        let pod = (!self.pod_name.is_empty()).then(|| format!("{}/{}", self.namespace, self.pod_name));
        Some(End { address, pod, labels })
    }
}

impl RawPolicy {
    fn name(&self) -> String {
        let kind = if self.kind.is_empty() { "policy" } else { &self.kind };
        if self.namespace.is_empty() {
            format!("{kind} {}", self.name)
        } else {
            format!("{kind} {}/{}", self.namespace, self.name)
        }
    }
}
