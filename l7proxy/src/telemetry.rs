//! The process's own log: standard error, one line per event, level by `RUST_LOG` (default `info`).

use std::io;

use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging; a panic is logged too. To be called once.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("panic: {panic}")));
}
