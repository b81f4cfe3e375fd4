//! Names of hosts: `toFQDNs` and `rules.dns`.
//!
//! Owns their form. Must never take a name for more or less than Cilium would: what is accepted here is what its API
//! server accepts, with exactly one of `matchName` and `matchPattern`. Start at [`destinations`].

use super::{
    cilium::{Context, Place},
    read::{Reader, join},
    yaml::Node,
};
use crate::policy::Effect;

/// Characters of a name or a pattern, as in Cilium.
const MAX_NAME: usize = 255;

const DENY_HAS_NO_NAMES: &str = "deny rules know no names; write toCIDR with the addresses";
const NAMES_NOT_ENFORCED: &str = "is not enforced yet; write toCIDR with the addresses";
const DNS_NOT_ENFORCED: &str = "is not enforced yet; remove it: DNS is then allowed by port only";

/// Checks `toFQDNs` of one entry of egress.
pub(super) fn destinations(node: &Node, place: &Place, context: &Context<'_>, reader: &mut Reader<'_>) {
    if !context.is_egress() {
        return;
    }
    if context.effect == Effect::Deny {
        reader.unsupported(node, &place.path, "toFQDNs", DENY_HAS_NO_NAMES);
        return;
    }
    // That it is a list was seen to with the other peers.
    for (index, name) in node.present("toFQDNs").map(Node::items).unwrap_or_default().iter().enumerate() {
        check(name, &place.entry("toFQDNs", index).path, reader);
    }
    reader.unsupported(node, &place.path, "toFQDNs", NAMES_NOT_ENFORCED);
}

/// Checks `rules.dns` of one entry of `toPorts`; whether it asks for anything.
pub(super) fn dns_rules(rules: &Node, place: &Place, context: &Context<'_>, reader: &mut Reader<'_>) -> bool {
    let path = place.field("dns");
    let list = reader.list(rules, &place.path, "dns").unwrap_or_default();
    for (index, rule) in list.iter().enumerate() {
        check(rule, &format!("{path}[{index}]"), reader);
    }
    if rules.present("http").is_some() && rules.present("dns").is_some() {
        reader.error(rules.line, &place.path, "has both http and dns; write two entries of toPorts");
    }
    if list.is_empty() {
        // No list at all for Cilium 1.20.
        return false;
    }
    if context.is_egress() {
        reader.unsupported(rules, &place.path, "dns", DNS_NOT_ENFORCED);
    } else {
        reader.unsupported(rules, &place.path, "dns", "DNS rules are not allowed on ingress; write them in egress");
    }
    true
}

/// `{matchName}` or `{matchPattern}`.
fn check(node: &Node, path: &str, reader: &mut Reader<'_>) {
    if node.is_null() {
        reader.error(node.line, path, "is empty; write matchName or matchPattern");
        return;
    }
    let told = reader.told();
    if !reader.keys(node, path, &["matchName", "matchPattern"], &[]) {
        return;
    }
    let name = text(node, path, "matchName", reader);
    let pattern = text(node, path, "matchPattern", reader);
    match (name, pattern) {
        (None, None) if reader.told() == told => {
            reader.error(node.line, path, "needs one of matchName and matchPattern");
        }
        (Some(_), Some(_)) => reader.error(node.line, path, "has both matchName and matchPattern; write two entries"),
        _ => {}
    }
}

/// Absent and empty are the same.
fn text<'n>(node: &'n Node, path: &str, key: &str, reader: &mut Reader<'_>) -> Option<&'n str> {
    let text = reader.text(node, path, key).filter(|text| !text.is_empty())?;
    if let Some(problem) = problem(text, key == "matchPattern") {
        reader.error(node.line_of(key), &join(path, key), problem);
    }
    Some(text)
}

/// Why a text is no name, or no pattern of names.
fn problem(text: &str, is_pattern: bool) -> Option<String> {
    let length = text.chars().count();
    if length > MAX_NAME {
        return Some(format!("has {length} characters, the most is {MAX_NAME}"));
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') || (is_pattern && b == b'*');
    let labels = text.strip_suffix('.').unwrap_or(text);
    if labels.split('.').all(|label| !label.is_empty() && label.bytes().all(letter)) {
        return None;
    }
    Some(if !is_pattern && text.contains('*') {
        format!("{text:?} has a star; write it as matchPattern")
    } else {
        let star = if is_pattern { ", '*'" } else { "" };
        format!("{text:?} is no host name; write letters, digits, '-', '_'{star}, in parts with one dot between them")
    })
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn names_are_what_the_api_server_takes() {
        for name in ["a", "cilium.io", "cilium.io.", "_dmarc.Example.com", "-", "1.2", &"a".repeat(255)] {
            assert_eq!(problem(name, false), None, "{name}");
            assert_eq!(problem(name, true), None, "{name}");
        }
        for name in [".", ".a", "a..b", "a.b..", "a b", "a/b", "a:53", "é.fr", "https://a", &"a".repeat(256)] {
            assert!(problem(name, false).is_some(), "{name}");
            assert!(problem(name, true).is_some(), "{name}");
        }
        for pattern in ["*", "**", "*.", "*.cilium.io", "**.cilium.io", "*.ci*.io", "sub*.cilium.io."] {
            assert_eq!(problem(pattern, true), None, "{pattern}");
            assert!(problem(pattern, false).is_some_and(|reason| reason.contains("matchPattern")), "{pattern}");
        }
    }
}
