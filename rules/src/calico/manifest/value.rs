//! Single values that only Calico's kinds have: numbers without quotes, flags, expressions.
//!
//! Must never take a text for a number or the other way round where it would make a difference. Start at [`selector`].

use std::collections::BTreeMap;

use super::{
    read::{Reader, join, nearest},
    yaml::{Node, Value},
};
use crate::calico::{
    party::asks_account_labels,
    policy::{ACCOUNT_PREFIX, IpProtocol, Order},
    selector::Selector,
};

/// Letters that the expressions of a rule may have.
pub(super) const MAX_RULE_SELECTOR: usize = 1024;

/// Where `global()` may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// Alone.
    Allowed,
    Refused,
}

/// An expression; `None` when it is absent, empty or wrong.
pub(super) fn selector(
    node: &Node,
    path: &str,
    key: &str,
    global: Global,
    reader: &mut Reader<'_>,
) -> Option<Selector> {
    let text = reader.text(node, path, key).filter(|text| !text.is_empty())?;
    let line = node.line_of(key);
    let field = join(path, key);
    let selector = match Selector::parse(text) {
        Ok(selector) => selector,
        Err(error) => {
            reader.error(line, &field, error.to_string());
            return None;
        }
    };
    if selector.names_global() && (global == Global::Refused || !selector.is_global()) {
        let reason = "global() is only for the namespaceSelector of a source or destination, and only alone; write \
                      another expression";
        reader.error(line, &field, reason);
        return None;
    }
    of_known_accounts(selector, line, &field, reader)
}

/// An expression that asks for labels of service accounts, whose keys it is to find behind [`ACCOUNT_PREFIX`].
pub(super) fn of_accounts(
    selector: Selector,
    node: &Node,
    path: &str,
    key: &str,
    reader: &mut Reader<'_>,
) -> Option<Selector> {
    of_known_accounts(selector.prefixed(ACCOUNT_PREFIX), node.line_of(key), &join(path, key), reader)
}

/// Nobody tells the labels of service accounts here: what asks for them cannot be answered.
fn of_known_accounts(selector: Selector, line: usize, field: &str, reader: &mut Reader<'_>) -> Option<Selector> {
    if asks_account_labels(&selector) {
        let reason = "asks for labels of service accounts, which are not known here, only their names; write \
                      serviceAccounts.names, or projectcalico.org/serviceaccount == \"NAME\" in a selector";
        reader.error(line, field, reason);
        return None;
    }
    Some(selector)
}

/// An expression of a rule: of bounded length, and blank only by mistake.
pub(super) fn rule_selector(node: &Node, path: &str, key: &str, reader: &mut Reader<'_>) -> Option<Selector> {
    let text = node.present(key).and_then(Node::text).unwrap_or_default();
    let line = node.line_of(key);
    let letters = text.chars().count();
    if letters > MAX_RULE_SELECTOR {
        let reason = format!("has {letters} letters, the most in a rule is {MAX_RULE_SELECTOR}; write several rules");
        reader.error(line, &join(path, key), reason);
        return None;
    }
    if !text.is_empty() && text.trim_matches([' ', '\t']).is_empty() {
        reader.error(line, &join(path, key), "is blank; write all() for every known endpoint, or remove it");
        return None;
    }
    let global = if key == "namespaceSelector" { Global::Allowed } else { Global::Refused };
    selector(node, path, key, global, reader)
}

/// `order`.
pub(super) fn order(spec: &Node, path: &str, reader: &mut Reader<'_>) -> Order {
    let Some(node) = spec.present("order") else { return Order(None) };
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && starts_as_number(text));
    match &node.value {
        // Both zeros are one place.
        Value::Scalar { text, plain: true } if number(text).is_some() => Order(number(text).map(|number| number + 0.0)),
        Value::Scalar { text, plain } => {
            let reason = if *plain || number(text).is_none() {
                format!("{text:?} is not a number; write for example 100 or 10.5")
            } else {
                format!("is a text; write {text} without quotes")
            };
            reader.error(node.line, &join(path, "order"), reason);
            Order(None)
        }
        Value::Null | Value::List(_) | Value::Map(_) | Value::Fault(_) => {
            reader.mistyped(node, &join(path, "order"), "a number");
            Order(None)
        }
    }
}

/// Not `inf`, `nan` or the like.
fn starts_as_number(text: &str) -> bool {
    text.trim_start_matches(['-', '+']).starts_with(|first: char| first.is_ascii_digit() || first == '.')
}

/// A whole number without quotes, at most `most`. `None` when it is absent or wrong.
pub(super) fn whole(node: &Node, path: &str, key: &str, most: u8, reader: &mut Reader<'_>) -> Option<u8> {
    let value = node.present(key)?;
    let path = join(path, key);
    let reason = match &value.value {
        Value::Scalar { text, plain: true } => match digits(text) {
            Some(number) if number <= u32::from(most) => return u8::try_from(number).ok(),
            _ => format!("{text:?} is not known; write a number from 0 to {most}"),
        },
        Value::Scalar { text, plain: false } => format!("is a text; write {text} without quotes"),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Fault(_) => {
            reader.mistyped(value, &path, "a number");
            return None;
        }
    };
    reader.error(value.line, &path, reason);
    None
}

/// Decimal digits without a needless zero: others read `010` as an octal number.
pub(super) fn digits(text: &str) -> Option<u32> {
    let canonical = text == "0" || text.starts_with(|first: char| ('1'..='9').contains(&first));
    if canonical && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A protocol's name, or its number from 1 to 255.
pub(super) fn protocol(node: &Node, path: &str, key: &str, reader: &mut Reader<'_>) -> Option<IpProtocol> {
    let value = node.present(key)?;
    let path = join(path, key);
    let Value::Scalar { text, .. } = &value.value else {
        reader.mistyped(value, &path, "a protocol's name or number");
        return None;
    };
    if let Some((_, known)) = IpProtocol::NAMED.iter().find(|(name, _)| name == text) {
        return Some(*known);
    }
    if let Some(number) = digits(text).and_then(|number| u8::try_from(number).ok()).filter(|number| *number > 0) {
        return Some(IpProtocol(number));
    }
    let names = || IpProtocol::NAMED.iter().map(|(name, _)| *name);
    let reason = if let Some(name) = nearest(text, names()) {
        format!("{text:?} is no protocol; did you mean {name}?")
    } else {
        let names: Vec<&str> = names().collect();
        format!("{text:?} is no protocol; write {} or a number from 1 to 255", names.join(", "))
    };
    reader.error(value.line, &path, reason);
    None
}

/// A switch that may only be off: `reason` says why.
pub(super) fn off(node: &Node, path: &str, key: &str, reason: &str, reader: &mut Reader<'_>) {
    let Some(value) = node.present(key) else { return };
    match &value.value {
        Value::Scalar { text, plain: true } if text == "false" => {}
        Value::Scalar { text, plain: true } if text == "true" => reader.error(value.line, &join(path, key), reason),
        Value::Scalar { text, .. } => {
            reader.error(value.line, &join(path, key), format!("{text:?} is neither true nor false; write false"));
        }
        Value::Null | Value::List(_) | Value::Map(_) | Value::Fault(_) => {
            reader.mistyped(value, &join(path, key), "true or false");
        }
    }
}

/// A map from texts to texts.
pub(super) fn texts(node: &Node, path: &str, reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Value::Map(entries) = &node.value else {
        reader.mistyped(node, path, "a map");
        return BTreeMap::new();
    };
    let mut read = BTreeMap::new();
    for (key, value) in entries {
        // Null is the empty value, as for the API server.
        let text = if value.is_null() { Some("") } else { reader.scalar(value, &join(path, &key.text)) };
        read.extend(text.map(|text| (key.text.clone(), text.to_owned())));
    }
    read
}

/// A list that is absent or has from one to `most` entries: an empty one would ask for nothing.
pub(super) fn some<'n>(
    node: &'n Node,
    path: &str,
    key: &str,
    most: usize,
    reader: &mut Reader<'_>,
) -> Option<&'n [Node]> {
    let list = reader.list(node, path, key)?;
    let line = node.line_of(key);
    if list.is_empty() {
        reader.error(line, &join(path, key), "is empty, which asks for nothing; remove it");
        return None;
    }
    if list.len() > most {
        let reason = format!("{} entries, the most is {most}; write several rules", list.len());
        reader.error(line, &join(path, key), reason);
    }
    Some(list)
}
