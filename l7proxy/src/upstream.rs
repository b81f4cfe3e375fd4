//! The upstream of one downstream connection: one connection, never shared, never tried twice.
//!
//! Owns how it is dialled. Never decides whether something may be sent: whoever sends has a [`rules::Permit`]. Start at
//! [`Dialer::connect`].

mod dial;

pub use dial::{Dialer, Leg, Side};
