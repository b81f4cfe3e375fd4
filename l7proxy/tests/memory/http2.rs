//! What a client of HTTP/2 can make of 10 KiB: its table makes long fields out of single bytes.

use crate::{
    SENT, Stream,
    frames::{CONTINUATION, DATA, END_HEADERS, HEADERS, PING, RST_STREAM, SETTINGS, WHOLE, field, frame, pseudo},
};

/// Into the table, as its first entry. It has room for one such value.
fn keep(name: &str, length: usize) -> Vec<u8> {
    let mut kept = field(name, &"a".repeat(length));
    kept[0] = 0x40;
    kept
}

/// The table's first entry.
const KEPT: u8 = 0x80 | 0x3e;

/// `begin`, then as many streams as there is room for: each with `block`.
fn streams(begin: &[u8], flags: u8, block: &[u8]) -> Vec<u8> {
    let mut all = hello();
    all.extend(begin);
    for at in 1.. {
        let next = frame(HEADERS, flags, 2 * at + 1, block);
        if all.len() + next.len() > SENT {
            break;
        }
        all.extend(next);
    }
    all
}

fn hello() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The same frame again and again.
fn frames(begin: &[u8], again: &[u8]) -> Vec<u8> {
    let mut all = [&hello()[..], begin].concat();
    let times = (SENT - all.len()) / again.len();
    all.extend(again.repeat(times));
    all
}

pub(crate) fn all() -> Vec<Stream> {
    let first = |block: &[u8]| frame(HEADERS, WHOLE, 1, block);
    let open = frame(HEADERS, END_HEADERS, 1, &pseudo("POST", "/any"));
    // GET and http stand in the table that everybody has; the authority is short.
    let short = [&[0x82, 0x86][..], &field(":authority", "h")].concat();
    let denied = [&short[..], &field(":path", "/write")].concat();
    let fields = |number| [&short[..], &field(":path", "/any"), &vec![KEPT; number]].concat();
    let path = [&short[..], &[KEPT]].concat();
    let long_path = {
        let mut kept = field(":path", &format!("/{}", "a".repeat(3900)));
        kept[0] = 0x40;
        [&short[..], &kept].concat()
    };
    let kept = first(&[&denied[..], &keep("x", 3900)].concat());
    let rows = [
        ("denied streams", streams(&[], WHOLE, &denied)),
        ("open streams", streams(&[], END_HEADERS, &[&short[..], &field(":path", "/any")].concat())),
        ("a field of the table", streams(&kept, WHOLE, &fields(1))),
        ("some fields of the table", streams(&kept, WHOLE, &fields(4))),
        ("all fields that fit", streams(&kept, WHOLE, &fields(14))),
        ("paths of the table", streams(&first(&long_path), WHOLE, &path)),
        ("pings", frames(&[], &frame(PING, 0, 0, &[7; 8]))),
        ("settings", frames(&[], &frame(SETTINGS, 0, 0, &[]))),
        ("resets", frames(&open, &frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]))),
        ("a body in bytes", frames(&open, &frame(DATA, 0, 1, b"x"))),
        ("a body of nothing", frames(&open, &frame(DATA, 0, 1, b""))),
        ("a head without end", frames(&frame(HEADERS, 0, 1, &denied), &frame(CONTINUATION, 0, 1, &field("x", "y")))),
    ];
    rows.into_iter().map(|(name, bytes)| (format!("HTTP/2: {name}"), bytes)).collect()
}
