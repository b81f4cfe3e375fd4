//! The path of a URL as Go's `url.ParseRequestURI` reads it.

use std::borrow::Cow;

use super::go;

/// Its path without percent signs; `None`: Go reads no URL in it.
pub(super) fn path(url: &str) -> Option<Cow<'_, str>> {
    if url.is_empty() || url.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    if url == "*" {
        return Some(Cow::Borrowed(url));
    }
    let (scheme, rest) = scheme(url)?;
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    if !rest.starts_with('/') {
        // With a scheme it is opaque and has no path.
        return (!scheme.is_empty()).then_some(Cow::Borrowed(""));
    }
    let Some(authority) = rest.strip_prefix("//").filter(|_| !scheme.is_empty()) else { return decoded(rest) };
    let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    (is_host(host, is_web) && user.is_none_or(is_user)).then(|| decoded(path)).flatten()
}

/// The scheme, and what follows it. `None`: there should be one.
fn scheme(url: &str) -> Option<(&str, &str)> {
    let end = url.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)));
    let begins = url.starts_with(|first: char| first.is_ascii_alphabetic());
    match end.and_then(|end| url.split_at_checked(end)) {
        Some((scheme, rest)) if rest.starts_with(':') && (begins || scheme.is_empty()) => {
            if begins {
                Some((scheme, rest.get(1..)?))
            } else {
                None
            }
        }
        _ => Some(("", url)),
    }
}

/// Percent signs with two digits behind each.
fn is_escaped(text: &str, may_be: impl Fn(u8) -> bool) -> bool {
    text.match_indices('%').all(|(at, _)| escaped(text.as_bytes(), at).is_some_and(&may_be))
}

/// The byte that the percent sign there stands for.
fn escaped(text: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

fn is_user(user: &str) -> bool {
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    user.bytes().all(may_be) && is_escaped(user, |_| true)
}

/// What may stand in a host without a percent sign. RFC 3986's letters, and some that Go lets pass.
fn is_host_letter(byte: u8) -> bool {
    !byte.is_ascii() || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn is_host_text(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'%' || is_host_letter(byte))
        && is_escaped(text, |byte| !byte.is_ascii() || byte == b'%')
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_host(host: &str, is_web: bool) -> bool {
    match host.rfind('[') {
        Some(0) => {
            let Some((address, port)) = host.rsplit_once(']') else { return false };
            is_port(port) && address.get(1..).is_some_and(is_literal)
        }
        Some(_) => false,
        None => {
            let colon = if is_web { host.find(':') } else { host.rfind(':') };
            is_port(colon.and_then(|colon| host.get(colon..)).unwrap_or_default()) && is_host_text(host)
        }
    }
}

/// An IPv6 address, with a zone after `%25` if it has one.
fn is_literal(text: &str) -> bool {
    let (address, zone) = text.find("%25").and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""));
    let is_zone = zone.bytes().all(|byte| byte == b'%' || is_host_letter(byte))
        && is_escaped(zone, |byte| byte == b'%' || byte == b' ' || byte.is_ascii() && is_host_letter(byte));
    let Some(address) = decoded(address).filter(|_| is_host_text(address) && is_zone) else { return false };
    let Some(zone) = decoded(zone) else { return false };
    match go::address(&format!("{address}{zone}")) {
        Ok(Some(address)) => address.is_ipv6(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Bytes that are no text become U+FFFD one by one, as Go's regular expressions see them.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%' {
            decoded.push(escaped(bytes, at)?);
            at += 3;
        } else {
            decoded.push(*byte);
            at += 1;
        }
    }
    let mut readable = String::with_capacity(decoded.len());
    for chunk in decoded.utf8_chunks() {
        readable.push_str(chunk.valid());
        readable.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Some(Cow::Owned(readable))
}
