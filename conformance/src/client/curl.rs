//! curl.

use std::{collections::BTreeMap, process::Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::node::Place;

/// curl's exit code for "could not connect".
pub const COULD_NOT_CONNECT: i32 = 7;
/// curl's exit code for "the server answered nothing".
pub const EMPTY_REPLY: i32 = 52;
/// curl's exit code for a reset connection.
pub const RECEIVE_ERROR: i32 = 56;

/// What curl says of one request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// curl's exit code.
    pub exit: i32,
    /// The status, or 0 without an answer.
    pub status: u16,
    /// The client's own port.
    pub local_port: u16,
    /// Names in lower case, values in their order.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The body.
    pub body: String,
}

#[derive(Deserialize)]
struct Written {
    http_code: u16,
    #[serde(default)]
    local_port: u16,
}

impl Answer {
    /// `connect()` was refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.exit == COULD_NOT_CONNECT
    }

    /// The body as the tests' own server writes it.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {:?}", self.body))
    }
}

/// One request from inside a pod, with further arguments of curl before the URL.
pub fn curl(pod: &Place, arguments: &[&str], url: &str) -> Result<Answer> {
    let output = pod
        .command("curl")
        .args(["--silent", "--globoff", "--path-as-is", "--noproxy", "*", "--max-time", "10"])
        .args(["--write-out", "%{stderr}%{json}\n%{header_json}"])
        .args(arguments)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .context("curl cannot be started")?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let (written, headers) = told.split_once('\n').unwrap_or((&told, "{}"));
    let written: Written = serde_json::from_str(written).with_context(|| format!("curl {url}: {told}"))?;
    Ok(Answer {
        exit: output.status.code().context("curl was killed")?,
        status: written.http_code,
        local_port: written.local_port,
        headers: serde_json::from_str(headers).unwrap_or_default(),
        body: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}
