//! Header fields of a request or an answer, as records show them.
//!
//! Owns their form: names as Go writes them (`User-Agent`), sorted by name, values cut and redacted. Never shows a value that is
//! to be redacted: all that is kept comes from [`Redaction::show`]. Start at [`Headers::iter`].

use std::{fmt, iter, ops::Deref, sync::Arc};

/// Bytes of all fields of a message that are kept; what comes after them is left out.
const MAX_BYTES: usize = 8 << 10;
/// Bytes of a value that are kept.
const MAX_VALUE: usize = 1 << 10;
/// What stands for a value that is not to be seen, as in Hubble.
pub(super) const REDACTED: &str = "HUBBLE_REDACTED";

/// A field's name and value.
pub(super) type Field<'a> = (&'a [u8], &'a [u8]);

/// Fields as they came, a line each: `name: value`. Not to be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawHeaders(Option<Arc<Vec<u8>>>);

impl RawHeaders {
    pub(super) fn new(lines: &[u8]) -> Self {
        Self(Some(lines).filter(|lines| !lines.is_empty()).map(|lines| Arc::new(lines.to_vec())))
    }

    /// Adds those of `other` behind them.
    pub fn append(&mut self, other: &Self) {
        if !other.is_empty() {
            *self = Self::new(&[&**self, &**other].concat());
        }
    }

    /// The first value of a field, in any case.
    pub(super) fn field(&self, wanted: &str) -> Option<&[u8]> {
        self.fields().find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())).map(|(_, value)| value)
    }

    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let lines = self.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        lines.filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = line.split_at_checked(colon)?;
            Some((name, value.get(1..).unwrap_or_default().trim_ascii()))
        })
    }
}

impl Deref for RawHeaders {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |lines| lines.as_slice())
    }
}

impl fmt::Debug for RawHeaders {
    /// They may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of fields", self.len())
    }
}

/// Fields that may be shown, sorted by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Box<str>);

impl Headers {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        iter::from_fn(move || {
            let line = rest.get(..memchr::memchr(b'\n', rest.as_bytes())?)?;
            rest = rest.get(line.len() + 1..)?;
            let colon = memchr::memchr(b':', line.as_bytes())?;
            Some((line.get(..colon)?, line.get(colon + 1..)?))
        })
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them: a line each, `Name:value`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Of what [`Self::text`] gave.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Which values of header fields are not to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redaction {
    /// Of these, in lower case.
    Of(Vec<String>),
    /// Of all but these, in lower case.
    AllBut(Vec<String>),
}

impl Default for Redaction {
    /// Nothing is seen.
    fn default() -> Self {
        Self::AllBut(Vec::new())
    }
}

impl Redaction {
    /// The fields of a message, and one of its request that its flow repeats.
    #[must_use]
    pub fn show(&self, raw: &RawHeaders, repeated: Option<Field<'_>>) -> Headers {
        if raw.is_empty() && repeated.is_none() {
            return Headers::default();
        }
        let mut fields: Vec<(String, String)> =
            raw.fields().chain(repeated).map(|(name, value)| self.field(name, value)).collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut text = String::with_capacity(fields.iter().map(|(name, value)| name.len() + value.len() + 2).sum());
        for (name, value) in fields {
            if text.len() + name.len() + value.len() + 2 <= MAX_BYTES {
                text.push_str(&name);
                text.push(':');
                text.push_str(&value);
                text.push('\n');
            }
        }
        Headers(text.into())
    }

    fn field(&self, name: &[u8], value: &[u8]) -> (String, String) {
        let name = canonical(name);
        if self.hides(&name) {
            return (name, REDACTED.to_owned());
        }
        let mut value: String = String::from_utf8_lossy(value)
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        if value.len() > MAX_VALUE {
            value.truncate(value.floor_char_boundary(MAX_VALUE));
            value.push_str("...");
        }
        (name, value)
    }

    fn hides(&self, name: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|listed| listed.eq_ignore_ascii_case(name));
        match self {
            Self::Of(names) => is_in(names),
            Self::AllBut(names) => !is_in(names),
        }
    }
}

/// As Go's `CanonicalMIMEHeaderKey`: the first letter, and each behind a hyphen, in upper case, others in lower.
fn canonical(name: &[u8]) -> String {
    let mut is_first = true;
    let mut canonical = String::with_capacity(name.len());
    for byte in name {
        let byte = if is_first { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        is_first = byte == b'-';
        canonical.push(char::from(byte));
    }
    canonical
}
