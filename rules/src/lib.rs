//! What a network policy means. Pure: no IO, no async, no clock, no panic.
#![forbid(unsafe_code)]
