//! Each metric: what counts in it, and its own labels.
//!
//! Names, labels and their values are Hubble's, so that its dashboards read ours. Start at [`Handler::effects`].

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::SystemTime,
};

use rules::MatchType;

use super::{
    cache::Effects,
    context,
    seen::{By, Event, Facts, Seen},
    series::{Room, Table, Value},
};
use crate::{
    config::{FlowMetric, MetricName},
    flow::{DropReason, said::Shown},
    metrics::{Family, Histogram},
};

/// Flags of TCP.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Whose connections policy always allows is no verdict.
const HOST: u32 = 1;
const WORLD: [&str; 3] = ["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"];

/// A metric of Hubble's.
#[derive(Debug)]
pub(super) struct Handler {
    metric: FlowMetric,
    counters: Vec<Table<AtomicU64>>,
    durations: Option<Table<Histogram>>,
}

/// A counter's name, what it counts, and its own labels.
type Shape = (&'static str, &'static str, &'static [&'static str]);

const REQUEST: [&str; 3] = ["method", "protocol", "reporter"];
const RESPONSE: [&str; 4] = ["method", "protocol", "status", "reporter"];

fn shapes(name: MetricName) -> &'static [Shape] {
    match name {
        MetricName::Flow => &[(
            "hubble_flows_processed_total",
            "Total number of flows processed",
            &["protocol", "type", "subtype", "verdict"],
        )],
        MetricName::Drop => &[("hubble_drop_total", "Number of drops", &["reason", "protocol"])],
        MetricName::Http => &[
            ("hubble_http_requests_total", "Count of HTTP requests", &REQUEST),
            ("hubble_http_responses_total", "Count of HTTP responses", &RESPONSE),
        ],
        MetricName::HttpV2 => &[("hubble_http_requests_total", "Count of HTTP requests", &RESPONSE)],
        MetricName::Policy => &[(
            "hubble_policy_verdicts_total",
            "Total number of Cilium network policy verdicts",
            &["direction", "match", "action"],
        )],
        MetricName::Tcp => &[("hubble_tcp_flags_total", "TCP flag occurrences", &["flag", "family"])],
        MetricName::PortDistribution => &[(
            "hubble_port_distribution_total",
            "Numbers of packets distributed by destination port",
            &["protocol", "port"],
        )],
        MetricName::FlowsToWorld => {
            &[("hubble_flows_to_world_total", "Total number of flows to reserved:world", &["protocol", "verdict"])]
        }
        MetricName::Dns | MetricName::Icmp | MetricName::Sctp => &[],
    }
}

impl Handler {
    /// `None`: there are no flows of which it is made.
    pub(super) fn new(metric: &FlowMetric, room: &Room) -> Option<Self> {
        if !metric.name.is_made() {
            return None;
        }
        let with_context = |own: &[&'static str]| {
            let port = metric.world.port.then_some("port");
            own.iter().copied().chain(port).chain(context::names(&metric.context)).collect::<Vec<_>>()
        };
        let shapes = shapes(metric.name).iter();
        let counters = shapes.map(|(name, help, own)| Table::new(name, help, with_context(own), room)).collect();
        let has_durations = matches!(metric.name, MetricName::Http | MetricName::HttpV2);
        let durations = has_durations.then(|| {
            let (name, help) =
                ("hubble_http_request_duration_seconds", "Quantiles of HTTP request duration in seconds");
            Table::new(name, help, with_context(&["method", "reporter"]), room)
        });
        Some(Self { metric: metric.clone(), counters, durations })
    }

    /// Whether a label is made of ports.
    pub(super) fn asks_port(&self) -> bool {
        self.metric.world.port || self.metric.name == MetricName::PortDistribution
    }

    pub(super) fn families(&self) -> Vec<Family> {
        self.counters.iter().map(Table::family).chain(self.durations.iter().map(Table::family)).collect()
    }

    /// Adds what such a record counts in.
    pub(super) fn effects(&self, seen: &Seen<'_>, now: SystemTime, effects: &mut Effects) {
        let facts = &seen.facts;
        match self.metric.name {
            MetricName::Flow => {
                let (kind, subtype) = kind(facts);
                self.count(0, &[protocol(facts), kind, subtype, facts.verdict.hubble().1], seen, now, effects);
            }
            // Two records tell of a refusal by policy: it is one.
            MetricName::Drop if facts.verdict == Shown::Dropped && facts.event != Event::PolicyVerdict => {
                let own = [facts.reason.hubble().1, protocol(facts)];
                if let Some(drops) = self.series(0, &own, (seen, false), now, effects) {
                    effects.drops = Some(drops);
                }
            }
            MetricName::Policy => {
                if let Some(matched) = matched(seen) {
                    let own = [context::way(facts.direction), matched, facts.verdict.action()];
                    self.count(0, &own, seen, now, effects);
                }
            }
            MetricName::Http | MetricName::HttpV2 => self.http(seen, now, effects),
            MetricName::Tcp if is_forwarded(facts) && facts.layer4 == "TCP" => {
                let family = if facts.is_ipv4 { "IPv4" } else { "IPv6" };
                for flag in flags(facts.flags) {
                    self.count(0, &[flag, family], seen, now, effects);
                }
            }
            MetricName::PortDistribution
                if is_forwarded(facts) && facts.is_reply == Some(false) && !facts.layer4.is_empty() =>
            {
                let port = if facts.layer4.starts_with("ICMP") { 0 } else { facts.port };
                self.count(0, &[facts.layer4, &port.to_string()], seen, now, effects);
            }
            MetricName::FlowsToWorld if self.is_to_world(seen) => {
                let has_ports = !facts.layer4.starts_with("ICMP");
                let port = if has_ports { facts.port.to_string() } else { String::new() };
                let own = [protocol(facts), facts.verdict.hubble().1, &port];
                let own = if self.metric.world.port { &own[..] } else { &own[..2] };
                self.count(0, own, seen, now, effects);
            }
            MetricName::Drop
            | MetricName::Tcp
            | MetricName::PortDistribution
            | MetricName::FlowsToWorld
            | MetricName::Dns
            | MetricName::Icmp
            | MetricName::Sctp => {}
        }
    }

    fn http(&self, seen: &Seen<'_>, now: SystemTime, effects: &mut Effects) {
        let Facts { event, method, protocol, status, direction, .. } = seen.facts;
        let reporter = match direction {
            rules::Direction::Egress => "client",
            rules::Direction::Ingress => "server",
        };
        let is_v2 = self.metric.name == MetricName::HttpV2;
        match event {
            Event::Request if !is_v2 => self.count(0, &[method, protocol, reporter], seen, now, effects),
            Event::Response => {
                let status = status.to_string();
                let own = [method, protocol, &status, reporter];
                let table = usize::from(!is_v2);
                if let Some(counter) = self.series(table, &own, (seen, is_v2), now, effects) {
                    effects.counters.push(counter);
                }
                if let Some(durations) = &self.durations {
                    effects.durations = Some(self.of(durations, &[method, reporter], (seen, is_v2), now, effects));
                }
            }
            Event::Request | Event::Drop | Event::PolicyVerdict | Event::Trace => {}
        }
    }

    fn count(&self, table: usize, own: &[&str], seen: &Seen<'_>, now: SystemTime, effects: &mut Effects) {
        let counter = self.series(table, own, (seen, false), now, effects);
        effects.counters.extend(counter);
    }

    /// Of one of its counters; `seen` as it is, or inverted.
    fn series(
        &self,
        table: usize,
        own: &[&str],
        seen: (&Seen<'_>, bool),
        now: SystemTime,
        effects: &mut Effects,
    ) -> Option<Arc<AtomicU64>> {
        let table = self.counters.get(table)?;
        Some(self.of(table, own, seen, now, effects))
    }

    fn of<V: Value>(
        &self,
        table: &Table<V>,
        own: &[&str],
        (seen, inverted): (&Seen<'_>, bool),
        now: SystemTime,
        effects: &mut Effects,
    ) -> Arc<V> {
        let mut values: Vec<String> = own.iter().map(|value| (*value).to_owned()).collect();
        values.extend(context::values(&self.metric.context, seen, inverted));
        let (series, tidied) = table.get(values, now);
        effects.tidied |= tidied;
        series
    }

    fn is_to_world(&self, seen: &Seen<'_>) -> bool {
        let facts = &seen.facts;
        let is_dropped = facts.verdict == Shown::Dropped;
        let is_reply = facts.is_reply == Some(true);
        seen.destination.0.labels.iter().any(|label| WORLD.contains(&label.as_str()))
            && !facts.layer4.is_empty()
            && (!is_dropped || self.metric.world.any_drop || facts.reason == DropReason::PolicyDenied)
            && (is_dropped || !is_reply)
            && (!self.metric.world.syn_only || facts.flags & SYN != 0 && !is_reply)
    }
}

fn is_forwarded(facts: &Facts) -> bool {
    matches!(facts.verdict, Shown::Forwarded | Shown::Redirected)
}

/// Type and subtype.
fn kind(facts: &Facts) -> (&'static str, &'static str) {
    match (facts.event, facts.direction) {
        (Event::Request | Event::Response, _) => ("L7", "HTTP"),
        (Event::Drop, _) => ("Drop", ""),
        (Event::PolicyVerdict, _) => ("PolicyVerdict", ""),
        (Event::Trace, rules::Direction::Egress) => ("Trace", "to-stack"),
        (Event::Trace, rules::Direction::Ingress) => ("Trace", "to-endpoint"),
    }
}

fn protocol(facts: &Facts) -> &'static str {
    match facts.layer4 {
        _ if facts.is_http() => "HTTP",
        "" => "Unknown L4",
        name => name,
    }
}

/// How policy was met; `None`: it is no verdict of policy.
fn matched(seen: &Seen<'_>) -> Option<&'static str> {
    match seen.facts.event {
        Event::Request | Event::Response => Some("l7/http"),
        Event::PolicyVerdict if seen.source.0.identity != HOST => Some(match seen.facts.matched {
            MatchType::None => "none",
            MatchType::L3Only => "l3-only",
            MatchType::L3L4 => "l3-l4",
            MatchType::L4Only => "l4-only",
            MatchType::All => "all",
            MatchType::L3Proto => "l3-proto",
            MatchType::ProtoOnly => "proto-only",
        }),
        Event::PolicyVerdict | Event::Drop | Event::Trace => None,
    }
}

fn flags(flags: u8) -> impl Iterator<Item = &'static str> {
    let syn = if flags & ACK == 0 { "SYN" } else { "SYN-ACK" };
    [(FIN, "FIN"), (SYN, syn), (RST, "RST")].into_iter().filter(move |(bit, _)| flags & bit != 0).map(|(_, name)| name)
}

/// Requests by the rule that decided.
#[derive(Debug)]
pub(super) struct ByRule(Table<AtomicU64>);

impl ByRule {
    pub(super) fn new(room: &Room) -> Self {
        let help = "Requests by policy, rule (its place and what it asks for) and verdict; without a rule, by the policies \
                    that allow nothing like it.";
        Self(Table::new("l7proxy_rule_requests_total", help, vec!["policy", "rule", "verdict"], room))
    }

    pub(super) fn families(&self) -> Vec<Family> {
        vec![self.0.family()]
    }

    pub(super) fn effects(&self, seen: &Seen<'_>, now: SystemTime, effects: &mut Effects) {
        if seen.facts.event != Event::Request {
            return;
        }
        let (policy, rule) = match seen.by {
            By::Nobody => (String::new(), String::new()),
            By::Rule(rule) => {
                (rule.policy.to_string(), format!("{} {}", rule.rule, rule.summary).trim_end().to_owned())
            }
            By::Policies(policies) => {
                let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
                (names.join(", "), String::new())
            }
        };
        let (counter, tidied) = self.0.get(vec![policy, rule, seen.facts.verdict.hubble().1.to_owned()], now);
        effects.tidied |= tidied;
        effects.counters.push(counter);
    }
}
