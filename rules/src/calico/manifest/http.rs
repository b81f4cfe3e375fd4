//! `http` of a rule, as manifests write it.
//!
//! Must never accept a path that has no normal form: no request could be compared with it. Start at [`http`].

use super::{
    read::{Reader, join},
    yaml::Node,
};
use crate::calico::http::{Http, PathMatch, is_normal, normal_path};

/// Entries of `methods` and of `paths`.
const MAX_ENTRIES: usize = 20;
/// Letters of a path.
const MAX_PATH: usize = 1024;

const REFUSED: &[(&str, &str)] = &[
    ("headers", "Calico has no header rules; remove it, or write a CiliumNetworkPolicy"),
    ("host", "Calico has no host rules; remove it, or write a CiliumNetworkPolicy"),
    ("hosts", "Calico has no host rules; remove it, or write a CiliumNetworkPolicy"),
];

/// The rule's `http`, if it is a map.
pub(super) fn http(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Http> {
    if !reader.keys(node, path, &["methods", "paths"], REFUSED) {
        return None;
    }
    let mut methods: Vec<String> = Vec::new();
    for (index, method) in bounded(node, path, "methods", reader).iter().enumerate() {
        let path = format!("{path}.methods[{index}]");
        let Some(text) = reader.scalar(method, &path) else { continue };
        if methods.iter().any(|known| known == text) {
            reader.error(method.line, &path, format!("{text} is there twice; write it once"));
        } else if !is_method(text) {
            reader.error(method.line, &path, format!("{text:?} is no method; write for example GET, or \"*\" for any"));
        }
        methods.push(text.to_owned());
    }
    let (mut paths, mut rewritten) = (Vec::new(), Vec::new());
    for (index, entry) in bounded(node, path, "paths", reader).iter().enumerate() {
        let written = entry.present("exact").or_else(|| entry.present("prefix")).and_then(Node::text);
        rewritten.extend(written.filter(|text| !is_normal(text)).map(|_| index));
        paths.extend(path_match(entry, &format!("{path}.paths[{index}]"), reader));
    }
    Some(Http { methods, paths, rewritten })
}

/// `*` is any.
fn is_method(text: &str) -> bool {
    text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
}

/// An empty list asks for nothing, as an absent one.
fn bounded<'n>(node: &'n Node, path: &str, key: &str, reader: &mut Reader<'_>) -> &'n [Node] {
    let list = reader.list(node, path, key).unwrap_or_default();
    if list.len() > MAX_ENTRIES {
        let reason = format!("{} entries, the most is {MAX_ENTRIES}; write several rules", list.len());
        reader.error(node.get(key).map_or(node.line, |list| list.line), &join(path, key), reason);
    }
    list
}

fn path_match(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<PathMatch> {
    let refused = [("regex", "Calico has no patterns for paths; write exact or prefix")];
    let told = reader.told();
    if !reader.keys(node, path, &["exact", "prefix"], &refused) {
        return None;
    }
    let (key, make): (_, fn(_) -> _) = match (node.present("exact"), node.present("prefix")) {
        (Some(_), None) => ("exact", PathMatch::Exact),
        (None, Some(_)) => ("prefix", PathMatch::Prefix),
        (Some(_), Some(_)) => {
            reader.error(node.line, path, "has both exact and prefix; write two entries");
            return None;
        }
        // A misspelt or refused field may have been meant.
        (None, None) if reader.told() > told => return None,
        (None, None) => {
            reader.error(node.line, path, "has neither exact nor prefix; write one of them");
            return None;
        }
    };
    let text = reader.text(node, path, key)?;
    let line = node.get(key).map_or(node.line, |value| value.line);
    let reason = if !text.starts_with('/') {
        format!("{text:?} does not begin with /; write /{text}")
    } else if text.contains([' ', '?', '#']) {
        "has a blank, '?' or '#'; write the path alone, and a blank as %20".to_owned()
    } else if text.chars().count() > MAX_PATH {
        format!("has more than {MAX_PATH} letters; write a shorter prefix")
    } else {
        match normal_path(text) {
            Ok(normal) => return Some(make(normal)),
            Err(error) => format!("{error}; write the path that servers see"),
        }
    };
    reader.error(line, &join(path, key), reason);
    None
}
