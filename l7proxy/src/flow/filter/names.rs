//! Patterns of names: of domains, and of nodes as `cluster/node`.
//!
//! Owns what `*` stands for. Start at [`Pattern::read`].

use hubble_api::flow::FlowFilter;

use super::{Conditions, go, regexp::Budget, view::SIDES, when};
use crate::flow::NodeNames;

/// `source_fqdn`, `destination_fqdn` and `dns_query`: no flow of ours is of DNS.
pub(super) fn domains(filter: &FlowFilter, budget: &mut Budget, all: &mut Conditions) -> Result<(), String> {
    for (patterns, side) in [&filter.source_fqdn, &filter.destination_fqdn].into_iter().zip(SIDES) {
        let patterns = patterns.iter().map(|pattern| Pattern::read(pattern)).collect::<Result<Vec<_>, _>>()?;
        when(&patterns, all, |patterns| {
            let patterns = patterns.to_vec();
            Box::new(move |view| {
                let names = &view.peer(side).names;
                names.iter().any(|name| patterns.iter().any(|pattern| pattern.matches(name)))
            })
        });
    }
    for pattern in &filter.dns_query {
        budget
            .compile(pattern)
            .map_err(|error| format!("invalid DNS query filter: failed to compile regexp: {error}"))?;
    }
    when(&filter.dns_query, all, |_| Box::new(|_| false));
    Ok(())
}

/// `node_name`. All flows are of one node: what is asked of it is known at once.
pub(super) fn node(filter: &FlowFilter, node: &NodeNames, all: &mut Conditions) -> Result<(), String> {
    let is_wanted = matches_node(&filter.node_name, &node.full())?;
    when(&filter.node_name, all, |_| Box::new(move |_| is_wanted));
    Ok(())
}

pub(super) fn matches_node(patterns: &[String], name: &str) -> Result<bool, String> {
    let mut is_wanted = false;
    for pattern in patterns {
        if pattern.is_empty() {
            return Err(EMPTY.to_owned());
        }
        let parts: Vec<&str> = pattern.split('/').collect();
        let (cluster, node) = match parts.as_slice() {
            [node] => ("", *node),
            [cluster, node] => (*cluster, *node),
            _ => return Err("too many slashes in pattern".to_owned()),
        };
        let read = |part: &str| if part.is_empty() { Ok(None) } else { Pattern::read(part).map(Some) };
        let (cluster, node) = (read(cluster)?, read(node)?);
        let matches = |pattern: Option<Pattern>, part: &str| match pattern {
            Some(pattern) => pattern.matches(part),
            None => is_domain(part),
        };
        if let Some((own_cluster, own_node)) = name.split_once('/') {
            is_wanted |= matches(cluster, own_cluster) && matches(node, own_node);
        }
    }
    Ok(is_wanted)
}

const EMPTY: &str = "empty pattern";

/// Words with dots between them.
fn is_domain(text: &str) -> bool {
    let is_letter = |byte: u8| is_name(byte) || byte == b'_';
    text.split('.').all(|word| !word.is_empty() && word.bytes().all(is_letter))
}

/// What `*` stands for, but for dots.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// A pattern that a whole name must match.
#[derive(Clone, Debug)]
pub(super) struct Pattern(String);

impl Pattern {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_suffix('.').unwrap_or(text).to_lowercase();
        if text.is_empty() {
            return Err(EMPTY.to_owned());
        }
        if text.ends_with('.') {
            return Err("multiple trailing dots in pattern".to_owned());
        }
        let is_known = |letter: &char| matches!(letter, '.' | '*' | '-' | '_' | '0'..='9' | 'a'..='z');
        match text.chars().find(|letter| !is_known(letter)) {
            Some(letter) => Err(format!("{}: invalid rune in pattern", go::quote_letter(letter))),
            None => Ok(Self(text)),
        }
    }

    /// What stands between two `*` is looked for once, as far in front as it can be. That is enough although `*` is not just
    /// anything: what it does not stand for is never passed over.
    pub(super) fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut done) = (0, 0);
        // Behind the last `*`, and how much of the name is before what was tried for it.
        let mut star: Option<(usize, usize)> = None;
        while let Some(letter) = name.get(done) {
            match (pattern.get(at), star) {
                (Some(b'*'), _) => {
                    at += 1;
                    star = Some((at, done));
                }
                (Some(wanted), _) if wanted == letter => {
                    at += 1;
                    done += 1;
                }
                (_, Some((behind, tried))) if name.get(tried).is_some_and(|byte| is_name(*byte) || *byte == b'.') => {
                    star = Some((behind, tried + 1));
                    (at, done) = (behind, tried + 1);
                }
                _ => return false,
            }
        }
        pattern.iter().skip(at).all(|rest| *rest == b'*')
    }
}
