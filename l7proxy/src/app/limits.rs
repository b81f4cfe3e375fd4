//! What a client may cost: what the configuration says, and the defaults for what it does not.

use std::time::Duration;

use crate::{config, http::Limits};

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
