//! What Hubble's records have no field for: a `google.protobuf.Struct`, so that Hubble's own programs can read it.

use std::sync::Arc;

use rules::{HeaderNote, HeaderNotes, Nearest, RuleRef};

use super::text::{list, number, put, raw, text};
use crate::flow::{ConnectionEnd, ConnectionRecord, Process, fragments::Fragments};

/// What our extension says.
#[derive(Default)]
pub(super) struct Details<'a> {
    pub(super) rule: Option<&'a Arc<RuleRef>>,
    pub(super) tier: Option<&'a str>,
    pub(super) nearest: Option<&'a Nearest>,
    pub(super) process: Option<&'a Process>,
    pub(super) connection: Option<&'a ConnectionRecord>,
    pub(super) reason: &'a str,
    pub(super) notes: Option<&'a HeaderNotes>,
    pub(super) revision: u64,
    pub(super) repeats: u64,
    pub(super) backends: Option<&'a [String]>,
}

/// Pods behind a Service that a record names.
const MAX_BACKENDS: usize = 8;

/// The whole field.
pub(super) fn extension(rules: &mut Fragments<RuleRef>, details: &Details<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b",\"extensions\":{\"@type\":\"type.googleapis.com/google.protobuf.Struct\",\"value\":{\"policyRevision\":",
    );
    number(details.revision, out);
    if !details.reason.is_empty() {
        raw([",\"reason\":\"", details.reason, "\""], out);
    }
    if details.repeats != 0 {
        put(out, format_args!(",\"repeats\":{}", details.repeats));
    }
    if let Some(rule) = details.rule {
        out.push(b',');
        rules.write(rule, 0, out, rule_fields);
    }
    if let Some(tier) = details.tier {
        out.extend_from_slice(b",\"tier\":");
        text(tier, out);
    }
    if let Some(nearest) = details.nearest {
        out.extend_from_slice(b",\"nearest\":{");
        rules.write(&nearest.rule, 0, out, rule_fields);
        out.extend_from_slice(b",\"field\":");
        text(&nearest.field, out);
        out.extend_from_slice(b",\"expected\":");
        text(&nearest.expected, out);
        out.push(b'}');
    }
    if let Some(notes) = details.notes {
        headers("missingHeaders", &notes.missing, out);
        headers("rejectedHeaders", &notes.rejected, out);
    }
    if let Some(backends) = details.backends {
        out.extend_from_slice(b",\"deniedBackends\":");
        list(backends.get(..MAX_BACKENDS).unwrap_or(backends), out, |backend, out| text(backend, out));
    }
    if let Some(process) = details.process {
        put(out, format_args!(",\"process\":{{\"pid\":{},\"command\":", process.pid));
        text(&process.command, out);
        out.push(b'}');
    }
    match details.connection.map(|connection| &connection.end) {
        None => {}
        Some(None) => out.extend_from_slice(b",\"connection\":{\"state\":\"opened\"}"),
        Some(Some(ConnectionEnd { lasted, sent, received })) => put(
            out,
            format_args!(
                ",\"connection\":{{\"state\":\"ended\",\"durationMs\":{},\"bytesSent\":{sent},\"bytesReceived\":{received}}}",
                lasted.as_millis()
            ),
        ),
    }
    out.extend_from_slice(b"}}");
}

fn headers(field: &str, notes: &[HeaderNote], out: &mut Vec<u8>) {
    if notes.is_empty() {
        return;
    }
    put(out, format_args!(",\"{field}\":"));
    list(notes, out, |note, out| {
        out.extend_from_slice(b"{\"name\":");
        text(&note.name, out);
        out.extend_from_slice(b",\"value\":");
        text(&note.value, out);
        out.push(b'}');
    });
}

/// Policy, place in its spec, and what it asks for.
fn rule_fields(rule: &RuleRef, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"policy\":");
    text(&rule.policy.to_string(), out);
    out.extend_from_slice(b",\"rule\":");
    text(&rule.rule, out);
    out.extend_from_slice(b",\"summary\":");
    text(&rule.summary, out);
}
