//! Label selectors of Kubernetes, whose keys may have Cilium's sources in front.
//!
//! Owns when a selector holds; [`parser`] reads it. A key without a source is that of any. Start at [`labels`].

use std::net::IpAddr;

use hubble_api::flow::FlowFilter;
use ipnet::IpNet;

use super::{
    Conditions, go,
    view::{SIDES, View},
    when,
};
use crate::flow::NodeNames;

mod parser;

/// `source_label`, `destination_label` and `node_labels`.
pub(super) fn labels(filter: &FlowFilter, node: &NodeNames, all: &mut Conditions) -> Result<(), String> {
    let labels = [("source", &filter.source_label), ("destination", &filter.destination_label)];
    for ((field, texts), side) in labels.into_iter().zip(SIDES) {
        let selectors = selectors(field, texts)?;
        when(texts, all, |_| {
            Box::new(move |view: &View<'_>| {
                let labels = &view.peer(side).labels;
                selectors.iter().any(|selector| selector.matches(labels))
            })
        });
    }
    // All flows are of one node: what is asked of it is known at once.
    let of_node = selectors("node", &filter.node_labels)?;
    let is_wanted = of_node.iter().any(|selector| selector.matches(&node.labels));
    when(&filter.node_labels, all, |_| Box::new(move |_| is_wanted));
    Ok(())
}

fn selectors(field: &str, texts: &[String]) -> Result<Vec<Selector>, String> {
    let selectors: Result<Vec<_>, String> = texts.iter().map(|text| parser::selector(text)).collect();
    selectors.map_err(|error| format!("invalid {field} label filter: {error}"))
}

/// All requirements hold; none at all selects everything.
#[derive(Debug)]
struct Selector(Vec<Requirement>);

/// What is asked of one key.
#[derive(Debug)]
struct Requirement {
    source: String,
    key: String,
    operator: Operator,
}

#[derive(Debug)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

impl Selector {
    fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &[String]) -> bool {
        let value =
            labels.iter().map(|label| Label::of(label)).find(|label| self.is_of(label)).map(|label| label.value);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            // Also when the key is absent.
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|wanted| wanted != value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(least) => number().is_some_and(|number| number > *least),
            Operator::LessThan(most) => number().is_some_and(|number| number < *most),
        }
    }

    fn is_of(&self, label: &Label<'_>) -> bool {
        match self.source.as_str() {
            "any" => label.key == self.key,
            // A range of addresses holds those within it.
            "cidr" if label.source == "cidr" => match (net(&self.key), net(label.key)) {
                (Some(wide), Some(narrow)) => wide.prefix_len() <= narrow.prefix_len() && wide.contains(&first(narrow)),
                _ => false,
            },
            source => label.source == source && label.key == self.key,
        }
    }
}

/// IPv6 addresses have hyphens for colons in labels.
fn net(key: &str) -> Option<IpNet> {
    go::prefix(&key.replace('-', ":")).ok()
}

fn first(net: IpNet) -> IpAddr {
    net.addr()
}

/// A label as a flow has it: `source:key=value`, `source:key`, `$reserved`.
#[derive(Debug, PartialEq, Eq)]
struct Label<'l> {
    source: &'l str,
    key: &'l str,
    value: &'l str,
}

impl<'l> Label<'l> {
    fn of(text: &'l str) -> Self {
        let (source, rest) = match text.strip_prefix('$') {
            Some(rest) => ("reserved", rest),
            None => text.split_once(':').unwrap_or(("", text)),
        };
        let (key, value) = match rest.split_once('=') {
            Some(("", key)) if source == "reserved" => (key, ""),
            Some((key, value)) => (key, value),
            None => (rest, ""),
        };
        let source = if source.is_empty() { "unspec" } else { source };
        Self { source, key, value }
    }
}

/// Whether the selector in `text` selects `labels`.
#[cfg(test)]
pub(super) fn selected(text: &str, labels: &[String]) -> bool {
    parser::selector(text).is_ok_and(|selector| selector.matches(labels))
}
