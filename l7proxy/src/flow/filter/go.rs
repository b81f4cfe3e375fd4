//! Texts as Go's standard library reads and shows them: what users of Hubble write in filters, and are told of it.
//!
//! Owns the words of errors of `net/netip` and `strconv`. Start at [`address`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// `strconv.Quote`.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    text.chars().for_each(|letter| escape(letter, '"', &mut quoted));
    quoted.push('"');
    quoted
}

/// `strconv.QuoteRune`.
pub(super) fn quote_letter(letter: char) -> String {
    let mut quoted = String::from("'");
    escape(letter, '\'', &mut quoted);
    quoted.push('\'');
    quoted
}

fn escape(letter: char, quote: char, out: &mut String) {
    let short = match letter {
        '\u{7}' => Some('a'),
        '\u{8}' => Some('b'),
        '\u{c}' => Some('f'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        '\u{b}' => Some('v'),
        '\\' => Some('\\'),
        letter if letter == quote => Some(quote),
        _ => None,
    };
    let code = u32::from(letter);
    match short {
        Some(short) => out.extend(['\\', short]),
        None if code < 0x20 || code == 0x7f => out.extend(format!("\\x{code:02x}").chars()),
        None if is_shown(letter) => out.push(letter),
        None if code > 0xffff => out.extend(format!("\\U{code:08x}").chars()),
        None => out.extend(format!("\\u{code:04x}").chars()),
    }
}

/// Rust's notion of what a terminal shows is nearly Go's.
fn is_shown(letter: char) -> bool {
    letter == ' ' || !(letter.is_whitespace() || letter.is_control() || letter.escape_debug().count() > 1)
}

/// `strconv.ParseUint(text, 10, 16)`.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let error = |reason: &str| format!("strconv.ParseUint: parsing {}: {reason}", quote(text));
    if text.is_empty() {
        return Err(error("invalid syntax"));
    }
    let mut port = 0_u16;
    for letter in text.bytes() {
        if !letter.is_ascii_digit() {
            return Err(error("invalid syntax"));
        }
        let next = port.checked_mul(10).and_then(|port| port.checked_add(u16::from(letter - b'0')));
        port = next.ok_or_else(|| error("value out of range"))?;
    }
    Ok(port)
}

/// `netip.ParsePrefix`.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let error = |reason: &str| format!("netip.ParsePrefix({}): {reason}", quote(text));
    let Some((address_text, bits)) = text.rsplit_once('/') else { return Err(error("no '/'")) };
    let address = address(address_text).map_err(|reason| error(&reason))?;
    let Some(address) = address else { return Err(error("IPv6 zones cannot be present in a prefix")) };
    let bad = || error(&format!("bad bits after slash: {}", quote(bits)));
    if bits.len() > 1 && !bits.starts_with(|first: char| ('1'..='9').contains(&first)) {
        return Err(bad());
    }
    let bits: i64 = bits.parse().map_err(|_| bad())?;
    let length = u8::try_from(bits).ok().and_then(|bits| IpNet::new(address, bits).ok());
    length.ok_or_else(|| error("prefix length out of range"))
}

/// `netip.ParseAddr`; `None`: it has a zone, which no flow's address has.
pub(super) fn address(text: &str) -> Result<Option<IpAddr>, String> {
    let error = |(reason, at): Problem<'_>| {
        let at = if at.is_empty() { String::new() } else { format!(" (at {})", quote(at)) };
        format!("ParseAddr({}): {reason}{at}", quote(text))
    };
    match text.bytes().find(|byte| b".:%".contains(byte)) {
        Some(b'.') => fields(text).map(|address| Some(IpAddr::V4(address))).map_err(error),
        Some(b':') => {
            let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
            if zone == Some("") {
                return Err(error(("zone must be a non-empty string", "")));
            }
            let address = groups(address).map_err(error)?;
            Ok(zone.is_none().then_some(IpAddr::V6(address)))
        }
        Some(_) => Err(error(("missing IPv6 address", ""))),
        None => Err(error(("unable to parse IP", ""))),
    }
}

/// What is wrong, and from where on.
type Problem<'t> = (&'static str, &'t str);

/// `10.0.0.1`.
fn fields(text: &str) -> Result<Ipv4Addr, Problem<'_>> {
    let at = |index: usize| text.get(index..).unwrap_or_default();
    let (mut octets, mut value, mut digits) = (Vec::with_capacity(4), 0_u16, 0);
    let mut before = b'.';
    for (index, letter) in text.bytes().enumerate() {
        match letter {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err(("IPv4 field has octet with leading zero", ""));
                }
                value = value * 10 + u16::from(letter - b'0');
                digits += 1;
                if value > 255 {
                    return Err(("IPv4 field has value >255", ""));
                }
            }
            b'.' if before == b'.' || index + 1 == text.len() => {
                return Err(("IPv4 field must have at least one digit", at(index)));
            }
            b'.' if octets.len() == 3 => return Err(("IPv4 address too long", "")),
            b'.' => {
                octets.push(value.to_le_bytes()[0]);
                (value, digits) = (0, 0);
            }
            _ => return Err(("unexpected character", at(index))),
        }
        before = letter;
    }
    octets.push(value.to_le_bytes()[0]);
    let octets: [u8; 4] = octets.try_into().map_err(|_| ("IPv4 address too short", ""))?;
    Ok(octets.into())
}

/// `fe80::1`, also with an IPv4 address at its end. `ellipsis`: how many groups stand before `::`.
fn groups(text: &str) -> Result<Ipv6Addr, Problem<'_>> {
    let (mut groups, mut ellipsis): (Vec<u16>, _) = (Vec::with_capacity(8), None);
    let mut rest = text;
    if let Some(after) = rest.strip_prefix("::") {
        if after.is_empty() {
            return Ok(Ipv6Addr::UNSPECIFIED);
        }
        (rest, ellipsis) = (after, Some(0));
    }
    while groups.len() < 8 {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let Some((group, after)) = rest.split_at_checked(digits) else { break };
        if digits > 4 {
            return Err(("each group must have 4 or less digits", rest));
        }
        if digits == 0 {
            return Err(("each colon-separated field must have at least one digit", rest));
        }
        if after.starts_with('.') {
            if ellipsis.is_none() && groups.len() != 6 {
                return Err(("embedded IPv4 address must replace the final 2 fields of the address", rest));
            }
            if groups.len() > 6 {
                return Err(("too many hex fields to fit an embedded IPv4 at the end of the address", rest));
            }
            let [a, b, c, d] = fields(rest)?.octets();
            groups.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
            rest = "";
            break;
        }
        groups.push(u16::from_str_radix(group, 16).unwrap_or_default());
        rest = after;
        if rest.is_empty() {
            break;
        }
        let Some(after) = rest.strip_prefix(':') else { return Err(("unexpected character, want colon", rest)) };
        if after.is_empty() {
            return Err(("colon must be followed by more characters", rest));
        }
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            if ellipsis.is_some() {
                return Err(("multiple :: in address", rest));
            }
            (rest, ellipsis) = (after, Some(groups.len()));
            if rest.is_empty() {
                break;
            }
        }
    }
    if rest.is_empty() { filled(groups, ellipsis) } else { Err(("trailing garbage after address", rest)) }
}

/// With the zeros that `::` stands for.
fn filled(mut groups: Vec<u16>, ellipsis: Option<usize>) -> Result<Ipv6Addr, Problem<'static>> {
    let missing = 8 - groups.len().min(8);
    match ellipsis {
        Some(_) if missing == 0 => return Err(("the :: must expand to at least one field of zeros", "")),
        Some(at) => drop(groups.splice(at..at, std::iter::repeat_n(0, missing))),
        None => {}
    }
    let groups: [u16; 8] = groups.try_into().map_err(|_| ("address string too short", ""))?;
    Ok(groups.into())
}
