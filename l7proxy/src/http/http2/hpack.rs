//! Header compression (RFC 7541): blocks of fields, and the tables that both ends of a connection keep.
//!
//! A field is read once and shared from then on: the table of whoever sent it, the request that it is in and the table of
//! whoever it goes to hold the same one. Owns what a field may look like at all. Must never hold more than a table's size, nor
//! make more of a block than it is asked for. Start at [`Decoder::decode`] and [`Encoder::begin`].

use std::rc::Rc;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    uri::{Authority, PathAndQuery},
};

mod decoder;
mod encoder;
mod fixed;
mod huffman;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// Bytes of a table, unless its owner wants a smaller one: what both of ours have.
pub(super) const TABLE: usize = 4 << 10;
/// What a field costs besides its bytes (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// Why a block breaks its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It cannot be unpacked.
    Packing,
    /// A name or a value has bytes that it may not have.
    Field,
}

/// What its sender wants of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexing {
    /// That it is kept there.
    Kept,
    /// That it is not.
    Passing,
    /// That it is never, by nobody: it is a secret.
    Never,
}

/// Whose name begins with a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pseudo {
    Method(Option<Method>),
    Scheme,
    Authority(Option<Authority>),
    Path(Option<PathAndQuery>),
    Protocol,
    Status(Option<StatusCode>),
    Unknown(Bytes),
}

/// A field's name; of pseudo-headers with what the value means, if it means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Pseudo(Pseudo),
    Header(HeaderName),
}

/// A name and a value, as they were sent.
#[derive(Debug)]
pub struct Field {
    pub(super) name: Name,
    pub(super) value: HeaderValue,
    indexing: Indexing,
    /// Where it stands in the table that everybody has; 0: nowhere.
    place: u8,
    /// Where its name does.
    name_place: u8,
    /// Of name and value: equal fields have equal ones.
    hash: u32,
}

/// Equal fields are often the same.
pub(super) type Shared = Rc<Field>;

impl Name {
    /// `value` is what a pseudo-header's means.
    fn new(name: &[u8], value: &HeaderValue) -> Result<Self, Broken> {
        let bytes = value.as_bytes();
        let pseudo = match name {
            b":method" => Pseudo::Method(Method::from_bytes(bytes).ok()),
            b":scheme" => Pseudo::Scheme,
            b":authority" => Pseudo::Authority(Authority::try_from(bytes).ok()),
            b":path" => Pseudo::Path(PathAndQuery::try_from(bytes).ok()),
            b":protocol" => Pseudo::Protocol,
            b":status" => Pseudo::Status(StatusCode::from_bytes(bytes).ok()),
            [b':', ..] => Pseudo::Unknown(Bytes::copy_from_slice(name)),
            _ => return HeaderName::from_lowercase(name).map(Self::Header).map_err(|_| Broken::Field),
        };
        Ok(Self::Pseudo(pseudo))
    }

    /// The name of this one, with another value.
    fn with(&self, value: &HeaderValue) -> Result<Self, Broken> {
        match self {
            Self::Header(name) => Ok(Self::Header(name.clone())),
            Self::Pseudo(_) => Self::new(self.as_bytes(), value),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Header(name) => name.as_str().as_bytes(),
            Self::Pseudo(Pseudo::Method(_)) => b":method",
            Self::Pseudo(Pseudo::Scheme) => b":scheme",
            Self::Pseudo(Pseudo::Authority(_)) => b":authority",
            Self::Pseudo(Pseudo::Path(_)) => b":path",
            Self::Pseudo(Pseudo::Protocol) => b":protocol",
            Self::Pseudo(Pseudo::Status(_)) => b":status",
            Self::Pseudo(Pseudo::Unknown(name)) => name,
        }
    }
}

impl Field {
    fn new(name: Name, value: HeaderValue, indexing: Indexing, name_place: u8) -> Self {
        let hash = hash(hash(0x811c_9dc5, name.as_bytes()), value.as_bytes());
        Self { name, value, indexing, place: 0, name_place, hash }
    }

    /// One of our own.
    pub(super) fn own(name: &'static str, value: HeaderValue) -> Result<Self, Broken> {
        let (name, place) = (Name::new(name.as_bytes(), &value)?, fixed::name(name.as_bytes()));
        Ok(Self::new(name, value, Indexing::Kept, place))
    }

    /// A header that rules made.
    pub(super) fn header(name: &HeaderName, value: &HeaderValue) -> Self {
        let indexing = if value.is_sensitive() { Indexing::Never } else { Indexing::Passing };
        let place = fixed::name(name.as_str().as_bytes());
        Self::new(Name::Header(name.clone()), value.clone(), indexing, place)
    }

    /// A path that is not the one that was sent.
    pub(super) fn path(path: &str) -> Result<Self, Broken> {
        let value = HeaderValue::from_str(path).map_err(|_| Broken::Field)?;
        let (name, place) = (Name::new(b":path", &value)?, fixed::name(b":path"));
        Ok(Self::new(name, value, Indexing::Passing, place))
    }

    /// What tables and limits count (RFC 7541 §4.1).
    #[must_use]
    pub fn size(&self) -> usize {
        self.name.as_bytes().len() + self.value.len() + OVERHEAD
    }

    /// Whether `other` says the same.
    fn is_same(&self, other: &Self) -> bool {
        self.hash == other.hash && self.value == other.value && self.name.as_bytes() == other.name.as_bytes()
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

/// FNV-1a.
fn hash(mut hash: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    hash
}
