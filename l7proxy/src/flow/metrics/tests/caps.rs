//! Nobody makes more series than there may be.

use super::*;

#[test]
fn methods_that_a_client_invents_are_one() {
    let talk = Talk::new(Direction::Egress);
    let mut records: Vec<Record> = (0..300).map(|number| talk.response(&format!("X{number}"), 200, 0)).collect();
    records.extend(["get", "GET", "PROPFIND", ""].map(|method| talk.response(method, 200, 0)));
    let found = counted("httpV2", "hubble_http_requests_total", &records);
    let ends = "protocol=\"HTTP/1.1\",reporter=\"client\",status=\"200\"";
    assert_eq!(
        found,
        [
            format!("{{method=\"\",{ends}}} 1"),
            format!("{{method=\"GET\",{ends}}} 1"),
            format!("{{method=\"PROPFIND\",{ends}}} 1"),
            format!("{{method=\"other\",{ends}}} 301"),
        ]
    );
}

/// A server may answer with any status, and a thousand addresses may ask.
#[test]
fn what_finds_no_room_is_one_series_and_is_counted() {
    let (mut metrics, counters) = metrics(&["httpV2:labelsContext=source_ip", "flow"], 10);
    let mut count = 0;
    for status in 100..400 {
        let mut talk = Talk::new(Direction::Egress);
        let ends = Arc::get_mut(&mut talk.0).unwrap();
        ends.source.1 = (Ipv4Addr::from_bits(status), 80).into();
        for _ in 0..3 {
            metrics.count(&talk.response("GET", u16::try_from(status).unwrap(), 7_000_000));
            count += 1;
        }
    }
    let found = lines(&metrics, "hubble_http_requests_total");
    assert_eq!(found.len(), 11);
    let other = found.iter().find(|line| line.contains("=\"other\"")).unwrap();
    let labels = ["method", "protocol", "reporter", "source_ip", "status"].map(|label| format!("{label}=\"other\""));
    assert_eq!(*other, format!("{{{}}} {}", labels.join(","), count - 10 * 3), "sums stay right");
    let durations = lines(&metrics, "hubble_http_request_duration_seconds_count");
    assert_eq!(durations.len(), 11);
    assert!(
        durations.iter().any(|line| line.ends_with(&format!("source_ip=\"other\"}} {}", count - 30))),
        "{durations:?}"
    );
    // Of two metrics, each label set once: the second and third time it is known.
    assert_eq!(counters.metrics_series_dropped.load(Ordering::Relaxed), 2 * (300 - 10));
    let flows = lines(&metrics, "hubble_flows_processed_total");
    assert_eq!(flows.len(), 1, "others have room of their own");
}

/// A request of this pod, at this minute.
fn seen(pod: &str, minute: u64) -> Record {
    let mut talk = Talk::new(Direction::Egress);
    Arc::get_mut(&mut talk.0).unwrap().source.0 = Arc::new(Peer { pod: pod.to_owned(), ..Peer::default() });
    let mut http = talk.http("GET", Verdict::Forwarded(None), 0, 0);
    http.time = EPOCH + Duration::from_mins(minute);
    Record::Request(http)
}

#[test]
fn series_of_pods_that_are_gone_give_their_room_to_others() {
    let (mut metrics, _) = metrics(&["flow:labelsContext=source_pod"], 3);
    let pods = |metrics: &Metrics| {
        let lines = lines(metrics, "hubble_flows_processed_total");
        let pod = |line: &String| {
            let (pod, rest) = line.split_once("source_pod=\"").unwrap().1.split_once('"').unwrap();
            format!("{pod} {}", rest.split_once("} ").unwrap().1)
        };
        let mut pods: Vec<String> = lines.iter().map(pod).collect();
        pods.sort();
        pods
    };
    let (stays, a) = (seen("stays", 0), seen("a", 0));
    for record in [&stays, &a, &seen("b", 0), &seen("c", 0)] {
        metrics.count(record);
    }
    assert_eq!(pods(&metrics), ["a 1", "b 1", "other 1", "stays 1"]);
    metrics.count(&stays);
    metrics.count(&seen("d", 9));
    assert_eq!(pods(&metrics), ["a 1", "b 1", "other 2", "stays 2"], "too early to say");
    metrics.count(&seen("e", 10));
    assert_eq!(pods(&metrics), ["e 1", "other 2", "stays 2"]);
    // What is known of records is not of series that were given up.
    metrics.count(&stays);
    metrics.count(&a);
    assert_eq!(pods(&metrics), ["a 1", "e 1", "other 2", "stays 3"]);
}
