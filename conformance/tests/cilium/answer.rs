//! What one side makes of a case.

use std::fmt;

use serde::Deserialize;

/// Why a side refuses a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The field's own name, `toFQDNs`; empty when the side does not tell.
    pub(crate) field: String,
    pub(crate) reason: String,
}

/// What becomes of one connection or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Past the proxy.
    Allowed,
    Denied,
    /// A connection to the proxy.
    Redirect,
    RedirectAllowed,
    RedirectDenied,
    /// The proxy finds that the request has no single meaning.
    RedirectRefused,
}

impl Verdict {
    pub(crate) const ALL: [Self; 6] = [
        Self::Allowed,
        Self::Denied,
        Self::Redirect,
        Self::RedirectAllowed,
        Self::RedirectDenied,
        Self::RedirectRefused,
    ];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Redirect => "redirect",
            Self::RedirectAllowed => "redirect-allowed",
            Self::RedirectDenied => "redirect-denied",
            Self::RedirectRefused => "redirect-refused",
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Refused(Vec<Refusal>),
    Accepted(Vec<Verdict>),
}
