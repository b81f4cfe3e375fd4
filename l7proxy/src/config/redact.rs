//! What records do not show of a request.

use serde::{Deserialize, Serialize};

/// What records do not show, as Hubble's `redact` options have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Redact {
    /// Queries of URLs.
    #[serde(default)]
    pub url_query: bool,
    /// Values of header fields: those of `deny`, or all but those of `allow`.
    #[serde(default)]
    pub headers: RedactHeaders,
}

/// Names of header fields, in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RedactHeaders {
    /// The values of these are shown, and of no others.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// The values of these are not shown. Without either list it holds what usually is a secret.
    #[serde(default)]
    pub deny: Option<Vec<String>>,
}

impl Redact {
    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let RedactHeaders { allow, deny } = &self.headers;
        (allow.is_some() && deny.is_some())
            .then_some("flows.redact.headers: has both allow and deny, of which one would never count; leave one out")
    }
}
