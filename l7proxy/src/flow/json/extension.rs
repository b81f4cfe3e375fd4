//! Our extension as JSON.

use std::sync::Arc;

use rules::{HeaderNote, RuleRef};

use super::text::{list, number, raw, text};
use crate::flow::{
    fragments::Fragments,
    said::{Fields, Said},
};

/// The whole field.
pub(super) fn extension(rules: &mut Fragments<RuleRef>, said: &Said<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"extensions\":{\"@type\":\"type.googleapis.com/google.protobuf.Struct\",\"value\":{");
    said.extension(&mut Object { rules, out, is_first: true });
    out.extend_from_slice(b"}}");
}

struct Object<'a> {
    rules: &'a mut Fragments<RuleRef>,
    out: &'a mut Vec<u8>,
    /// Nothing is in it yet.
    is_first: bool,
}

impl Object<'_> {
    fn name(&mut self, name: &str) {
        raw([if self.is_first { "\"" } else { ",\"" }, name, "\":"], self.out);
        self.is_first = false;
    }
}

impl Fields for Object<'_> {
    fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        number(value, self.out);
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        text(value, self.out);
    }

    fn texts(&mut self, name: &'static str, values: &[String]) {
        self.name(name);
        list(values, self.out, |value, out| text(value, out));
    }

    fn notes(&mut self, name: &'static str, notes: &[HeaderNote]) {
        self.name(name);
        list(notes, self.out, |note, out| {
            out.extend_from_slice(b"{\"name\":");
            text(&note.name, out);
            out.extend_from_slice(b",\"value\":");
            text(&note.value, out);
            out.push(b'}');
        });
    }

    fn rule(&mut self, rule: &Arc<RuleRef>) {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        self.rules.write(rule, 0, self.out, |rule, out| {
            out.extend_from_slice(b"\"policy\":");
            text(&rule.policy.to_string(), out);
            out.extend_from_slice(b",\"rule\":");
            text(&rule.rule, out);
            out.extend_from_slice(b",\"summary\":");
            text(&rule.summary, out);
        });
    }

    fn object(&mut self, name: &'static str, content: impl FnOnce(&mut Self)) {
        self.name(name);
        self.out.push(b'{');
        self.is_first = true;
        content(self);
        self.is_first = false;
        self.out.push(b'}');
    }
}
