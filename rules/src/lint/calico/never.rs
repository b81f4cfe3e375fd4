//! Rules that contradict themselves, ask for requests that do not exist, or decide by what is not known when they are asked.
//!
//! Start at [`rule`].

use super::cover;
use crate::{
    calico::{
        http::Http,
        policy::{Action, Peer, Rule, Who},
        selector::Selector,
    },
    lint::{FindingKind, Findings, http::METHODS},
};

pub(super) fn rule(rule: &Rule, findings: &mut Findings) {
    let mut never = |field: &str, text: &str| {
        findings.add(rule.line, &format!("{}.{field}", rule.path), FindingKind::NeverMatches, text);
    };
    if rule.protocol.is_some() && rule.protocol == rule.not_protocol {
        never("notProtocol", "never matches: it takes away the protocol that the rule is about; remove one of the two");
    }
    if let (Some(icmp), Some(not)) = (rule.icmp, rule.not_icmp)
        && cover::messages(not, icmp)
    {
        never("notICMP", "never matches: it takes away the messages that the rule is about; remove one of the two");
    }
    for (end, peer) in [("source", &rule.source), ("destination", &rule.destination)] {
        if let Some((field, text)) = contradiction(peer) {
            never(&format!("{end}.{field}"), text);
        }
    }
    if let Some(http) = &rule.http {
        methods(rule, http, findings);
        paths(rule, http, findings);
    }
    not_known(rule, findings);
}

/// A field of a peer that leaves nothing of the others, and what to do.
fn contradiction(peer: &Peer) -> Option<(&'static str, &'static str)> {
    let who = peer.who.as_ref().map(Who::as_selector);
    let no_nets = || peer.nets.as_ref().zip(peer.not_nets.as_ref()).is_some_and(|(nets, not)| cover::all_in(nets, not));
    let no_ports =
        || peer.ports.as_ref().zip(peer.not_ports.as_ref()).is_some_and(|(ports, not)| cover::all_of(ports, not));
    if who.as_ref().is_some_and(Selector::is_never) {
        let text = "never matches: no endpoint and no network set can be all of this; write another expression";
        Some(("selector", text))
    } else if who.zip(peer.not_selector.as_ref()).is_some_and(|(who, not)| not.covers(&who)) {
        Some((
            "notSelector",
            "never matches: it takes away everybody whom the selectors select; write another expression",
        ))
    } else if no_nets() {
        Some(("notNets", "never matches: it takes away every one of nets; remove some of it"))
    } else if no_ports() {
        Some(("notPorts", "never matches: it takes away every one of ports; remove some of it"))
    } else {
        None
    }
}

fn paths(rule: &Rule, http: &Http, findings: &mut Findings) {
    for (index, path) in http.rewritten.iter().filter_map(|index| Some((index, http.paths.get(*index)?))) {
        let text = format!(
            "is compared as {0}: dot segments, parameters, backslashes and doubled slashes do not count; write {0}",
            path.path()
        );
        findings.add(rule.line, &format!("{}.http.paths[{index}]", rule.path), FindingKind::NormalForm, text);
    }
}

fn methods(rule: &Rule, http: &Http, findings: &mut Findings) {
    for (index, method) in http.methods.iter().enumerate() {
        let upper = method.to_ascii_uppercase();
        if upper != *method && METHODS.contains(&upper.as_str()) {
            let text = format!("never matches {upper}: methods are compared with their case; write {upper}");
            let field = format!("{}.http.methods[{index}]", rule.path);
            findings.add(rule.line, &field, FindingKind::NeverMatches, text);
        }
    }
}

/// Source ports and the codes of messages: a connection is judged before the one, and the kernel does not tell the other.
fn not_known(rule: &Rule, findings: &mut Findings) {
    let ports = rule.source.ports.is_some() || rule.source.not_ports.is_some();
    let code = rule.icmp.is_some_and(|icmp| icmp.code.is_some());
    let asked = [(ports, "source", "a source port"), (code, "icmp", "the code of a message")];
    for (_, field, what) in asked.into_iter().filter(|(is_asked, ..)| *is_asked) {
        let text = match rule.action {
            Action::Allow => format!("never allows: {what} is not known when the rule is asked; remove it"),
            Action::Deny | Action::Pass => {
                format!("denies whatever it is: {what} is not known when the rule is asked; remove it, or the rule")
            }
            Action::Log => continue,
        };
        findings.add(rule.line, &format!("{}.{field}", rule.path), FindingKind::NotKnown, text);
    }
}
