//! What a client may cost: what the configuration says, and the defaults for what it does not.

use std::{sync::Arc, time::Duration};

use rustix::process::{Resource, getrlimit};

use crate::{
    accept::{MEMORY, Places, of_descriptors},
    config,
    http::Limits,
};

/// For the data path.
pub(super) fn limits(wanted: &config::Limits) -> Limits {
    let own = Limits::default();
    Limits {
        head_bytes: wanted.head_bytes.unwrap_or(own.head_bytes),
        request_line_bytes: wanted.request_line_bytes.unwrap_or(own.request_line_bytes),
        headers: wanted.headers.unwrap_or(own.headers),
        header_timeout: wanted.header_timeout_seconds.map_or(own.header_timeout, Duration::from_secs),
        streams: wanted.streams.unwrap_or(own.streams),
        resets: wanted.resets_per_second.unwrap_or(own.resets),
        control_frames: wanted.control_frames_per_second.unwrap_or(own.control_frames),
        denied_body_bytes: own.denied_body_bytes,
    }
}

/// How many connections are served at once. To be asked when this process has all the descriptors that it will.
pub(super) fn places(wanted: &config::Limits) -> Arc<Places> {
    let most = of_descriptors(getrlimit(Resource::Nofile).current);
    let memory = wanted.memory_mb.map_or(MEMORY, |mb| mb.saturating_mul(1 << 20));
    Places::new(wanted.connections.unwrap_or(most).min(most), memory)
}
