//! Our extension as a `google.protobuf.Struct`.

use std::sync::Arc;

use rules::{HeaderNote, RuleRef};

use super::field::{begin, element, end, key, message, number_value};
use crate::flow::{
    fragments::Fragments,
    said::{Fields, Said},
};

/// `google.protobuf.Value`: a text, a struct, a list.
const TEXT: u32 = 3;
const STRUCT: u32 = 5;
const LIST: u32 = 6;

/// A `google.protobuf.Any`.
pub(super) fn extension(field: u32, rules: &mut Fragments<RuleRef>, said: &Said<'_>, out: &mut Vec<u8>) {
    message(field, out, |out| {
        element(1, "type.googleapis.com/google.protobuf.Struct", out);
        message(2, out, |out| said.extension(&mut Struct { rules, out }));
    });
}

/// Entries of the map `fields`.
struct Struct<'a> {
    rules: &'a mut Fragments<RuleRef>,
    out: &'a mut Vec<u8>,
}

/// A name and what `value` writes: a `Value`.
fn entry(name: &str, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    message(1, out, |out| {
        element(1, name, out);
        message(2, out, value);
    });
}

fn text(name: &str, value: &str, out: &mut Vec<u8>) {
    entry(name, out, |out| element(TEXT, value, out));
}

impl Fields for Struct<'_> {
    fn number(&mut self, name: &'static str, value: u64) {
        entry(name, self.out, |out| number_value(value, out));
    }

    fn text(&mut self, name: &'static str, value: &str) {
        text(name, value, self.out);
    }

    fn texts(&mut self, name: &'static str, values: &[String]) {
        entry(name, self.out, |out| {
            message(LIST, out, |out| {
                for value in values {
                    message(1, out, |out| element(TEXT, value, out));
                }
            });
        });
    }

    fn notes(&mut self, name: &'static str, notes: &[HeaderNote]) {
        entry(name, self.out, |out| {
            message(LIST, out, |out| {
                for note in notes {
                    message(1, out, |out| {
                        message(STRUCT, out, |out| {
                            text("name", &note.name, out);
                            text("value", &note.value, out);
                        });
                    });
                }
            });
        });
    }

    fn rule(&mut self, rule: &Arc<RuleRef>) {
        self.rules.write(rule, 0, self.out, |rule, out| {
            text("policy", &rule.policy.to_string(), out);
            text("rule", &rule.rule, out);
            text("summary", &rule.summary, out);
        });
    }

    fn object(&mut self, name: &'static str, content: impl FnOnce(&mut Self)) {
        key(1, self.out);
        let entry = begin(self.out);
        element(1, name, self.out);
        key(2, self.out);
        let value = begin(self.out);
        key(STRUCT, self.out);
        let fields = begin(self.out);
        content(self);
        for begun in [fields, value, entry] {
            end(begun, self.out);
        }
    }
}
