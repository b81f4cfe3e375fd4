//! Whether one rule is about everything that another one is about.
//!
//! Must never say yes where it is not certain. Start at [`covers`].

use ipnet::IpNet;

use crate::calico::{
    http::Http,
    policy::{Icmp, IpVersion, Peer, Ports, Rule, Who},
    selector::Selector,
};

/// Whether `wider` matches every packet and request that `rule` does.
pub(super) fn covers(wider: &Rule, rule: &Rule) -> bool {
    protocols(wider, rule)
        && peer(&wider.source, &rule.source)
        && peer(&wider.destination, &rule.destination)
        && wider.http.as_ref().is_none_or(|http| rule.http.as_ref().is_some_and(|rule| requests(http, rule)))
}

fn protocols(wider: &Rule, rule: &Rule) -> bool {
    let protocol = rule.carrier();
    let not =
        wider.not_protocol.is_none_or(|not| protocol.is_some_and(|is| is != not) || rule.not_protocol == Some(not));
    wider.carrier().is_none_or(|wanted| protocol == Some(wanted))
        && not
        && wider.ip_version.is_none_or(|version| version_of(rule) == Some(version))
        && wider.icmp.is_none_or(|wanted| rule.icmp.is_some_and(|icmp| messages(wanted, icmp)))
        && wider.not_icmp.is_none_or(|not| rule.not_icmp.is_some_and(|other| messages(other, not)))
}

fn version_of(rule: &Rule) -> Option<IpVersion> {
    let nets = rule.source.nets.iter().chain(&rule.destination.nets).flatten();
    rule.ip_version.or_else(|| nets.map(IpVersion::of).next())
}

pub(super) fn messages(wider: Icmp, icmp: Icmp) -> bool {
    wider.kind == icmp.kind && wider.code.is_none_or(|code| icmp.code == Some(code))
}

fn peer(wider: &Peer, peer: &Peer) -> bool {
    let who = |peer: &Peer| peer.who.as_ref().map(Who::as_selector);
    let not_selected = |not: &Selector| peer.not_selector.as_ref().is_some_and(|other| other.covers(not));
    wider.nets.as_ref().is_none_or(|nets| peer.nets.as_ref().is_some_and(|inner| all_in(inner, nets)))
        && wider.not_nets.as_ref().is_none_or(|not| lacks_nets(peer, not))
        && wider.ports.as_ref().is_none_or(|ports| peer.ports.as_ref().is_some_and(|inner| all_of(inner, ports)))
        && wider.not_ports.as_ref().is_none_or(|not| lacks_ports(peer, not))
        && wider.not_selector.as_ref().is_none_or(not_selected)
        && who(wider).is_none_or(|wider| who(peer).is_some_and(|narrower| wider.covers(&narrower)))
}

/// Whether each of the nets is inside of one of the others.
pub(super) fn all_in(nets: &[IpNet], others: &[IpNet]) -> bool {
    nets.iter().all(|net| others.iter().any(|other| other.contains(net)))
}

/// Whether none of these nets may be the peer's.
fn lacks_nets(peer: &Peer, not: &[IpNet]) -> bool {
    let apart = |one: &IpNet, other: &IpNet| !one.contains(other) && !other.contains(one);
    let of_others = |nets: &Vec<IpNet>| nets.iter().all(|net| not.iter().all(|not| apart(net, not)));
    peer.not_nets.as_ref().is_some_and(|others| all_in(not, others)) || peer.nets.as_ref().is_some_and(of_others)
}

/// Whether each of the ports is one of the others.
pub(super) fn all_of(ports: &[Ports], others: &[Ports]) -> bool {
    let within = |one: &Ports, other: &Ports| match (one, other) {
        (Ports::Range(first, last), Ports::Range(from, to)) => from <= first && last <= to,
        (Ports::Named(one), Ports::Named(other)) => one == other,
        (Ports::Range(..), Ports::Named(_)) | (Ports::Named(_), Ports::Range(..)) => false,
    };
    ports.iter().all(|one| others.iter().any(|other| within(one, other)))
}

/// Whether none of these ports may be the peer's.
fn lacks_ports(peer: &Peer, not: &[Ports]) -> bool {
    let apart = |one: &Ports, other: &Ports| match (one, other) {
        (Ports::Range(first, last), Ports::Range(from, to)) => last < from || to < first,
        // A name may be any number.
        (Ports::Named(_), _) | (_, Ports::Named(_)) => false,
    };
    let of_others = |ports: &Vec<Ports>| ports.iter().all(|one| not.iter().all(|not| apart(one, not)));
    peer.not_ports.as_ref().is_some_and(|others| all_of(not, others)) || peer.ports.as_ref().is_some_and(of_others)
}

fn requests(wider: &Http, http: &Http) -> bool {
    let any = |http: &Http| http.methods.is_empty() || http.methods.iter().any(|method| method == "*");
    let methods = any(wider) || (!any(http) && http.methods.iter().all(|method| wider.methods.contains(method)));
    let path = |path| wider.paths.iter().any(|wider| wider.covers(path));
    methods && (wider.paths.is_empty() || (!http.paths.is_empty() && http.paths.iter().all(path)))
}
