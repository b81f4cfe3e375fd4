//! Context options, one by one.

use super::*;

/// Value of a label that the option makes of a request from `shop/web` to `payments/api`.
fn label(option: &str, name: &str, direction: Direction) -> String {
    let talk = Talk::new(direction);
    of(option, name, &[talk.request("GET", Verdict::Forwarded(None))])
}

fn of(option: &str, name: &str, records: &[Record]) -> String {
    let found = counted(&format!("flow:{option}"), "hubble_flows_processed_total", records);
    let (_, rest) = found[0].split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("{found:?}"));
    rest.split_once('"').unwrap().0.to_owned()
}

#[test]
fn each_identifier_is_what_hubble_makes_of_it() {
    let all_labels = "k8s:app=web-app,k8s:io.kubernetes.pod.namespace=shop";
    for (identifier, wanted) in [
        ("identity", all_labels),
        ("namespace", "shop"),
        ("pod", "shop/web-1"),
        ("pod-name", "web-1"),
        ("dns", "b.example.com,web.example.com"),
        ("ip", "10.0.0.1"),
        ("reserved-identity", ""),
        ("workload", "shop/web"),
        ("workload-name", "web"),
        ("app", "web-app"),
        // The first that is not empty.
        ("reserved-identity|namespace|pod", "shop"),
    ] {
        let option = format!("sourceContext={identifier}");
        assert_eq!(label(&option, "{protocol=\"HTTP\",source", Direction::Egress), wanted, "{identifier}");
    }
    assert_eq!(label("destinationContext=pod", "destination", Direction::Egress), "payments/api-1");
}

#[test]
fn each_label_is_what_hubble_makes_of_it() {
    for (name, wanted) in [
        ("source_ip", "10.0.0.1"),
        ("source_pod", "web-1"),
        ("source_namespace", "shop"),
        ("source_workload", "web"),
        ("source_workload_kind", "Deployment"),
        ("source_app", "web-app"),
        ("destination_ip", "10.0.0.2"),
        ("destination_pod", "api-1"),
        ("destination_namespace", "payments"),
        ("destination_workload", "api"),
        ("destination_workload_kind", "Deployment"),
        ("destination_app", "api-app"),
        ("traffic_direction", "ingress"),
    ] {
        assert_eq!(label(&format!("labelsContext={name}"), name, Direction::Ingress), wanted, "{name}");
    }
}

#[test]
fn each_direction_may_have_its_own() {
    let option = "sourceContext=ip;sourceEgressContext=pod;sourceIngressContext=namespace";
    let name = "{protocol=\"HTTP\",source";
    assert_eq!(label(option, name, Direction::Egress), "shop/web-1");
    assert_eq!(label(option, name, Direction::Ingress), "shop");
    let option = "destinationEgressContext=pod";
    assert_eq!(label(option, "destination", Direction::Egress), "payments/api-1");
    assert_eq!(label(option, "destination", Direction::Ingress), "", "the label is there, and empty");
}

#[test]
fn applications_are_called_by_the_first_label_that_calls_them() {
    let called = |labels: &[&str]| {
        let talk = Talk::new(Direction::Egress);
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let source = (Arc::new(Peer { labels, ..Peer::default() }), talk.0.source.1);
        let ends = Ends { direction: Direction::Egress, source, destination: copy(&talk.0.destination) };
        let talk = Talk(Arc::new(ends));
        let records = [talk.request("GET", Verdict::Forwarded(None))];
        of("sourceContext=app|reserved-identity", "{protocol=\"HTTP\",source", &records)
    };
    assert_eq!(called(&["k8s:app=", "k8s:app.kubernetes.io/name=a", "k8s:k8s-app=b"]), "a");
    assert_eq!(called(&["k8s:k8s-app=b", "k8s:zone=c"]), "b");
    assert_eq!(called(&["reserved:host", "reserved:kube-apiserver"]), "reserved:kube-apiserver");
    assert_eq!(called(&["cidr:1.1.1.1/32=", "reserved:world"]), "reserved:world");
}

/// As Hubble does it: the option of the source is asked about the flow's own source, which of an answer is the server.
#[test]
fn an_answer_is_shown_as_its_request_went() {
    let talk = Talk::new(Direction::Egress);
    let records = [talk.response("GET", 200, 0)];
    let found =
        counted("httpV2:sourceContext=pod;destinationContext=namespace", "hubble_http_requests_total", &records);
    assert!(
        found[0].starts_with("{destination=\"payments/api-1\",") && found[0].contains("source=\"shop\""),
        "{found:?}"
    );
    let swapped = counted("flow:sourceContext=pod", "hubble_flows_processed_total", &records);
    assert!(swapped[0].contains("source=\"payments/api-1\""), "{swapped:?}");
}

/// Nothing of one pair of ends is ever counted for another, whoever lives at the addresses of values that are gone.
#[test]
fn who_comes_to_live_where_another_one_did_is_counted_as_itself() {
    let (mut metrics, _) = metrics(&["flow:labelsContext=source_pod,source_ip"], SERIES);
    for number in 0..5000_u32 {
        let source = Peer { pod: format!("pod-{number}"), ..Peer::default() };
        let address = Ipv4Addr::from_bits(number % 50);
        let talk = Talk::new(Direction::Egress);
        let ends = Ends {
            direction: Direction::Egress,
            source: (Arc::new(source), (address, 80).into()),
            destination: copy(&talk.0.destination),
        };
        let talk = Talk(Arc::new(ends));
        for _ in 0..2 {
            metrics.count(&talk.request("GET", Verdict::Forwarded(None)));
        }
    }
    let found = lines(&metrics, "hubble_flows_processed_total");
    assert_eq!(found.len(), 5000);
    for line in found {
        let number: u32 = line.split_once("source_pod=\"pod-").unwrap().1.split_once('"').unwrap().0.parse().unwrap();
        let address = format!("source_ip=\"{}\"", Ipv4Addr::from_bits(number % 50));
        assert!(line.contains(&address) && line.ends_with(" 2"), "{line}");
    }
}

#[test]
fn each_end_and_each_direction_is_looked_at() {
    let (mut metrics, _) = metrics(&["flow:labelsContext=source_pod,destination_pod,traffic_direction"], SERIES);
    let pods: Vec<End> = (0..30).map(|number| pod("shop", &format!("w{number}"), [10, 0, 0, number])).collect();
    for _ in 0..3 {
        for (source, destination) in pods.iter().flat_map(|source| pods.iter().map(move |other| (source, other))) {
            for direction in [Direction::Ingress, Direction::Egress] {
                let ends = Ends { direction, source: copy(source), destination: copy(destination) };
                metrics.count(&Talk(Arc::new(ends)).request("GET", Verdict::Forwarded(None)));
            }
        }
    }
    let found = lines(&metrics, "hubble_flows_processed_total");
    assert_eq!(found.len(), 30 * 30 * 2);
    assert!(found.iter().all(|line| line.ends_with(" 3")), "{found:?}");
}

/// The library's own tables would take these for the same.
#[test]
fn label_sets_that_read_the_same_in_one_are_two() {
    let (mut metrics, _) = metrics(&["flow:labelsContext=source_namespace,source_pod"], SERIES);
    for (namespace, pod) in [("a", "bc"), ("ab", "c")] {
        let source = Peer { namespace: namespace.to_owned(), pod: pod.to_owned(), ..Peer::default() };
        let talk = Talk::new(Direction::Egress);
        let source = (Arc::new(source), talk.0.source.1);
        let ends = Ends { direction: Direction::Egress, source, destination: copy(&talk.0.destination) };
        metrics.count(&Talk(Arc::new(ends)).request("GET", Verdict::Forwarded(None)));
    }
    assert_eq!(lines(&metrics, "hubble_flows_processed_total").len(), 2);
}
