use hubble_api::observer::ServerStatusRequest;
use prost_types::{FieldMask, Timestamp};

use super::{stage::time, *};
use crate::flow::RingConfig;

const ALL: u64 = u64::MAX;

/// What is asked for, and the numbers of the answer.
type Form<'n> = (GetFlowsRequest, &'n [u64]);

fn last(number: u64) -> GetFlowsRequest {
    GetFlowsRequest { number, ..GetFlowsRequest::default() }
}

fn follow() -> GetFlowsRequest {
    GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }
}

fn at(number: u64) -> Timestamp {
    time(number).into()
}

fn denied() -> Vec<api::FlowFilter> {
    vec![api::FlowFilter { verdict: vec![api::Verdict::Dropped.into()], ..api::FlowFilter::default() }]
}

#[tokio::test]
async fn each_form_of_a_request_gets_its_flows() {
    let mut stage = Stage::new();
    stage.append(10, 3);
    let all: Vec<u64> = (1..=10).collect();
    let default = GetFlowsRequest::default;
    let forms: [Form<'_>; 17] = [
        (default(), &all),
        (last(ALL), &all),
        (last(100), &all),
        (last(2), &[9, 10]),
        (GetFlowsRequest { first: true, ..last(2) }, &[1, 2]),
        (GetFlowsRequest { whitelist: denied(), ..last(2) }, &[6, 9]),
        (GetFlowsRequest { whitelist: denied(), first: true, ..last(2) }, &[3, 6]),
        (GetFlowsRequest { whitelist: denied(), ..last(ALL) }, &[3, 6, 9]),
        (GetFlowsRequest { since: Some(at(8)), ..default() }, &[8, 9, 10]),
        (GetFlowsRequest { since: Some(at(3)), until: Some(at(5)), ..default() }, &[3, 4, 5]),
        (GetFlowsRequest { until: Some(at(2)), ..default() }, &[1, 2]),
        // The earliest that are late enough.
        (GetFlowsRequest { since: Some(at(4)), ..last(3) }, &[4, 5, 6]),
        (GetFlowsRequest { since: Some(at(4)), whitelist: denied(), ..last(1) }, &[6]),
        // The latest that are early enough.
        (GetFlowsRequest { until: Some(at(7)), ..last(3) }, &[5, 6, 7]),
        (GetFlowsRequest { until: Some(at(8)), whitelist: denied(), ..last(1) }, &[6]),
        (GetFlowsRequest { since: Some(at(11)), ..default() }, &[]),
        (GetFlowsRequest { until: Some(at(0)), ..default() }, &[]),
    ];
    for (request, expected) in forms {
        assert_eq!(stage.numbers(request.clone()).await, expected, "{request:?}");
    }
}

#[tokio::test]
async fn there_is_nothing_where_nothing_was() {
    let stage = Stage::new();
    for request in [GetFlowsRequest::default(), last(20), last(ALL), GetFlowsRequest { first: true, ..last(3) }] {
        assert_eq!(stage.numbers(request.clone()).await, [0; 0], "{request:?}");
    }
}

#[tokio::test]
async fn every_answer_has_time_and_node_and_the_level_of_the_api() {
    let mut stage = Stage::new();
    stage.append(1, 7);
    let answer = stage.observer().await.get_flows(last(1)).await.unwrap();
    assert_eq!(answer.metadata().get("hubble-server-version").unwrap(), "1.17.0");
    let response = answer.into_inner().message().await.unwrap().unwrap();
    assert_eq!(response.node_name, "cluster1/node-a");
    assert_eq!(response.time, Some(at(1)));
    let Some(ResponseTypes::Flow(flow)) = response.response_types else { panic!("{response:?}") };
    assert_eq!((flow.time, flow.node_name.as_str()), (Some(at(1)), "cluster1/node-a"));
    assert_eq!(flow.node_labels, ["zone=a"]);
    assert_eq!(flow.l7.unwrap().r#type(), api::L7FlowType::Request);
}

#[tokio::test]
async fn a_mask_leaves_what_it_names_and_filters_see_the_rest() {
    let mut stage = Stage::new();
    stage.append(3, 2);
    let paths = vec!["uuid".to_owned(), "source.pod_name".to_owned()];
    let request = GetFlowsRequest { field_mask: Some(FieldMask { paths }), whitelist: denied(), ..last(5) };
    let mut stream = stage.flows(request).await;
    let response = stream.message().await.unwrap().unwrap();
    // Of the flow, though the mask leaves it no time.
    assert_eq!((response.time, response.node_name.as_str()), (Some(at(2)), "cluster1/node-a"));
    let Some(ResponseTypes::Flow(flow)) = response.response_types else { panic!("{response:?}") };
    assert!(!flow.uuid.is_empty());
    let source = api::Endpoint { pod_name: "web-1".to_owned(), ..api::Endpoint::default() };
    assert_eq!(flow, api::Flow { uuid: flow.uuid.clone(), source: Some(source), ..api::Flow::default() });
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_wrong_is_told_as_hubble_tells_it() {
    let stage = Stage::new();
    let refused = async |request| {
        let status = stage.observer().await.get_flows(request).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let status = api::FlowFilter { http_status_code: vec!["9xx".to_owned()], ..api::FlowFilter::default() };
    assert_eq!(
        refused(GetFlowsRequest { whitelist: vec![status], ..last(1) }).await,
        (Code::Unknown, "invalid http status code filter: invalid status code prefix: \"9xx\"".to_owned())
    );
    let (code, text) = refused(GetFlowsRequest { first: true, ..follow() }).await;
    assert_eq!((code, text.as_str()), (Code::InvalidArgument, "first cannot be specified with follow"));
    let mask = FieldMask { paths: vec!["nope".to_owned()] };
    let (code, text) = refused(GetFlowsRequest { field_mask: Some(mask), ..last(1) }).await;
    assert!(code == Code::Unknown && text.contains("invalid fieldmask"), "{code:?} {text}");
}

#[tokio::test]
async fn who_follows_gets_what_comes_until_it_leaves() {
    let mut stage = Stage::new();
    stage.append(5, 100);
    let mut now = stage.flows(follow()).await;
    let mut two = stage.flows(GetFlowsRequest { number: 2, ..follow() }).await;
    let mut since = stage.flows(GetFlowsRequest { since: Some(at(4)), number: 1, ..follow() }).await;
    let mut drops = stage.flows(GetFlowsRequest { whitelist: denied(), ..follow() }).await;
    for expected in [4, 5] {
        for stream in [&mut two, &mut since] {
            assert_eq!(stage::number(&stream.message().await.unwrap().unwrap()), expected);
        }
    }
    stage.append(1, 100);
    stage.append(2, 8);
    for stream in [&mut now, &mut two, &mut since] {
        for expected in 6..=8 {
            assert_eq!(stage::number(&stream.message().await.unwrap().unwrap()), expected);
        }
    }
    assert_eq!(stage::number(&drops.message().await.unwrap().unwrap()), 8);
    assert_eq!(stage.hubble().open().1, 4);
    drop((now, two, since, drops));
    stage.until(|stage| stage.hubble().open().1 == 0).await;
}

#[tokio::test]
async fn following_ends_where_it_was_asked_to() {
    let mut stage = Stage::new();
    stage.append(2, 100);
    let mut stream = stage.flows(GetFlowsRequest { number: 1, until: Some(at(4)), ..follow() }).await;
    assert_eq!(stage::number(&stream.message().await.unwrap().unwrap()), 2);
    stage.append(5, 100);
    assert_eq!(numbers(&mut stream).await, [3, 4]);
}

/// How many flows, and how many are told to be missing.
async fn sum(stream: &mut Streaming<GetFlowsResponse>, newest: u64) -> (u64, u64, u64) {
    let (mut flows, mut lost, mut events) = (0, 0, 0);
    loop {
        let response = stream.message().await.unwrap().unwrap();
        assert_eq!(response.node_name, "cluster1/node-a");
        match &response.response_types {
            Some(ResponseTypes::LostEvents(event)) => {
                assert_eq!(event.source(), api::LostEventSource::HubbleRingBuffer);
                lost += event.num_events_lost;
                events += 1;
            }
            _ => flows += 1,
        }
        let is_last =
            matches!(response.response_types, Some(ResponseTypes::Flow(_))) && stage::number(&response) == newest;
        if is_last {
            return (flows, lost, events);
        }
    }
}

#[tokio::test]
async fn who_does_not_read_is_overtaken_and_told_how_far() {
    let rings = RingConfig { bytes: 512 << 10, deny_bytes: 512 << 10 };
    let mut stage = Stage::with(Limits::default(), rings, "");
    let mut quick = stage.flows(follow()).await;
    let mut slow = stage.flows(GetFlowsRequest { number: 1, ..follow() }).await;
    // Ten times what the rings have room for, and what is under way to it.
    let mut newest = 0;
    let mut read = 0;
    while stage.sources.rings.stats().evicted < 10_000 {
        stage.append(500, u64::MAX);
        newest += 500;
        while read < newest {
            let response = quick.message().await.unwrap().unwrap();
            read = stage::number(&response);
        }
    }
    // It reads now, and those that come are its own too.
    stage.append(1, u64::MAX);
    let (flows, lost, events) = sum(&mut slow, newest + 1).await;
    assert_eq!(flows + lost, newest + 1);
    assert!(lost > 0 && events == 1, "{flows} flows, {lost} lost in {events} events");
    assert_eq!(stage.counted("hubble_flows_lost"), lost);
}

#[tokio::test]
async fn what_the_writer_lost_is_told_whatever_is_asked_for() {
    let mut stage = Stage::new();
    stage.append(2, 100);
    stage.lose(5);
    stage.append(1, 100);
    stage.lose(7);
    let mut stream = stage.flows(GetFlowsRequest { whitelist: denied(), ..GetFlowsRequest::default() }).await;
    let response = stream.message().await.unwrap().unwrap();
    let Some(ResponseTypes::LostEvents(event)) = &response.response_types else { panic!("{response:?}") };
    assert_eq!(event.source(), api::LostEventSource::ObserverEventsQueue);
    assert_eq!((event.num_events_lost, event.first, event.last), (12, Some(at(3)), Some(at(5))));
    assert_eq!((response.time, response.node_name.as_str()), (Some(at(5)), "cluster1/node-a"));
    assert!(stream.message().await.unwrap().is_none());
    // They are nobody's number.
    let mut stream = stage.flows(last(2)).await;
    let mut flows = 0;
    while let Some(response) = stream.message().await.unwrap() {
        flows += u32::from(matches!(response.response_types, Some(ResponseTypes::Flow(_))));
    }
    assert_eq!(flows, 2);
}

#[tokio::test]
async fn a_query_ends_with_what_was_there_when_it_was_asked() {
    let mut stage = Stage::new();
    stage.append(20_000, 100);
    // More than is under way to who does not read.
    let mut stream = stage.flows(GetFlowsRequest::default()).await;
    assert_eq!(stage::number(&stream.message().await.unwrap().unwrap()), 1);
    stage.append(10, 100);
    assert_eq!(numbers(&mut stream).await, (2..=20_000).collect::<Vec<u64>>());
}

#[tokio::test]
async fn others_are_answered_while_nobody_reads() {
    let mut stage = Stage::new();
    stage.append(20_000, 100);
    let client = stage.observer().await;
    // On one connection, whose other streams have windows of their own.
    let stuck: Vec<_> = [(); 2].map(|()| client.clone()).into();
    let mut streams = Vec::new();
    for mut client in stuck {
        streams.push(client.get_flows(GetFlowsRequest::default()).await.unwrap());
    }
    assert_eq!(stage.numbers(last(1)).await, [20_000]);
    drop(streams);
}

#[tokio::test]
async fn others_are_answered_while_a_query_looks_through_everything() {
    let mut stage = Stage::new();
    stage.append(20_000, u64::MAX);
    let mut other = stage.observer().await;
    other.server_status(ServerStatusRequest {}).await.unwrap();
    let mut long = stage.flows(GetFlowsRequest { whitelist: denied(), ..GetFlowsRequest::default() }).await;
    tokio::select! {
        biased;
        end = long.message() => panic!("it was answered first: {end:?}"),
        status = other.server_status(ServerStatusRequest {}) => drop(status.unwrap()),
    }
    assert!(long.message().await.unwrap().is_none());
}
