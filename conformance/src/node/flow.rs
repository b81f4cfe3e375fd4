//! Flow records, read from the file of records in the form of Hubble's exporter.
//!
//! Owns where in a record a fact is found. Start at [`Flow`].

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

/// One record.
#[derive(Clone, Debug)]
pub struct Flow(pub Value);

impl Flow {
    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn port(&self, name: &str) -> Option<u16> {
        let port = ["TCP", "UDP"].iter().find_map(|protocol| self.0.pointer(&format!("/flow/l4/{protocol}/{name}")))?;
        u16::try_from(port.as_u64()?).ok()
    }

    fn end(&self, address: &str, port: &str) -> Option<SocketAddr> {
        let ip: IpAddr = self.text(address).parse().ok()?;
        Some(SocketAddr::new(ip, self.port(port)?))
    }

    /// Where it came from.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        self.end("/flow/IP/source", "source_port")
    }

    /// Where it went to.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        self.end("/flow/IP/destination", "destination_port")
    }

    /// `FORWARDED`, `DROPPED`, …
    #[must_use]
    pub fn verdict(&self) -> &str {
        self.text("/flow/verdict")
    }

    /// `INGRESS` or `EGRESS`.
    #[must_use]
    pub fn direction(&self) -> &str {
        self.text("/flow/traffic_direction")
    }

    /// Why, in one word.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.text("/flow/extensions/value/reason")
    }

    /// Type and code of an ICMP message.
    #[must_use]
    pub fn icmp(&self) -> Option<(u64, u64)> {
        let message = ["ICMPv4", "ICMPv6"].iter().find_map(|name| self.0.pointer(&format!("/flow/l4/{name}")))?;
        let number = |name: &str| message.get(name).and_then(Value::as_u64).unwrap_or_default();
        Some((number("type"), number("code")))
    }

    /// The address it went to.
    #[must_use]
    pub fn destination_ip(&self) -> Option<IpAddr> {
        self.text("/flow/IP/destination").parse().ok()
    }

    /// Equal ones before it that have no record.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.0.pointer("/flow/extensions/value/repeats").and_then(Value::as_u64).unwrap_or_default()
    }

    /// Number of the process that asked.
    #[must_use]
    pub fn pid(&self) -> Option<u64> {
        self.0.pointer("/flow/extensions/value/process/pid")?.as_u64()
    }

    /// Its command.
    #[must_use]
    pub fn command(&self) -> &str {
        self.text("/flow/extensions/value/process/command")
    }

    /// Records that are missing.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.text("/lost_events/num_events_lost").parse().unwrap_or_default()
    }

    /// `opened` or `ended`, of a connection without the proxy.
    #[must_use]
    pub fn connection(&self) -> &str {
        self.text("/flow/extensions/value/connection/state")
    }

    /// Bytes that its pod sent and received.
    #[must_use]
    pub fn connection_bytes(&self) -> (u64, u64) {
        let number = |name: &str| {
            let value = self.0.pointer(&format!("/flow/extensions/value/connection/{name}"));
            value.and_then(Value::as_u64).unwrap_or_default()
        };
        (number("bytesSent"), number("bytesReceived"))
    }

    /// `REQUEST`, `RESPONSE`, or nothing for a record below HTTP.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/flow/l7/type")
    }

    /// Its request's method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.text("/flow/l7/http/method")
    }

    /// Its request's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.text("/flow/l7/http/url")
    }

    /// The status of a response.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        self.0.pointer("/flow/l7/http/code")?.as_u64()
    }

    /// A record of a verdict: a request, or a connection or datagram that was refused, or would have been.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        self.kind() == "REQUEST" || (self.kind().is_empty() && matches!(self.verdict(), "DROPPED" | "AUDIT"))
    }

    /// What of a connection the rule looks at, as Cilium numbers it; 0: there is no rule.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.0.pointer("/flow/policy_match_type").and_then(Value::as_u64).unwrap_or_default()
    }

    /// What policy decided of a connection or datagram: another record tells what became of it. Of what is audited there is
    /// no other.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        self.0.pointer("/flow/event_type/type").and_then(Value::as_u64) == Some(5) && self.verdict() != "AUDIT"
    }

    /// `Kind namespace/name` of the policies that allowed or denied it.
    #[must_use]
    pub fn policies(&self) -> Vec<String> {
        let lists = ["egress_allowed_by", "egress_denied_by", "ingress_allowed_by", "ingress_denied_by"];
        let named = lists.iter().filter_map(|list| self.0.pointer(&format!("/flow/{list}"))?.as_array()).flatten();
        let part = |policy: &Value, name: &str| policy.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        named
            .map(|policy| format!("{} {}/{}", part(policy, "kind"), part(policy, "namespace"), part(policy, "name")))
            .collect()
    }

    /// The rule that allowed it, or the one that came nearest.
    #[must_use]
    pub fn rule(&self) -> &str {
        let rule = self.text("/flow/extensions/value/rule");
        if rule.is_empty() { self.text("/flow/extensions/value/nearest/rule") } else { rule }
    }

    /// Calico's tier whose end denied it.
    #[must_use]
    pub fn tier(&self) -> &str {
        self.text("/flow/extensions/value/tier")
    }

    /// The revision under which it was decided.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.0.pointer("/flow/extensions/value/policyRevision")?.as_u64()
    }

    /// The field of the nearest rule that failed.
    #[must_use]
    pub fn failed_field(&self) -> &str {
        self.text("/flow/extensions/value/nearest/field")
    }
}
