//! Methods that may be a label.

/// Instead of methods that nobody registered: a client may invent as many as it likes.
const OTHER: &str = "other";
/// Those of most requests.
const COMMON: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE"];
/// The others of IANA's registry of HTTP methods.
const REGISTERED: [&str; 31] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// The method, or what stands for it. Of a request that nobody read there is none.
pub(super) fn shown(method: &str) -> &'static str {
    if method.is_empty() {
        return "";
    }
    let known = COMMON.iter().chain(&REGISTERED).find(|known| **known == method);
    known.copied().unwrap_or(OTHER)
}
