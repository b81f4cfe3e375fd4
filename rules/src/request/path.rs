//! The normal form of a path (RFC 3986 §6.2.2, and what has no single meaning is refused).
//!
//! Must never give a form that has another normal form itself, nor copy a path that is normal already. Start at
//! [`normalize`].

use std::borrow::Cow;

use super::{Malformed, PathOptions, bytes};

/// `target` begins with `/`; the query stays as it is.
pub(super) fn normalize(target: &str, options: PathOptions) -> Result<Cow<'_, str>, Malformed> {
    let (end, normal) = path_of(target, options)?;
    let (path, query) = target.split_at_checked(end).ok_or(Malformed::Byte)?;
    if !query.bytes().all(bytes::is_query) {
        return Err(Malformed::Byte);
    }
    if normal {
        return Ok(Cow::Borrowed(target));
    }
    let decoded = decode(path, options)?;
    // Looked for in what was decoded: "%25%32%65" is "%252e" by now.
    if decoded.split("%25").skip(1).any(|after| is_double(after, options)) {
        return Err(Malformed::DoubleEncoding);
    }
    let mut normal = remove_dots(&decoded, options)?;
    normal.push_str(query);
    // An escape may have stayed as it was: then nothing changed after all.
    Ok(if normal == target { Cow::Borrowed(target) } else { Cow::Owned(normal) })
}

/// Where the path ends, and whether it is normal: `false` if there is something to decode, merge or remove. One pass, which
/// also refuses what is never allowed raw.
fn path_of(target: &str, options: PathOptions) -> Result<(usize, bool), Malformed> {
    let mut normal = true;
    let mut before = b'a';
    for (at, byte) in target.bytes().enumerate() {
        if !bytes::is_plain(byte) {
            match byte {
                b'?' => return Ok((at, normal)),
                b'%' => normal = false,
                b'/' | b'.' => normal &= before != b'/',
                b'\\' => return Err(Malformed::Backslash),
                b';' if options.allow_path_parameters => {}
                b';' => return Err(Malformed::PathParameter),
                _ => return Err(Malformed::Byte),
            }
        }
        before = byte;
    }
    Ok((target.len(), normal))
}

/// Decodes what is unreserved, refuses what is ambiguous, leaves other escapes as they were sent. An encoded blank stays:
/// it is common in real traffic and means one thing.
fn decode(path: &str, options: PathOptions) -> Result<String, Malformed> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (plain, escape) = rest.split_at_checked(at).ok_or(Malformed::Escape)?;
        out.push_str(plain);
        let value = escaped(escape)?;
        let (text, after) = escape.split_at_checked(3).ok_or(Malformed::Escape)?;
        rest = after;
        match value {
            0 => return Err(Malformed::EncodedNul),
            1..0x20 | 0x7f if !options.allow_encoded_control => return Err(Malformed::EncodedControl),
            b'/' if !options.allow_encoded_slash => return Err(Malformed::EncodedSlash),
            b'\\' if !options.allow_encoded_backslash => return Err(Malformed::Backslash),
            b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
            value if value.is_ascii_alphanumeric() => out.push(char::from(value)),
            value if value.is_ascii() || options.allow_non_utf8 => out.push_str(text),
            _ => {
                let length = utf8_length(escape)?;
                let (sequence, after) = escape.split_at_checked(length).ok_or(Malformed::Utf8)?;
                out.push_str(sequence);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The byte that `%XX` at the beginning of `text` stands for.
fn escaped(text: &str) -> Result<u8, Malformed> {
    let digits = text.get(1..3).ok_or(Malformed::Escape)?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Malformed::Escape);
    }
    u8::from_str_radix(digits, 16).map_err(|_| Malformed::Escape)
}

/// Whether what follows `%25` makes it an encoded dot, slash, backslash or NUL, however often encoded; a NUL also where the
/// others are allowed.
fn is_double(after: &str, options: PathOptions) -> bool {
    let after = after.trim_start_matches("25");
    let digits = after.get(..2).map(str::to_ascii_lowercase);
    digits.is_some_and(|digits| match digits.as_str() {
        "00" => true,
        "2e" | "2f" | "5c" => !options.allow_double_encoding,
        _ => false,
    })
}

/// Length of the escapes at the beginning of `text` that are one character outside ASCII. Overlong forms, surrogates and
/// cut sequences are no character.
fn utf8_length(text: &str) -> Result<usize, Malformed> {
    let mut bytes = Vec::with_capacity(4);
    let mut rest = text;
    while bytes.len() < 4 && rest.starts_with('%') {
        bytes.push(escaped(rest)?);
        match std::str::from_utf8(&bytes) {
            Ok(_) => return Ok(bytes.len().saturating_mul(3)),
            Err(error) if error.error_len().is_some() => return Err(Malformed::Utf8),
            Err(_) => {}
        }
        rest = rest.get(3..).unwrap_or_default();
    }
    Err(Malformed::Utf8)
}

/// `..;x`: one step up for what cuts segments at `;`.
fn is_dots_with_parameters(segment: &str) -> bool {
    segment.split_once(';').is_some_and(|(name, _)| matches!(name, "." | ".."))
}

/// RFC 3986 §5.2.4, but `..` above the root is refused, and `//` merged if asked.
fn remove_dots(path: &str, options: PathOptions) -> Result<String, Malformed> {
    let inside = path.strip_prefix('/').ok_or(Malformed::Target)?;
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = inside.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." && kept.pop().is_none() {
                    return Err(Malformed::AboveRoot);
                }
                if last {
                    kept.push("");
                }
            }
            segment if is_dots_with_parameters(segment) => return Err(Malformed::PathParameter),
            "" if options.merge_slashes && !last => {}
            segment => kept.push(segment),
        }
    }
    Ok(format!("/{}", kept.join("/")))
}
