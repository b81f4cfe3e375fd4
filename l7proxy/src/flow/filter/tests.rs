use hubble_api::flow::FlowFilter;
use serde_json::Value;

use super::*;
use crate::{config, flow::NodeNames};

mod differential;
mod golden;
mod naive;

/// A filter as users write it.
pub(super) fn filter(json: Value) -> FlowFilter {
    serde_json::from_value::<config::FlowFilter>(json).unwrap().into()
}

pub(super) fn node() -> NodeNames {
    NodeNames { cluster: "c".to_owned(), node: "n1".to_owned(), labels: vec!["zone=eu".to_owned()] }
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    let refused = |filters: &[FlowFilter]| Filters::new(filters, &[], &node()).unwrap_err();
    let of = |count| vec![FlowFilter::default(); count];
    assert!(Filters::new(&of(200), &of(56), &node()).is_ok());
    assert_eq!(refused(&of(257)), "257 filters are more than 256; put values into one filter");
    let with = |uuid: Vec<String>| [FlowFilter { uuid, ..FlowFilter::default() }];
    assert!(Filters::new(&with(vec!["x".repeat(65_000)]), &[], &node()).is_ok());
    let error = refused(&with(vec!["x".repeat(66_000)]));
    assert!(error.ends_with("bytes, more than 65536; ask for less at once"), "{error}");
    let error = Filters::new(&[], &with(vec![String::new(); 40_000]), &node()).unwrap_err();
    assert!(error.starts_with("filters have 120000 bytes"), "{error}");
}

#[test]
fn expressions_have_bounds() {
    let paths =
        |http_path: Vec<String>| Filters::new(&[FlowFilter { http_path, ..FlowFilter::default() }], &[], &node());
    assert!(paths(vec!["^/v1/.*".to_owned(); 64]).is_ok());
    let error = paths(vec!["^/v1/.*".to_owned(); 65]).unwrap_err();
    assert_eq!(error, "invalid http path filter: ^/v1/.*: more than 64 regular expressions; join them with |");
    // One that is written out a million times, and many that are large together.
    for pattern in ["((a{30}){30}){1}(b{100}){10}\\pL{900}", "[^a]{1000}"] {
        let error = paths(vec![pattern.to_owned(); 30]).unwrap_err();
        let wanted = format!("{pattern}: error parsing regexp: expression too large: `{pattern}`");
        assert_eq!(error, format!("invalid http path filter: {wanted}"));
    }
    let deep = "(".repeat(30_000) + &")".repeat(30_000);
    assert!(paths(vec![deep]).unwrap_err().contains("expression nests too deeply"));
    let deep = "a*".to_owned() + &"(?i)*".repeat(12_000);
    assert!(paths(vec![deep]).unwrap_err().contains("expression nests too deeply"));
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let cel = filter(serde_json::json!({"experimental": {"cel_expression": ["_flow.verdict == 1"]}}));
    let error = Filters::new(&[], &[cel], &node()).unwrap_err();
    assert_eq!(error, "CEL expressions are not supported by this server; use other fields of the filter");
    let empty = filter(serde_json::json!({"experimental": {}}));
    assert!(Filters::new(&[empty], &[], &node()).is_ok());
}

#[test]
fn a_status_prefix_is_that_of_its_digits() {
    for text in ["4+", "40+", "404", "5+", "59+", "100", "1+", "50+"] {
        let (first, last) = http::codes(text).unwrap();
        for code in 0..1000 {
            let wanted = match text.strip_suffix('+') {
                Some(prefix) => code != 0 && format!("{code:03}").starts_with(prefix),
                None => code.to_string() == text,
            };
            assert_eq!((first..=last).contains(&code), wanted, "{text} and {code}");
        }
    }
}
