use std::sync::Arc;

use rules::Direction;

use super::*;

fn text(source: impl Source + 'static) -> String {
    let mut exposition = Exposition::default();
    exposition.add(Arc::new(source));
    exposition.text(Vec::new()).unwrap()
}

#[test]
fn every_counter_is_told_with_what_it_counts() {
    let counters = Counters::default();
    count(&counters.heads_too_slow);
    let names = counters.snapshot();
    let text = text(counters);
    for (name, value) in names {
        let help = format!("# HELP l7proxy_{name}_total ");
        let help = text.lines().find_map(|line| line.strip_prefix(&help)).unwrap();
        assert!(help.ends_with('.') && !help.starts_with(' '), "{name}: {help:?}");
        assert!(
            text.contains(&format!("# TYPE l7proxy_{name}_total counter\nl7proxy_{name}_total {value}\n")),
            "{text}"
        );
    }
    assert!(text.contains("\nl7proxy_heads_too_slow_total 1\n"));
}

#[test]
fn requests_are_counted_when_they_come() {
    let counters = Counters::default();
    let (one, other) = (counters.requests.counts(), counters.requests.counts());
    one.came(Direction::Egress, "HTTP/1.1");
    one.came(Direction::Egress, "HTTP/2");
    other.came(Direction::Egress, "HTTP/2");
    other.came(Direction::Ingress, "HTTP/1");
    one.ended(Direction::Egress);
    let text = text(counters);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("l7proxy_http_requests")).collect();
    assert_eq!(
        lines,
        [
            "l7proxy_http_requests_in_flight{direction=\"egress\"} 2",
            "l7proxy_http_requests_in_flight{direction=\"ingress\"} 1",
            "l7proxy_http_requests_total{direction=\"egress\",protocol=\"HTTP/1\"} 0",
            "l7proxy_http_requests_total{direction=\"egress\",protocol=\"HTTP/1.1\"} 1",
            "l7proxy_http_requests_total{direction=\"egress\",protocol=\"HTTP/2\"} 2",
            "l7proxy_http_requests_total{direction=\"ingress\",protocol=\"HTTP/1\"} 1",
            "l7proxy_http_requests_total{direction=\"ingress\",protocol=\"HTTP/1.1\"} 0",
            "l7proxy_http_requests_total{direction=\"ingress\",protocol=\"HTTP/2\"} 0",
        ]
    );
}

#[test]
fn durations_are_in_the_buckets_that_everybody_knows() {
    let histogram = Histogram::default();
    // At a bound, just over it, and over the last one.
    for nanoseconds in [0, 5_000_000, 5_000_001, 10_000_000_000, 10_000_000_001] {
        histogram.observe(nanoseconds);
    }
    let mut family = Family::histogram("h", "H.");
    family.add_histogram(&[("b", "2"), ("a", "1")], &histogram);
    let text = Exposition::default().text(vec![family]).unwrap();
    let bounds: Vec<String> = prometheus::DEFAULT_BUCKETS.iter().map(ToString::to_string).collect();
    let found: Vec<&str> =
        text.lines().filter_map(|line| Some(line.split_once("le=\"")?.1.split_once('"')?.0)).collect();
    assert_eq!(found, bounds.iter().map(String::as_str).chain(["+Inf"]).collect::<Vec<_>>());
    let lines: Vec<&str> = text.lines().skip(2).collect();
    assert_eq!(lines[0], "h_bucket{a=\"1\",b=\"2\",le=\"0.005\"} 2");
    assert_eq!(lines[1], "h_bucket{a=\"1\",b=\"2\",le=\"0.01\"} 3");
    assert_eq!(lines[10], "h_bucket{a=\"1\",b=\"2\",le=\"10\"} 4");
    assert_eq!(lines[11], "h_bucket{a=\"1\",b=\"2\",le=\"+Inf\"} 5");
    assert_eq!(lines[12], "h_sum{a=\"1\",b=\"2\"} 20.010000002");
    assert_eq!(lines[13], "h_count{a=\"1\",b=\"2\"} 5");
}

#[test]
fn label_values_are_escaped() {
    let family = Family::counter("c", "C.").with(&[("a", "x\"\\\n}")], 1);
    assert_eq!(
        Exposition::default().text(vec![family]).unwrap(),
        "# HELP c C.\n# TYPE c counter\nc{a=\"x\\\"\\\\\\n}\"} 1\n"
    );
}

#[test]
fn the_process_tells_its_size_and_version() {
    let text = format!("{}{}", text(Process), text(Build));
    let bytes = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    assert!(bytes.parse::<f64>().unwrap() > 1e6, "{bytes}");
    assert!(text.contains(&format!("l7proxy_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))), "{text}");
}
