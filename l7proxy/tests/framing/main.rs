//! The framing table: every way that two readers of HTTP/1 are known to disagree about where a message ends, through the
//! real data plane in this process, and what reaches the other side byte for byte.
//!
//! The table is `requests/*.yaml` and `answers/*.yaml`; how a line of it reads is said in `table.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, what is not as expected has failed"
)]

mod answers;
mod exchange;
mod guardian;
mod requests;
#[expect(dead_code, reason = "shared with the tests of whole connections, which ask for more")]
#[path = "../direct/stage.rs"]
mod stage;
mod table;
mod views;
#[expect(dead_code, reason = "shared with the tests of whole connections, which ask for more")]
#[path = "../direct/wire.rs"]
mod wire;
