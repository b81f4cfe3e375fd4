#![expect(deprecated, reason = "clients ask for these fields")]

use hubble_api::flow as api;
use proptest::prelude::*;

use super::*;
use crate::flow::{Encoder, NodeNames, Record, testing};

fn paths(paths: &str) -> Vec<String> {
    paths.split_whitespace().map(str::to_owned).collect()
}

fn masked(flow: &api::Flow, mask: &str) -> api::Flow {
    let mut out = Vec::new();
    Mask::new(&paths(mask)).unwrap().apply(&flow.encode_to_vec(), &mut out);
    api::Flow::decode(&*out).unwrap()
}

fn endpoint(pod: &str) -> api::Endpoint {
    let workloads = vec![api::Workload { name: "w".to_owned(), kind: "Job".to_owned() }];
    let labels = vec!["a=b".to_owned(), String::new()];
    api::Endpoint { id: 1, identity: 2, pod_name: pod.to_owned(), workloads, labels, ..Default::default() }
}

fn message() -> api::Flow {
    let http = api::Http { code: 200, method: "GET".to_owned(), ..Default::default() };
    let record = Some(api::layer7::Record::Http(http));
    let tcp = api::Tcp { source_port: 1, destination_port: 443, flags: None };
    api::Flow {
        time: Some(prost_types::Timestamp { seconds: 7, nanos: 8 }),
        verdict: 2,
        ip: Some(api::Ip { source: "10.0.0.1".to_owned(), ip_version: 1, ..Default::default() }),
        l4: Some(api::Layer4 { protocol: Some(api::layer4::Protocol::Tcp(tcp)) }),
        source: Some(endpoint("a")),
        destination: Some(endpoint("b")),
        r#type: 2,
        node_name: "c/n".to_owned(),
        l7: Some(api::Layer7 { r#type: 2, latency_ns: 5, record }),
        is_reply: Some(true),
        node_labels: vec!["x=y".to_owned(), "z=".to_owned()],
        policy_log: vec!["l".to_owned()],
        summary: "s".to_owned(),
        ..Default::default()
    }
}

#[test]
fn fields_are_kept_whole_or_in_part() {
    let flow = message();
    let wanted = api::Flow {
        source: Some(api::Endpoint { identity: 2, pod_name: "a".to_owned(), ..Default::default() }),
        destination: flow.destination.clone(),
        ..Default::default()
    };
    assert_eq!(masked(&flow, "source.identity source.pod_name destination"), wanted);
    let labels = vec!["a=b".to_owned(), String::new()];
    let wanted = api::Flow { source: Some(api::Endpoint { labels, ..Default::default() }), ..Default::default() };
    assert_eq!(masked(&flow, "source.labels"), wanted, "a list as it is");
    let wanted = api::Flow {
        ip: flow.ip.clone(),
        r#type: 2,
        summary: "s".to_owned(),
        time: flow.time,
        is_reply: Some(true),
        node_labels: flow.node_labels.clone(),
        ..Default::default()
    };
    assert_eq!(masked(&flow, "IP Type Summary time is_reply node_labels"), wanted);
    assert_eq!(masked(&flow, ""), flow, "no path keeps everything");
}

#[test]
fn a_path_beats_those_that_it_begins() {
    let flow = message();
    let wanted = api::Flow { source: flow.source.clone(), ..Default::default() };
    for mask in ["source", "source source.identity", "source.identity source", "source.ID source source.labels"] {
        assert_eq!(masked(&flow, mask), wanted, "{mask}");
    }
}

#[test]
fn only_the_member_that_is_there_is_kept() {
    let flow = message();
    let tcp = api::Tcp { destination_port: 443, ..Default::default() };
    let http = api::Http { code: 200, ..Default::default() };
    let wanted = api::Flow {
        l4: Some(api::Layer4 { protocol: Some(api::layer4::Protocol::Tcp(tcp)) }),
        l7: Some(api::Layer7 { record: Some(api::layer7::Record::Http(http)), ..Default::default() }),
        ..Default::default()
    };
    let mask = "l4.TCP.destination_port l4.UDP.destination_port l7.http.code l7.dns.rcode";
    assert_eq!(masked(&flow, mask), wanted);
    let bare = api::Flow { verdict: 2, ..Default::default() };
    assert_eq!(masked(&bare, "verdict l7.http.method source.labels"), bare, "no parent is made");
}

#[test]
fn paths_that_lead_nowhere_are_invalid() {
    for path in [
        "",
        "invalid-path",
        "Source",
        "ip",
        "summary",
        "source.",
        ".source",
        "source..identity",
        "source.id",
        "source.identity.x",
        "source.labels.x",
        "source.workloads.name",
        "node_labels.x",
        "verdict.x",
        "is_reply.x",
        "21001",
    ] {
        assert_eq!(Mask::new(&[path.to_owned()]).unwrap_err(), "invalid fieldmask", "{path}");
        let with_others = ["time".to_owned(), path.to_owned()];
        assert_eq!(Mask::new(&with_others).unwrap_err(), "invalid fieldmask", "{path}");
    }
    for path in [
        "time.seconds",
        "is_reply.value",
        "extensions.type_url",
        "ethernet",
        "tunnel.l4.UDP.source_port",
        "l7.kafka.topic",
    ] {
        assert!(Mask::new(&[path.to_owned()]).is_ok(), "{path}");
    }
    // What `hubble observe` asks for by itself.
    let usual = "time verdict ethernet IP l4 source.identity source.namespace source.pod_name destination.identity \
                 destination.namespace destination.pod_name Type node_name l7 event_type source_service destination_service \
                 is_reply Summary ip_trace_id traffic_direction policy_match_type ingress_allowed_by ingress_denied_by \
                 egress_allowed_by egress_denied_by";
    assert!(Mask::new(&paths(usual)).is_ok());
}

#[test]
fn a_mask_has_at_most_so_many_paths() {
    assert!(Mask::new(&vec!["time".to_owned(); 1024]).is_ok());
    let error = Mask::new(&vec!["time".to_owned(); 1025]).unwrap_err();
    assert_eq!(error, "invalid fieldmask: 1025 paths are more than 1024");
}

#[test]
fn lengths_of_more_than_a_byte_are_written_anew() {
    let labels = vec!["x".repeat(100), "y".repeat(20_000)];
    let long = api::Endpoint { labels: labels.clone(), pod_name: "p".repeat(300), ..Default::default() };
    let flow = api::Flow { source: Some(long), ..Default::default() };
    let kept = api::Endpoint { labels, ..Default::default() };
    assert_eq!(masked(&flow, "source.labels"), api::Flow { source: Some(kept), ..Default::default() });
}

/// Of this many numbers: enough for each field of a flow to be hit.
fn mask() -> BoxedStrategy<Mask> {
    let path = prop::sample::select(paths(
        "time verdict IP IP.source l4 l4.TCP l4.TCP.source_port l4.TCP.flags.SYN source source.labels source.identity \
         destination.workloads Type node_name l7.type l7.http.headers l7.http.url event_type.type is_reply is_reply.value \
         egress_denied_by ingress_allowed_by policy_log Summary extensions extensions.type_url uuid emitter.name",
    ));
    prop::collection::vec(path, 1..6).prop_map(|paths| Mask::new(&paths).unwrap()).boxed()
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(mask in mask(), bytes in any::<Vec<u8>>()) {
        let mut out = Vec::new();
        mask.apply(&bytes, &mut out);
        // Only a length can grow, and only where it was not written as short as it can be.
        prop_assert!(out.len() <= bytes.len());
    }

    /// Cut off or changed anywhere.
    #[test]
    fn no_broken_flow_is_too_much(
        mask in mask(),
        flow in testing::flow(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        Encoder::new(&NodeNames::default(), None).flow(&flow, &mut bytes);
        let mut out = Vec::new();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            mask.apply(&bytes[..at], &mut out);
            bytes[at] = byte;
        }
        mask.apply(&bytes, &mut out);
    }

    #[test]
    fn what_is_kept_is_kept_by_the_same_mask(mask in mask(), flow in testing::flow()) {
        prop_assume!(!matches!(flow.record, Record::Lost(_)));
        let (mut bytes, mut once, mut twice) = (Vec::new(), Vec::new(), Vec::new());
        Encoder::new(&NodeNames::default(), None).flow(&flow, &mut bytes);
        mask.apply(&bytes, &mut once);
        mask.apply(&once, &mut twice);
        prop_assert_eq!(&once, &twice);
        prop_assert!(api::Flow::decode(&*once).is_ok());
        prop_assert!(once.len() < bytes.len());
    }
}
