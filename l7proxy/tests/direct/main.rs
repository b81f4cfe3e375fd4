//! One connection after the other through the real data plane in this process: raw bytes on both sides.
//!
//! Nothing here needs namespaces or eBPF: the connection's original destination is given instead of looked up.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, what is not as expected has failed"
)]

mod allowed;
mod bodies;
mod ended;
mod headers;
mod http2;
mod records;
mod refused;
mod stage;
mod switching;
mod upstreams;
mod wire;
