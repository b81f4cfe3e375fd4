//! `ports` and `notPorts`: a number, a range in quotes, or a name.
//!
//! Must never take a misspelt number for a name. Start at [`ports`].

use super::{
    read::Reader,
    value::{self, digits},
    yaml::{Node, Value},
};
use crate::calico::policy::Ports;

/// Entries of `ports`.
const MAX_PORTS: usize = 50;
/// Letters of a port's name.
const MAX_NAME: usize = 128;

/// The list under `key`; `None` when there is none.
pub(super) fn ports(node: &Node, path: &str, key: &str, reader: &mut Reader<'_>) -> Option<Vec<Ports>> {
    let list = value::some(node, path, key, MAX_PORTS, reader)?;
    let entry = |(index, node): (usize, &Node)| entry(node, &format!("{path}.{key}[{index}]"), reader);
    Some(list.iter().enumerate().filter_map(entry).collect())
}

fn entry(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Ports> {
    let Value::Scalar { text, plain } = &node.value else {
        reader.mistyped(node, path, "a port, a range like \"80:90\" or a port's name");
        return None;
    };
    match port(text, *plain) {
        Ok(port) => Some(port),
        Err(reason) => {
            reader.error(node.line, path, reason);
            None
        }
    }
}

fn port(text: &str, plain: bool) -> Result<Ports, String> {
    let number = |text: &str| digits(text).and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    if let Some(number) = number(text) {
        return Ok(Ports::Range(number, number));
    }
    if let Some((first, last)) = text.split_once(':') {
        return match (number(first), number(last)) {
            // YAML 1.1 takes 22:23 for a number to the base of sixty.
            (Some(_), Some(_)) if plain => Err(format!("write the range in quotes: \"{text}\"")),
            (Some(first), Some(last)) if first <= last => Ok(Ports::Range(first, last)),
            (Some(first), Some(last)) => Err(format!("the range ends before it begins; write \"{last}:{first}\"")),
            _ => Err(format!("{text:?} is no range; write for example \"8000:8080\", from 1 to 65535")),
        };
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Err(format!("{text} is no port; write 1 to 65535"));
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(named) {
        return Err(format!(
            "{text:?} is neither a port nor a port's name; a name has at most {MAX_NAME} letters, digits, '_', '.', '-'"
        ));
    }
    let digits_and_marks = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-');
    if text.bytes().all(digits_and_marks) {
        return Err(format!("{text:?} is no port; write a range as \"80:90\", a port as 80"));
    }
    Ok(Ports::Named(text.to_owned()))
}
