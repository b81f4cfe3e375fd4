//! A pattern as the positions of its bytes (Glushkov's automaton), one bit each: asked with nothing but a word of memory.
//!
//! Most patterns are small enough. An engine of the library would need tables of some KiB for each, or memory for each
//! thread that asks, behind a lock. A value costs what it is long times the positions that it stands on, mostly one or two.
//! Must never be made of what it cannot express: look-around, and more positions than there are bits. Start at
//! [`Positions::matches`].

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// One bit for each position.
type Set = u64;

#[derive(Debug)]
pub(super) struct Positions {
    /// Every value begins with these bytes, which have no positions.
    prefix: Box<[u8]>,
    /// Whether it may end there.
    is_optional: bool,
    /// Where the next byte may stand.
    first: Set,
    /// Where the last byte may stand.
    last: Set,
    /// Those that are followed by the next one and by no other, as in a word.
    in_word: Set,
    /// For each position, where the byte after it may stand.
    after: Box<[Set]>,
    /// Bytes that may stand at the same positions are a class.
    class_of: [u8; 256],
    /// For each class, where its bytes may stand.
    of_class: Box<[Set]>,
}

impl Positions {
    /// `None`: it needs another engine.
    pub(super) fn new(body: &Hir) -> Option<Self> {
        let parts =
            if let HirKind::Concat(parts) = body.kind() { parts.as_slice() } else { std::slice::from_ref(body) };
        let (prefix, rest) = match parts.split_first() {
            Some((first, rest)) => literal(first).map_or((&[][..], parts), |prefix| (prefix, rest)),
            None => (&[][..], parts),
        };
        let mut builder = Builder { after: Vec::new(), of_byte: [0; 256] };
        let Part { first, last, is_optional } = builder.concat(rest)?;
        let Builder { after, of_byte } = builder;
        let bits = || std::iter::successors(Some(1), |bit| Some(bit << 1));
        let in_word = after.iter().zip(bits()).filter(|(after, bit)| **after == bit << 1);
        let in_word = in_word.fold(0, |all, (_, bit)| all | bit);
        let mut of_class = Vec::new();
        let class_of = of_byte.map(|positions| place(&mut of_class, positions));
        let (after, of_class) = (after.into(), of_class.into());
        Some(Self { prefix: prefix.into(), is_optional, first, last, in_word, after, class_of, of_class })
    }

    /// Whether all of `value` matches.
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        let Some(rest) = value.strip_prefix(&*self.prefix) else { return false };
        if rest.is_empty() {
            return self.is_optional;
        }
        let (mut at, mut next) = (0, self.first);
        for byte in rest {
            at = next & self.of(*byte);
            if at == 0 {
                return false;
            }
            next = (at & self.in_word) << 1 | self.after(at & !self.in_word);
        }
        at & self.last != 0
    }

    fn of(&self, byte: u8) -> Set {
        let class = self.class_of.get(usize::from(byte)).copied().unwrap_or_default();
        self.of_class.get(usize::from(class)).copied().unwrap_or_default()
    }

    fn after(&self, mut positions: Set) -> Set {
        let mut after = 0;
        while let Some((index, bit)) = lowest(positions) {
            after |= self.after.get(index).copied().unwrap_or_default();
            positions ^= bit;
        }
        after
    }
}

fn literal(hir: &Hir) -> Option<&[u8]> {
    if let HirKind::Literal(literal) = hir.kind() { Some(&literal.0) } else { None }
}

/// The first of `positions`, by its place and as its bit.
fn lowest(positions: Set) -> Option<(usize, Set)> {
    let index = usize::try_from(positions.trailing_zeros()).ok()?;
    if positions == 0 { None } else { Some((index, positions & positions.wrapping_neg())) }
}

/// Where `value` is in `list`, to which it is added if need be.
fn place(list: &mut Vec<Set>, value: Set) -> u8 {
    let place = list.iter().position(|known| *known == value).unwrap_or(list.len());
    if place == list.len() {
        list.push(value);
    }
    // There are no more of them than bytes.
    u8::try_from(place).unwrap_or(u8::MAX)
}

/// What of a pattern was read so far.
struct Builder {
    /// For each position, where the byte after it may stand.
    after: Vec<Set>,
    /// For each byte, where it may stand.
    of_byte: [Set; 256],
}

/// Where the first and the last byte of a part may stand, and whether it may have none.
struct Part {
    first: Set,
    last: Set,
    is_optional: bool,
}

impl Part {
    const EMPTY: Self = Self { first: 0, last: 0, is_optional: true };
}

impl Builder {
    fn part(&mut self, hir: &Hir) -> Option<Part> {
        match hir.kind() {
            HirKind::Empty => Some(Part::EMPTY),
            HirKind::Literal(literal) => {
                self.then(literal.0.iter(), |builder, byte| builder.position([(*byte, *byte)]))
            }
            HirKind::Class(Class::Bytes(class)) => {
                self.position(class.ranges().iter().map(|range| (range.start(), range.end())))
            }
            HirKind::Class(Class::Unicode(_)) | HirKind::Look(_) => None,
            HirKind::Repetition(repetition) => self.repetition(repetition),
            HirKind::Capture(capture) => self.part(&capture.sub),
            HirKind::Concat(parts) => self.concat(parts),
            HirKind::Alternation(parts) => {
                let mut all = Part { first: 0, last: 0, is_optional: false };
                for part in parts {
                    let Part { first, last, is_optional } = self.part(part)?;
                    all.first |= first;
                    all.last |= last;
                    all.is_optional |= is_optional;
                }
                Some(all)
            }
        }
    }

    fn concat(&mut self, parts: &[Hir]) -> Option<Part> {
        self.then(parts.iter(), Self::part)
    }

    /// One after the other.
    fn then<T>(
        &mut self,
        parts: impl Iterator<Item = T>,
        mut read: impl FnMut(&mut Self, T) -> Option<Part>,
    ) -> Option<Part> {
        let mut all = Part::EMPTY;
        for part in parts {
            let part = read(self, part)?;
            self.follow(all.last, part.first);
            all = Part {
                first: if all.is_optional { all.first | part.first } else { all.first },
                last: if part.is_optional { all.last | part.last } else { part.last },
                is_optional: all.is_optional && part.is_optional,
            };
        }
        Some(all)
    }

    /// As often as it must be, and then as often as it may be. Only a pattern whose automaton is not too large comes here:
    /// there are not too many repetitions of nothing.
    fn repetition(&mut self, repetition: &Repetition) -> Option<Part> {
        let Repetition { min, max, ref sub, .. } = *repetition;
        // Without a maximum, the last one is a loop.
        let times = max.unwrap_or(min.max(1));
        self.then(0..times, |builder, time| {
            let mut part = builder.part(sub)?;
            if max.is_none() && time.saturating_add(1) == times {
                builder.follow(part.last, part.first);
            }
            part.is_optional |= time >= min;
            Some(part)
        })
    }

    /// A new position for a byte of `ranges`. `None`: there are too many.
    fn position(&mut self, ranges: impl IntoIterator<Item = (u8, u8)>) -> Option<Part> {
        let bit = Set::checked_shl(1, self.after.len().try_into().ok()?)?;
        self.after.push(0);
        for byte in ranges.into_iter().flat_map(|(from, to)| from..=to) {
            if let Some(positions) = self.of_byte.get_mut(usize::from(byte)) {
                *positions |= bit;
            }
        }
        Some(Part { first: bit, last: bit, is_optional: false })
    }

    /// A byte at one of `next` may come after one at each of `positions`.
    fn follow(&mut self, mut positions: Set, next: Set) {
        while let Some((index, bit)) = lowest(positions) {
            if let Some(after) = self.after.get_mut(index) {
                *after |= next;
            }
            positions ^= bit;
        }
    }
}
