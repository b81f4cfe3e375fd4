//! Fuzzes `targets::patterns`.
#![no_main]

#[allow(dead_code, reason = "one of four")]
#[path = "../../tests/corpus/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::patterns(data));
