//! Which bytes may stand where: one look into a table for each byte of a request.
//!
//! Owns the sets; what a byte that is in none of them means is said where it is read.

/// Of a token (RFC 9110 §5.6.2), such as a method.
pub(super) fn is_token(byte: u8) -> bool {
    is(TOKEN, byte)
}

/// Of the name of a host, or of an IPv4 address.
pub(super) fn is_name(byte: u8) -> bool {
    is(NAME, byte)
}

/// Of a path, and means itself whatever stands beside it.
pub(super) fn is_plain(byte: u8) -> bool {
    is(PLAIN, byte)
}

/// Of a query.
pub(super) fn is_query(byte: u8) -> bool {
    is(QUERY, byte)
}

const TOKEN: u8 = 1;
const NAME: u8 = 2;
const PLAIN: u8 = 4;
const QUERY: u8 = 8;

static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        #[expect(clippy::as_conversions, clippy::indexing_slicing, reason = "a byte is the place of one of 256")]
        {
            kinds[byte as usize] = kinds_of(byte);
        }
        byte += 1;
    }
    kinds
};

fn is(kind: u8, byte: u8) -> bool {
    KINDS.get(usize::from(byte)).is_some_and(|kinds| kinds & kind != 0)
}

const fn kinds_of(byte: u8) -> u8 {
    let is_word = byte.is_ascii_alphanumeric();
    let mut kinds = 0;
    if is_word || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~') {
        kinds |= TOKEN;
    }
    if is_word || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        kinds |= NAME;
    }
    if byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'`') {
        if byte != b'"' {
            kinds |= QUERY;
        }
        if !matches!(byte, b'?' | b'%' | b'/' | b'.' | b'\\' | b';') {
            kinds |= PLAIN;
        }
    }
    kinds
}
