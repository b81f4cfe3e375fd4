//! What is kept of a field of which a mask names a part.
//!
//! Owns the names below a field. Reads what was just written: parts are rare, and of what many flows say are taken once. Start
//! at [`Fields::new`].

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::flow::{
    Mask,
    kept::{Keep, Parts},
};

/// A mask for lines.
#[derive(Debug)]
pub(super) struct Fields {
    mask: Mask,
    names: Names,
}

/// Names of fields, and what is kept of each; nothing below: all of it.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, Names>);

impl Fields {
    /// Of these paths, dots between names; or says, in Hubble's words, that one leads nowhere.
    pub(super) fn new(paths: &[String]) -> Result<Self, String> {
        Ok(Self { mask: Mask::new(paths)?, names: Names::of(paths) })
    }
}

impl Parts for Fields {
    fn of(&self, field: u32) -> Keep {
        self.mask.of(field)
    }

    /// `,"name":value`, as fields stand in a line.
    fn part(&self, field: &[u8], out: &mut Vec<u8>) {
        let object = [b"{", field.get(1..).unwrap_or_default(), b"}"].concat();
        let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(&object) else { return };
        self.names.keep(&mut object);
        let kept = Value::Object(object).to_string();
        if let Some(fields) = kept.get(1..kept.len() - 1).filter(|fields| !fields.is_empty()) {
            out.push(b',');
            out.extend_from_slice(fields.as_bytes());
        }
    }
}

impl Names {
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
