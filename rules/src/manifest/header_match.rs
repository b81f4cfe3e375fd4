//! `headerMatches` of an HTTP rule.
//!
//! Owns their form. Must never let an edit touch what a message's framing or its host is told by. Start at [`header_matches`].

use http::{HeaderName, HeaderValue};

use super::{
    is_namespace,
    read::{Reader, join},
    yaml::Node,
};
use crate::{
    header_match::{HeaderMatch, Otherwise},
    secret::{SecretName, header_value},
    selector::is_dns_name,
};

/// Headers that tell where a message ends, what a connection becomes, or what was judged elsewhere.
const NEVER_EDITED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `headerMatches` of the rule at `path`.
pub(super) fn header_matches(rule: &Node, path: &str, reader: &mut Reader<'_>) -> Vec<HeaderMatch> {
    let list = reader.list(rule, path, "headerMatches").unwrap_or_default();
    let entry = |(index, node): (usize, &Node)| header_match(node, &format!("{path}.headerMatches[{index}]"), reader);
    list.iter().enumerate().filter_map(entry).collect()
}

fn header_match(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<HeaderMatch> {
    if !reader.keys(node, path, &["name", "value", "secret", "mismatch"], &[]) {
        return None;
    }
    let name = name(node, path, reader);
    let value = value(node, path, reader);
    let secret = secret(node, path, reader);
    let otherwise = otherwise(node, path, reader);
    let (name, otherwise) = (name?, otherwise?);
    let edits = matches!(otherwise, Otherwise::Add | Otherwise::Delete | Otherwise::Replace);
    if edits && NEVER_EDITED.contains(&name.as_str()) {
        let reason = format!("{name} is never edited: it decides what a request is; leave mismatch out, or write LOG");
        reader.error(line(node, "mismatch"), &join(path, "mismatch"), reason);
    }
    Some(HeaderMatch { name, value, secret, resolved: None, otherwise })
}

fn name(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<HeaderName> {
    let told = reader.told();
    let text = reader.text(node, path, "name").unwrap_or_default();
    let reason = match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => return Some(name),
        Err(_) if reader.told() > told => return None,
        Err(_) if text.is_empty() => "is missing; write a header's name".to_owned(),
        Err(_) if text.starts_with(':') => "is a pseudo-header; write method, path or host in the rule".to_owned(),
        Err(_) => format!("{text:?} is no header's name; write letters, digits and '-'"),
    };
    reader.error(line(node, "name"), &join(path, "name"), reason);
    None
}

/// Absent and empty ask for presence.
fn value(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<HeaderValue> {
    let text = reader.text(node, path, "value").filter(|text| !text.is_empty())?;
    let value = header_value(text.as_bytes());
    if value.is_none() {
        let reason = "no header has this value: it has a control character in it, or a blank at an end";
        reader.error(line(node, "value"), &join(path, "value"), reason);
    }
    value
}

fn otherwise(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Otherwise> {
    if node.present("mismatch").is_none() {
        return Some(Otherwise::Fail);
    }
    let text = reader.text(node, path, "mismatch")?;
    Some(match text {
        "" => Otherwise::Fail,
        "LOG" => Otherwise::Log,
        "ADD" => Otherwise::Add,
        "DELETE" => Otherwise::Delete,
        "REPLACE" => Otherwise::Replace,
        _ => {
            let reason = format!("{text:?} is no action; write LOG, ADD, DELETE or REPLACE, or leave it out");
            reader.error(line(node, "mismatch"), &join(path, "mismatch"), reason);
            return None;
        }
    })
}

/// Both names become names of directories.
fn secret(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<SecretName> {
    let node = node.present("secret")?;
    let path = join(path, "secret");
    if !reader.keys(node, &path, &["namespace", "name"], &[]) {
        return None;
    }
    let told = reader.told();
    let name = reader.text(node, &path, "name").unwrap_or_default();
    let namespace = reader.text(node, &path, "namespace").filter(|text| !text.is_empty());
    if reader.told() > told {
        return None;
    }
    if name.is_empty() {
        reader.error(line(node, "name"), &join(&path, "name"), "is missing; write the secret's name");
    } else if !is_dns_name(name) {
        reader.error(line(node, "name"), &join(&path, "name"), format!("{name:?} is no secret's name"));
    }
    let namespace = namespace.map_or_else(|| reader.namespace.clone(), str::to_owned);
    if namespace.is_empty() {
        let reason = "is missing; a policy of the cluster has no namespace of its own: write the secret's";
        reader.error(line(node, "namespace"), &join(&path, "namespace"), reason);
    } else if !is_namespace(&namespace) {
        let reason = format!("{namespace:?} is no namespace's name");
        reader.error(line(node, "namespace"), &join(&path, "namespace"), reason);
    }
    Some(SecretName { namespace, name: name.to_owned() })
}

fn line(node: &Node, key: &str) -> usize {
    node.get(key).map_or(node.line, |value| value.line)
}
