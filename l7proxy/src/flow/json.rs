//! Records as JSON lines: `observer.ExportEvent` of Hubble's API, by protojson's rules (names as in the .proto files,
//! 64-bit numbers as text, defaults left out).

use rules::{Direction, PolicyKey, RuleRef};

use super::{
    ConnectionRecord, DropReason, DropRecord, Ends, Flow, Headers, LostRecord, NodeNames, Record, fragments::Fragments,
    kept::Kept, said::Said, summary, tag,
};
use crate::endpoint::Peer;

mod below;
mod ends;
mod extension;
mod fields;
mod http;
mod text;

use self::{
    ends::{by_policies, ends, policy_log},
    extension::extension,
    fields::Fields,
    text::{Stamp, escape, list, number, put, raw, text},
};

/// Bytes of a line that Hubble's reader reads: it gives up at 64 KiB.
const MAX_LINE: usize = 60 << 10;

/// Formats flows of one node.
#[derive(Debug)]
pub(super) struct Formatter {
    /// What is kept of each flow.
    kept: Kept<Fields>,
    /// `cluster/node`, escaped.
    node: String,
    /// Labels of the node, and who we are.
    about: Vec<u8>,
    /// Between a flow and the time of its event.
    after: String,
    /// The time of the flow that is being written.
    stamp: Stamp,
    /// What all requests of a connection say, and all that is answered to them.
    ends: [Fragments<Ends>; 2],
    peers: Fragments<Peer>,
    /// By revision.
    policies: Fragments<PolicyKey>,
    rules: Fragments<RuleRef>,
    /// Method and URL of the request that is being written.
    target: Vec<u8>,
}

impl Formatter {
    /// For the flows of the node of these names: the fields of these paths, or everything if there are none.
    ///
    /// # Errors
    ///
    /// A path that leads nowhere, in Hubble's words.
    pub(super) fn new(names: &NodeNames, paths: &[String]) -> Result<Self, String> {
        let mut kept = Kept::new((!paths.is_empty()).then(|| Fields::new(paths)).transpose()?);
        let mut name = Vec::new();
        escape(&names.full(), &mut name);
        let node = String::from_utf8_lossy(&name).into_owned();
        let mut about = Vec::new();
        if !names.labels.is_empty() {
            kept.field(tag::NODE_LABELS, &mut about, |out| {
                out.extend_from_slice(b",\"node_labels\":");
                list(&names.labels, out, |label, out| text(label, out));
            });
        }
        let version = env!("CARGO_PKG_VERSION");
        kept.field(tag::EMITTER, &mut about, |out| {
            raw([",\"emitter\":{\"name\":\"L7proxy\",\"version\":\"", version, "\"}"], out);
        });
        let after = format!("}},\"node_name\":\"{node}\",\"time\":\"");
        let ends = [Fragments::new(), Fragments::new()];
        let (peers, policies, rules) = (Fragments::new(), Fragments::new(), Fragments::new());
        let (stamp, target) = (Stamp::default(), Vec::new());
        Ok(Self { kept, node, about, after, stamp, ends, peers, policies, rules, target })
    }

    /// One line: one that Hubble's reader reads.
    pub(super) fn flow(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        let begin = out.len();
        self.line(flow, &flow.headers, out);
        if out.len() - begin > MAX_LINE {
            // What else is in it has limits that add up to less.
            out.truncate(begin);
            self.line(flow, &Headers::default(), out);
        }
    }

    fn line(&mut self, flow: &Flow, headers: &Headers, out: &mut Vec<u8>) {
        self.stamp.set(flow.time);
        match &flow.record {
            Record::Request(http) => self.http(flow, headers, (http, false), out),
            Record::Response(http) => self.http(flow, headers, (http, true), out),
            Record::Drop(refusal) => self.refusal(flow, refusal, out),
            Record::Connection(connection) => self.connection(flow, connection, out),
            Record::Lost(lost) => self.lost(lost, out),
        }
    }

    /// How many records are missing.
    fn lost(&mut self, lost: &LostRecord, out: &mut Vec<u8>) {
        let LostRecord { source, count, first, last } = lost;
        let (_, source) = source.hubble();
        put(
            out,
            format_args!("{{\"lost_events\":{{\"source\":\"{source}\",\"num_events_lost\":\"{count}\",\"first\":\""),
        );
        for (time, after) in [(first, "\",\"last\":\""), (last, "\"}")] {
            self.stamp.set(*time);
            out.extend_from_slice(self.stamp.bytes());
            out.extend_from_slice(after.as_bytes());
        }
        raw([",\"node_name\":\"", &self.node, "\",\"time\":\""], out);
        out.extend_from_slice(self.stamp.bytes());
        out.extend_from_slice(b"\"}\n");
    }

    fn refusal(&mut self, flow: &Flow, record: &DropRecord, out: &mut Vec<u8>) {
        let said = Said::refusal(record);
        let begin = self.open(flow, &said, out);
        let layer4 = (summary::layer4(record.protocol), summary::flags(record));
        let Self { kept, peers, node, .. } = self;
        ends(kept, peers, (&record.source, &record.destination), layer4, out);
        kind(kept, "L3_L4", node, out);
        below::refused(kept, record, out);
        reason_name(kept, said.drop, out);
        self.decided(&said, record.direction, out);
        self.kept.field(tag::SUMMARY, out, |out| {
            out.extend_from_slice(b",\"Summary\":");
            text(&summary::refusal(record), out);
        });
        out.extend_from_slice(&self.about);
        self.close(begin, &said, out);
    }

    fn connection(&mut self, flow: &Flow, record: &ConnectionRecord, out: &mut Vec<u8>) {
        let Ends { direction, source, destination } = &record.ends;
        let said = Said::connection(record);
        let begin = self.open(flow, &said, out);
        let flags = summary::connection_flags(record.end.is_some());
        let Self { kept, peers, node, .. } = self;
        ends(kept, peers, (source, destination), ("TCP", flags), out);
        kind(kept, "L3_L4", node, out);
        below::passed(kept, record, out);
        self.decided(&said, *direction, out);
        out.extend_from_slice(&self.about);
        self.close(begin, &said, out);
    }

    /// Says where the flow's fields begin, each with a comma in front.
    fn open(&mut self, flow: &Flow, said: &Said<'_>, out: &mut Vec<u8>) -> usize {
        let Self { kept, stamp, .. } = self;
        out.extend_from_slice(b"{\"flow\":");
        let begin = out.len();
        kept.field(tag::TIME, out, |out| {
            out.extend_from_slice(b",\"time\":\"");
            out.extend_from_slice(stamp.bytes());
            out.push(b'"');
        });
        kept.field(tag::UUID, out, |out| {
            out.extend_from_slice(b",\"uuid\":\"");
            flow.uuid(out);
            out.push(b'"');
        });
        kept.field(tag::VERDICT, out, |out| raw([",\"verdict\":\"", said.verdict.hubble().1, "\""], out));
        if let Some((reason @ 1.., _)) = said.drop.map(DropReason::hubble) {
            kept.field(tag::DROP_REASON, out, |out| {
                out.extend_from_slice(b",\"drop_reason\":");
                number(reason, out);
            });
        }
        begin
    }

    /// By which policies, and what they want to be told.
    fn decided(&mut self, said: &Said<'_>, direction: Direction, out: &mut Vec<u8>) {
        let Self { kept, policies, .. } = self;
        let field = tag::by_policies(said.is_allowed, direction);
        kept.field(field, out, |out| by_policies(policies, said, direction, out));
        kept.field(tag::POLICY_LOG, out, |out| policy_log(said.log(), out));
    }

    fn close(&mut self, begin: usize, said: &Said<'_>, out: &mut Vec<u8>) {
        let Self { kept, rules, .. } = self;
        kept.field(tag::EXTENSIONS, out, |out| extension(rules, said, out));
        match out.get_mut(begin) {
            // The comma of the first field.
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.extend_from_slice(self.after.as_bytes());
        out.extend_from_slice(self.stamp.bytes());
        out.extend_from_slice(b"\"}\n");
    }
}

/// What kind of record it is, and of which node.
fn kind(kept: &mut Kept<Fields>, kind: &str, node: &str, out: &mut Vec<u8>) {
    kept.field(tag::TYPE, out, |out| raw([",\"Type\":\"", kind, "\""], out));
    kept.field(tag::NODE_NAME, out, |out| raw([",\"node_name\":\"", node, "\""], out));
}

fn reason_name(kept: &mut Kept<Fields>, reason: Option<DropReason>, out: &mut Vec<u8>) {
    if let Some((1.., name)) = reason.map(DropReason::hubble) {
        kept.field(tag::DROP_REASON_DESC, out, |out| raw([",\"drop_reason_desc\":\"", name, "\""], out));
    }
}

#[cfg(test)]
mod tests;
