//! Records as JSON lines: which of them, and what of each.
//!
//! Owns one place that lines go to. Filters before it masks, as Hubble's exporter; what was lost is told in any case. Start at
//! [`Export::add`].

use std::io;

use super::{Filters, Flow, NodeNames, json::Formatter};
use hubble_api::flow::FlowFilter;

/// Bytes of lines that are written at once.
const PIECE: usize = 128 << 10;

/// Which flows are written, and what of them.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// One of these must match, if there are any.
    pub allow: Vec<FlowFilter>,
    /// None of these may.
    pub deny: Vec<FlowFilter>,
    /// Paths of `flow.Flow`; empty: everything.
    pub fields: Vec<String>,
}

/// A place that lines go to.
#[derive(Debug)]
pub(super) struct Export {
    /// `None`: everything.
    filters: Option<Filters>,
    formatter: Formatter,
    lines: Vec<u8>,
}

impl Export {
    /// Says what is wrong with `selection`.
    pub(super) fn new(selection: &Selection, names: &NodeNames) -> io::Result<Self> {
        let wrong = |field: &str, reason: &str| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("flows.file.{field}: {reason}"))
        };
        let Selection { allow, deny, fields } = selection;
        let is_choosy = !allow.is_empty() || !deny.is_empty();
        let filters = Filters::new(allow, deny, names).map_err(|error| wrong("allow, flows.file.deny", &error))?;
        let advice = "give names of fields of flow.Flow, such as time or l7.http.method";
        let formatter =
            Formatter::new(names, fields).map_err(|error| wrong("fieldMask", &format!("{error}; {advice}")))?;
        Ok(Self { filters: is_choosy.then_some(filters), formatter, lines: Vec::new() })
    }

    /// A line of `flow`, if it is wanted. Says whether it is time to write.
    pub(super) fn add(&mut self, flow: &Flow) -> bool {
        if self.filters.as_ref().is_none_or(|filters| filters.matches(flow)) {
            self.formatter.flow(flow, &mut self.lines);
        }
        self.lines.len() >= PIECE
    }

    /// Writes what there is.
    pub(super) fn write<T>(&mut self, write: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let written = (!self.lines.is_empty()).then(|| write(&self.lines));
        self.lines.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::flow::testing;

    fn lines(selection: &Selection, flows: &[Flow]) -> Vec<Value> {
        let names = NodeNames::default();
        let mut export = Export::new(selection, &names).unwrap();
        for flow in flows {
            export.add(flow);
        }
        let text = export.write(|lines| String::from_utf8(lines.to_vec()).unwrap()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn selection(fields: &[&str]) -> Selection {
        Selection { fields: fields.iter().map(|&field| field.to_owned()).collect(), ..Selection::default() }
    }

    const PATHS: [&str; 24] = [
        "time",
        "uuid",
        "verdict",
        "drop_reason",
        "drop_reason_desc",
        "IP.source",
        "l4",
        "l4.TCP.destination_port",
        "source",
        "source.labels",
        "source.identity",
        "destination.pod_name",
        "destination_service.name",
        "Type",
        "node_name",
        "node_labels",
        "l7",
        "l7.http.method",
        "event_type.type",
        "traffic_direction",
        "is_reply",
        "trace_context",
        "egress_allowed_by",
        "Summary",
    ];

    /// Appends what of `whole` is at `path`.
    fn pick(whole: &Value, path: &str, kept: &mut Value) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        match (whole.get(name), rest) {
            (None, _) => {}
            (Some(value), None) => kept[name] = value.clone(),
            (Some(value), Some(rest)) => {
                if kept.get(name).is_none() {
                    kept[name] = serde_json::json!({});
                }
                pick(value, rest, &mut kept[name]);
            }
        }
    }

    proptest! {
        #[test]
        fn a_mask_leaves_what_it_names_and_nothing_else(
            flows in prop::collection::vec(testing::flow(), 1..6),
            paths in prop::collection::vec(prop::sample::select(&PATHS[..]), 1..6),
        ) {
            // Each twice: what is known is kept as well.
            let flows = [flows.clone(), flows].concat();
            let whole = lines(&Selection::default(), &flows);
            let masked = lines(&selection(&paths), &flows);
            prop_assert_eq!(whole.len(), masked.len());
            for (whole, masked) in whole.iter().zip(&masked) {
                let mut wanted = whole.clone();
                if let Some(flow) = wanted.get_mut("flow") {
                    *flow = serde_json::json!({});
                    for path in &paths {
                        pick(&whole["flow"], path, flow);
                    }
                }
                prop_assert_eq!(masked, &wanted);
            }
        }

        #[test]
        fn only_what_is_wanted_is_written(flows in prop::collection::vec(testing::flow(), 1..20)) {
            let dropped = FlowFilter { verdict: vec![2], ..FlowFilter::default() };
            let allow = Selection { allow: vec![dropped.clone()], ..Selection::default() };
            let deny = Selection { deny: vec![dropped], ..Selection::default() };
            let is_dropped = |line: &Value| line["flow"]["verdict"] == "DROPPED";
            let is_lost = |line: &Value| line.get("lost_events").is_some();
            let all = lines(&Selection::default(), &flows);
            let (kept, left) = (lines(&allow, &flows), lines(&deny, &flows));
            prop_assert_eq!(kept, all.iter().filter(|line| is_dropped(line) || is_lost(line)).cloned().collect::<Vec<_>>());
            prop_assert_eq!(left, all.iter().filter(|line| !is_dropped(line)).cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let error = |selection| Export::new(&selection, &NodeNames::default()).unwrap_err().to_string();
        assert!(error(selection(&["nothing"])).starts_with("flows.file.fieldMask: invalid fieldmask"));
        let filter = FlowFilter { http_status_code: vec!["9xx".to_owned()], ..FlowFilter::default() };
        let wrong = error(Selection { allow: vec![filter], ..Selection::default() });
        assert!(wrong.ends_with("invalid http status code filter: invalid status code prefix: \"9xx\""), "{wrong}");
    }
}
