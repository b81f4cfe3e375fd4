//! Records as JSON lines: which of them, and what of each.
//!
//! Owns one place that lines go to. Filters before it masks, as Hubble's exporter; what was lost is told in any case. Start at
//! [`Export::add`].

use std::{collections::BTreeMap, io};

use hubble_api::flow::FlowFilter;
use serde_json::{Map, Value};

use super::{Filters, Flow, Mask, NodeNames, Record, json::Formatter};

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
    fields: Option<Fields>,
    lines: Vec<u8>,
}

/// Names of fields, and what is kept of each; nothing below: all of it.
#[derive(Debug, Default)]
struct Fields(BTreeMap<String, Fields>);

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
        Mask::new(fields).map_err(|error| wrong("fieldMask", &format!("{error}; {advice}")))?;
        let fields = (!fields.is_empty()).then(|| Fields::of(fields));
        Ok(Self { filters: is_choosy.then_some(filters), fields, lines: Vec::new() })
    }

    /// A line of `flow`, if it is wanted. Says whether it is time to write.
    pub(super) fn add(&mut self, flow: &Flow, formatter: &mut Formatter) -> bool {
        if self.filters.as_ref().is_none_or(|filters| filters.matches(flow)) {
            let begin = self.lines.len();
            formatter.flow(flow, &mut self.lines);
            if let (Some(fields), false) = (&self.fields, matches!(flow.record, Record::Lost(_))) {
                fields.mask(begin, &mut self.lines);
            }
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

impl Fields {
    fn of(paths: &[String]) -> Self {
        let mut all = Self::default();
        for path in paths {
            let mut fields = &mut all;
            let mut steps = path.split('.').peekable();
            while let Some(step) = steps.next() {
                let is_new = !fields.0.contains_key(step);
                let inner = fields.0.entry(step.to_owned()).or_default();
                if !is_new && inner.0.is_empty() {
                    // All of it is kept already.
                    break;
                }
                if steps.peek().is_none() {
                    inner.0.clear();
                }
                fields = inner;
            }
        }
        all
    }

    /// Of the line that stands from `begin` on.
    fn mask(&self, begin: usize, lines: &mut Vec<u8>) {
        let line = lines.get(begin..).unwrap_or_default();
        let Ok(Value::Object(mut event)) = serde_json::from_slice(line) else { return };
        if let Some(Value::Object(flow)) = event.get_mut("flow") {
            self.keep(flow);
        }
        lines.truncate(begin);
        lines.extend_from_slice(Value::Object(event).to_string().as_bytes());
        lines.push(b'\n');
    }

    fn keep(&self, object: &mut Map<String, Value>) {
        object.retain(|name, _| self.0.contains_key(name));
        for (name, value) in object {
            if let (Some(inner), Value::Object(object)) = (self.0.get(name).filter(|inner| !inner.0.is_empty()), value)
            {
                inner.keep(object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::testing;

    fn lines(selection: &Selection, flows: &[Flow]) -> Vec<Value> {
        let names = NodeNames::default();
        let (mut export, mut formatter) = (Export::new(selection, &names).unwrap(), Formatter::new(&names));
        for flow in flows {
            export.add(flow, &mut formatter);
        }
        let text = export.write(|lines| String::from_utf8(lines.to_vec()).unwrap()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn selection(fields: &[&str]) -> Selection {
        Selection { fields: fields.iter().map(|&field| field.to_owned()).collect(), ..Selection::default() }
    }

    proptest! {
        #[test]
        fn a_mask_leaves_what_it_names_and_nothing_else(flows in prop::collection::vec(testing::flow(), 1..6)) {
            let whole = lines(&Selection::default(), &flows);
            let masked = lines(&selection(&["verdict", "l7.http.method", "l7.http", "source.labels"]), &flows);
            prop_assert_eq!(whole.len(), masked.len());
            for (whole, masked) in whole.iter().zip(&masked) {
                let Some(flow) = whole.get("flow") else {
                    prop_assert_eq!(whole, masked);
                    continue;
                };
                let mut wanted = serde_json::json!({"verdict": flow["verdict"]});
                if let Some(http) = flow["l7"].get("http") {
                    wanted["l7"] = serde_json::json!({"http": http});
                }
                wanted["source"] = flow["source"].get("labels").map_or(serde_json::json!({}), |labels| {
                    serde_json::json!({"labels": labels})
                });
                prop_assert_eq!(&masked["flow"], &wanted);
                prop_assert_eq!(&masked["time"], &whole["time"]);
                prop_assert_eq!(&masked["node_name"], &whole["node_name"]);
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
