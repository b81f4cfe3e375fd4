//! Hubble's own command line, unmodified, reads what a running proxy tells.

#![expect(clippy::indexing_slicing, reason = "what is not there fails the test")]

mod file;
mod stage;
mod table;
