//! The upstream of one downstream connection: one connection, never shared, never tried twice.
//!
//! Owns how it is dialled. Never decides whether something may be sent: whoever sends has a [`rules::Permit`]. Start at
//! [`Dialer::connect`].

use http::{HeaderMap, header};

mod dial;
mod http2;

pub use dial::{Dialer, Leg, Side};
pub use http2::{Failed, Http2};

/// Whether clients can only agree on where an answer ends. (The library takes the coding's word, and a list of equal
/// lengths, and goes on.)
#[must_use]
pub fn has_one_framing(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => true,
        (Some(length), None) => length.as_bytes().iter().all(u8::is_ascii_digit) && lengths.next().is_none(),
        (None, Some(coding)) => coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none(),
        (Some(_), Some(_)) => false,
    }
}
