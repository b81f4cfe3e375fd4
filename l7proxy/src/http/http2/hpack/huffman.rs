//! Huffman's code of RFC 7541 §5.2 and appendix B, in one direction: what we send is not packed with it.
//!
//! Start at [`decode`].

/// Bits of each symbol's code; the last symbol is the end, which no text has. The code is canonical: of the symbols in the
/// order of their lengths, each has the code of the one before, plus one.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// Codes of so many bits are looked up at once.
const SHORT: u32 = 8;
/// Bits of the longest code.
const LONGEST: usize = 30;

struct Codes {
    /// For each byte that may come next: the symbol that it begins with and its bits; none, if it is longer.
    short: [(u8, u8); 1 << SHORT],
    /// Symbols in the order of their codes.
    sorted: [u16; 257],
    /// Of each length: the first code, and where it stands in `sorted`.
    first: [(u32, usize); LONGEST + 1],
    /// Of each length: how many there are.
    count: [u32; LONGEST + 1],
}

static CODES: Codes = codes();

#[expect(clippy::indexing_slicing, clippy::as_conversions, reason = "done by the compiler, which would say so")]
#[expect(clippy::cast_possible_truncation, reason = "numbers below 257")]
const fn codes() -> Codes {
    let mut codes =
        Codes { short: [(0, 0); 1 << SHORT], sorted: [0; 257], first: [(0, 0); LONGEST + 1], count: [0; LONGEST + 1] };
    let (mut code, mut at, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        codes.first[length] = (code, at);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                codes.sorted[at] = symbol as u16;
                codes.count[length] += 1;
                if length <= SHORT as usize {
                    let rest = SHORT as usize - length;
                    let mut tail = 0;
                    while tail < 1 << rest {
                        codes.short[((code as usize) << rest) + tail] = (symbol as u8, length as u8);
                        tail += 1;
                    }
                }
                (code, at) = (code + 1, at + 1);
            }
            symbol += 1;
        }
        (code, length) = (code << 1, length + 1);
    }
    codes
}

/// Appends what `packed` means; `None`: it means nothing.
pub(super) fn decode(packed: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let (mut bits, mut length) = (0_u64, 0_u32);
    let mut bytes = packed.iter();
    loop {
        while length <= 56 {
            let Some(byte) = bytes.next() else { break };
            bits |= u64::from(*byte) << (56 - length);
            length += 8;
        }
        let next = usize::try_from(bits >> (64 - SHORT)).ok()?;
        let (symbol, taken) = match *CODES.short.get(next)? {
            (_, 0) => {
                // Fewer bits than the longest codes have, all of them ones, are what fills the last byte.
                if length < SHORT && is_filling(bits, length) {
                    return Some(());
                }
                long(bits)?
            }
            (symbol, taken) => (symbol, taken.into()),
        };
        if taken > length {
            return (length < SHORT && is_filling(bits, length)).then_some(());
        }
        text.push(symbol);
        bits <<= taken;
        length -= taken;
    }
}

fn is_filling(bits: u64, length: u32) -> bool {
    length == 0 || bits >> (64 - length) == (1 << length) - 1
}

/// A code of more than [`SHORT`] bits.
fn long(bits: u64) -> Option<(u8, u32)> {
    for length in SHORT + 1..=30 {
        let index = usize::try_from(length).ok()?;
        let code = u32::try_from(bits >> (64 - length)).ok()?;
        let (first, at) = *CODES.first.get(index)?;
        let offset = code.checked_sub(first)?;
        if offset < *CODES.count.get(index)? {
            let symbol = CODES.sorted.get(at + usize::try_from(offset).ok()?)?;
            return Some((u8::try_from(*symbol).ok()?, length));
        }
    }
    None
}

/// For tests: packs `text`.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut packed, mut bits, mut length) = (Vec::new(), 0_u64, 0);
    for byte in text {
        let size = u32::from(LENGTHS[usize::from(*byte)]);
        let (first, at) = CODES.first[usize::from(LENGTHS[usize::from(*byte)])];
        let place = CODES.sorted.iter().position(|symbol| *symbol == u16::from(*byte)).unwrap();
        bits |= u64::from(first + u32::try_from(place - at).unwrap()) << (64 - length - size);
        length += size;
        while length >= 8 {
            packed.push(bits.to_be_bytes()[0]);
            bits <<= 8;
            length -= 8;
        }
    }
    if length > 0 {
        packed.push(bits.to_be_bytes()[0] | (0xff >> length));
    }
    packed
}
