//! The table that everybody has (RFC 7541 appendix A).

use std::rc::Rc;

use http::HeaderValue;

use super::{Field, Indexing, Name, Shared};

/// A name and a value.
type Row = (&'static str, &'static str);

const ROWS: [Row; 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

thread_local! {
    static FIELDS: Vec<Shared> = ROWS.iter().zip(1..).filter_map(|(row, place)| make(*row, place)).collect();
}

fn make((name, value): Row, place: u8) -> Option<Shared> {
    let value = HeaderValue::from_static(value);
    let known = Name::new(name.as_bytes(), &value).ok()?;
    let field = Field::new(known, value, Indexing::Kept, self::name(name.as_bytes()));
    Some(Rc::new(Field { place, ..field }))
}

/// How many there are.
pub(super) const LENGTH: usize = ROWS.len();

/// The field at `place`, from 1.
pub(super) fn get(place: usize) -> Option<Shared> {
    FIELDS.with(|fields| fields.get(place.checked_sub(1)?).cloned())
}

/// The first place of a name; 0: nowhere.
pub(super) fn name(name: &[u8]) -> u8 {
    ROWS.iter().zip(1..).find(|((known, _), _)| known.as_bytes() == name).map_or(0, |(_, place)| place)
}
