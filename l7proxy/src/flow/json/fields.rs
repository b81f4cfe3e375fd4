//! What is kept of a field of which a mask names a part, in a line.
//!
//! Reads what was just written: parts are rare, and of what many flows say are taken once. Start at [`Fields::new`].

use serde_json::{Map, Value};

use crate::flow::{
    Mask,
    kept::{Keep, Parts},
    mask,
};

/// A mask for lines.
#[derive(Debug)]
pub(super) struct Fields(Mask);

impl Fields {
    /// Of these paths, dots between names; or says, in Hubble's words, that one leads nowhere.
    pub(super) fn new(paths: &[String]) -> Result<Self, String> {
        Mask::new(paths).map(Self)
    }
}

impl Parts for Fields {
    fn of(&self, field: u32) -> Keep {
        self.0.of(field)
    }

    /// `,"name":value`, as fields stand in a line.
    fn part(&self, field: &[u8], out: &mut Vec<u8>) {
        let object = [b"{", field.get(1..).unwrap_or_default(), b"}"].concat();
        let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(&object) else { return };
        keep(self.0.fields(), &mut object);
        let kept = Value::Object(object).to_string();
        if let Some(fields) = kept.get(1..kept.len() - 1).filter(|fields| !fields.is_empty()) {
            out.push(b',');
            out.extend_from_slice(fields.as_bytes());
        }
    }
}

fn keep(fields: &mask::Fields, object: &mut Map<String, Value>) {
    object.retain(|name, _| fields.named(name).is_some());
    for (name, value) in object {
        if let (Some(inner), Value::Object(object)) = (fields.named(name), value) {
            keep(inner, object);
        }
    }
}
