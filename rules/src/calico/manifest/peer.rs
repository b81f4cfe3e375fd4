//! `source` and `destination` of a rule.
//!
//! Owns what a peer without a namespace means: in a namespaced policy its own, in a global one all. Must never let a peer
//! be more than was written. Start at [`peer`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    port,
    read::{Reader, join},
    value,
    yaml::Node,
};
use crate::{
    calico::{
        policy::{NAMESPACE, NAMESPACE_PREFIX, Peer, Who},
        selector::Selector,
    },
    selector::is_dns_name,
};

/// Entries of `nets` and `notNets`.
const MAX_NETS: usize = 256;
/// Entries of `serviceAccounts.names`.
const MAX_ACCOUNTS: usize = 256;

const KNOWN: &[&str] =
    &["nets", "notNets", "selector", "notSelector", "namespaceSelector", "serviceAccounts", "ports", "notPorts"];

const REFUSED: &[(&str, &str)] = &[
    ("services", "is not supported yet; write selector with the labels of the pods behind the service"),
    ("domains", "is not in open-source Calico; write nets with the addresses"),
    ("tag", "was removed from Calico; write selector"),
];

/// One end of a rule; anybody when it is absent. `namespace`: of the policy, `None` when it is global.
pub(super) fn peer(rule: &Node, path: &str, key: &str, namespace: Option<&str>, reader: &mut Reader<'_>) -> Peer {
    let Some(node) = rule.present(key) else { return Peer::default() };
    let path = join(path, key);
    let path = path.as_str();
    if !reader.keys(node, path, KNOWN, REFUSED) {
        return Peer::default();
    }
    let (who, not_selector) = who(node, path, namespace, reader);
    let nets = |key: &str, reader: &mut Reader<'_>| {
        let list = value::some(node, path, key, MAX_NETS, reader)?;
        Some(nets(list, &join(path, key), reader))
    };
    let not_nets = nets("notNets", reader);
    if not_nets.iter().flatten().any(|net| net.prefix_len() == 0) {
        let line = node.get("notNets").map_or(node.line, |list| list.line);
        reader.error(line, &join(path, "notNets"), "holds every address, so nothing is left; remove that CIDR");
    }
    Peer {
        who,
        not_selector,
        nets: nets("nets", reader),
        not_nets,
        ports: port::ports(node, path, "ports", reader),
        not_ports: port::ports(node, path, "notPorts", reader),
    }
}

/// What it must be, and what it must not.
fn who(node: &Node, path: &str, namespace: Option<&str>, reader: &mut Reader<'_>) -> (Option<Who>, Option<Selector>) {
    let selector = value::rule_selector(node, path, "selector", reader);
    let not_selector = value::rule_selector(node, path, "notSelector", reader);
    let namespace_selector = value::rule_selector(node, path, "namespaceSelector", reader);
    let namespace_selector =
        namespace_selector.map(|selector| selector.prefixed(NAMESPACE_PREFIX).all_that_has(NAMESPACE));
    let (accounts, account_selector) = accounts(node, path, reader);
    let restricts = selector.is_some() || not_selector.is_some() || accounts.is_some() || account_selector.is_some();
    let own = namespace.filter(|_| restricts && namespace_selector.is_none()).map(str::to_owned);
    let who = Who { namespace: own, selector, namespace_selector, accounts, account_selector };
    (Some(who).filter(|who| *who != Who::default()), not_selector)
}

type Accounts = (Option<Vec<String>>, Option<Selector>);

fn accounts(node: &Node, path: &str, reader: &mut Reader<'_>) -> Accounts {
    let Some(accounts) = node.present("serviceAccounts") else { return (None, None) };
    let path = join(path, "serviceAccounts");
    if !reader.keys(accounts, &path, &["names", "selector"], &[]) {
        return (None, None);
    }
    let told = reader.told();
    let names = value::some(accounts, &path, "names", MAX_ACCOUNTS, reader).map(|list| {
        let mut names = Vec::new();
        for (index, node) in list.iter().enumerate() {
            let path = format!("{path}.names[{index}]");
            let Some(text) = reader.scalar(node, &path) else { continue };
            if is_dns_name(text) {
                names.push(text.to_owned());
            } else {
                let reason = format!("{text:?} is no service account's name; write lower case letters, digits and '-'");
                reader.error(node.line, &path, reason);
            }
        }
        names
    });
    let selector = value::rule_selector(accounts, &path, "selector", reader);
    let selector = selector.and_then(|read| value::of_accounts(read, accounts, &path, "selector", reader));
    if names.is_none() && selector.is_none() && reader.told() == told {
        reader.error(accounts.line, &path, "asks for nothing; write names or selector, or remove it");
    }
    (names, selector)
}

/// CIDRs, or single addresses.
pub(super) fn nets(list: &[Node], path: &str, reader: &mut Reader<'_>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(text) = reader.scalar(node, &path) else { continue };
        match net(text) {
            Ok(net) => nets.push(net),
            Err(reason) => reader.error(node.line, &path, reason),
        }
    }
    nets
}

fn net(text: &str) -> Result<IpNet, String> {
    let net = match text.split_once('/') {
        None => text.parse::<IpAddr>().ok().map(IpNet::from),
        Some((address, length)) => {
            let length = value::digits(length).and_then(|length| u8::try_from(length).ok());
            let address = address.parse::<IpAddr>().ok();
            address.zip(length).and_then(|(address, length)| IpNet::new(address, length).ok())
        }
    };
    match net {
        Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => {
            Err(format!("{text} is IPv4 in the form of IPv6; write the IPv4 prefix"))
        }
        Some(net) => Ok(net.trunc()),
        None => Err(format!("{text:?} is not a CIDR; write for example 10.0.0.0/8 or fd00::/8")),
    }
}
