//! How much there is room for, and what is forgotten for what.

use std::thread;

use rules::{Denial, Direction, MatchType, Nearest, PolicyKey, RuleRef};

use super::*;
use crate::{
    endpoint::Peer,
    flow::{DropReason, DropRecord, Ends, Headers, HttpRecord},
};

const SMALL: RingConfig = RingConfig { bytes: 1 << 20, deny_bytes: 1 << 20 };

fn http(flow: &mut Flow) -> &mut HttpRecord {
    match &mut flow.record {
        Record::Request(http) | Record::Response(http) => http,
        Record::Drop(_) | Record::Connection(_) | Record::Lost(_) => unreachable!("traffic is HTTP"),
    }
}

fn denied(mut flow: Flow) -> Flow {
    http(&mut flow).verdict = Verdict::Error;
    flow
}

fn peer(number: u64) -> Arc<Peer> {
    Arc::new(Peer { pod: format!("pod-{number}"), labels: vec![format!("k8s:app={number}"); 5], ..Peer::default() })
}

/// Of two peers that nobody else has.
fn strangers(mut flow: Flow) -> Flow {
    let ends = Ends {
        direction: Direction::Egress,
        source: (peer(flow.number), ([10, 0, 0, 1], 4000).into()),
        destination: (peer(flow.number + 1), ([10, 0, 0, 2], 80).into()),
    };
    let mut http = Traffic::info(&http(&mut flow).asked);
    http.url.push_str("?stranger");
    self::http(&mut flow).asked = testing::asked(Arc::new(ends), http);
    flow
}

/// With a URL and fields as long as they may be, which nothing makes shorter.
fn long_ones(mut flow: Flow) -> Flow {
    let mut random = flow.number | 1;
    let mut letters = |count| -> String {
        let letter = |_| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            char::from(b'A' + u8::try_from(random >> 59).unwrap())
        };
        (0..count).map(letter).collect()
    };
    let mut http = Traffic::info(&http(&mut flow).asked);
    http.url = letters(8 << 10);
    flow.headers = Headers::of_text(&format!("X-A:{}\n", letters(8 << 10)));
    let ends = Arc::clone(&self::http(&mut flow).asked.ends);
    self::http(&mut flow).asked = testing::asked(ends, http);
    flow
}

fn rule(number: u64) -> Arc<RuleRef> {
    let policy = PolicyKey {
        kind: rules::Kind::CiliumNetworkPolicy,
        namespace: "default".to_owned(),
        name: format!("policy-{number}"),
    };
    let (rule, summary) = (format!("ingress[{number}]"), format!("GET /{number}"));
    Arc::new(RuleRef { policy: Arc::new(policy), rule, summary, log: None, matches: MatchType::None })
}

/// Each for another reason.
fn denials(mut flow: Flow) -> Flow {
    let nearest = Nearest { rule: rule(flow.number), field: "path".to_owned(), expected: "/".repeat(200) };
    let denial = Box::new(Denial { nearest: Some(nearest), ..Denial::by(&rule(flow.number)) });
    http(&mut flow).verdict = Verdict::Dropped { reason: DropReason::PolicyDenied, denial };
    flow
}

fn drops(mut flow: Flow) -> Flow {
    let record = DropRecord {
        is_verdict: false,
        time: flow.time,
        direction: Direction::Egress,
        protocol: 6,
        source: (peer(flow.number), ([10, 0, 0, 1], 4000).into()),
        destination: (peer(flow.number), ([10, 0, 0, 2], 80).into()),
        denied_by: Arc::new([]),
        rule: Some(rule(flow.number)),
        tier: None,
        nearest: None,
        audit: false,
        process: None,
        reason: DropReason::PolicyDenied,
        detail: "no-rule",
        flags: 2,
        backends: Some(vec!["default/web-1".to_owned(); 20]),
        repeats: 0,
        revision: 3,
    };
    (flow.headers, flow.record) = (Headers::default(), Record::Drop(Box::new(record)));
    flow
}

#[test]
fn no_flood_takes_more_than_the_bound() {
    let plain: fn(Flow) -> Flow = |flow| flow;
    for (name, flood, flows) in [
        ("requests", plain, 24_000),
        ("strangers", strangers, 3000),
        ("long ones", long_ones, 300),
        ("denials", denials, 3000),
        ("drops", drops, 2000),
    ] {
        let rings = Rings::new(SMALL);
        let mut traffic = Traffic::new();
        for _ in 0..flows / 50 {
            rings.append(traffic.by_ref().take(50).map(flood).collect());
            for ring in &rings.lock().rings {
                assert!(ring.bytes() <= ring.bound(), "{name}: {} bytes", ring.bytes());
            }
        }
        let told = rings.stats();
        assert!(told.evicted > 0, "{name}: {told:?}");
        assert_eq!(told.evicted + told.readable, told.seen, "{name}");
        assert!(told.bytes > SMALL.bytes * 3 / 4, "{name}: {told:?}");
        // What was counted is not counted any more when it is gone.
        let kept = rings.lock().rings.iter().map(Ring::values).sum::<usize>();
        assert!(kept < 20_000, "{name}: {kept}");
    }
}

#[test]
fn neither_kind_pushes_the_other_out() {
    for is_flood_denied in [false, true] {
        let as_it_is = |flow, is_denied| if is_denied { denied(flow) } else { flow };
        let rings = Rings::new(RingConfig { bytes: 64 << 10, deny_bytes: 64 << 10 });
        let mut traffic = Traffic::new();
        rings.append(traffic.by_ref().take(10).map(|flow| as_it_is(flow, !is_flood_denied)).collect());
        rings.append(traffic.by_ref().take(5000).map(|flow| as_it_is(flow, is_flood_denied)).collect());
        assert!(rings.stats().evicted > 1000);
        let found = read(&mut rings.reader(Start::Oldest));
        let numbers: Vec<u64> = found.iter().map(|flow| flow.number).take(11).collect();
        assert_eq!(numbers[..10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(numbers[10] > 1000, "the flood pushed itself out");
        assert_eq!(found.last().map(|flow| flow.number), Some(5010));
    }
}

#[test]
fn a_minute_of_5000_requests_a_second_fits() {
    // All is smaller by this.
    const SCALE: usize = 40;
    let RingConfig { bytes, deny_bytes } = RingConfig::default();
    assert_eq!(bytes + deny_bytes, 64 << 20);
    let rings = Rings::new(RingConfig { bytes: bytes / SCALE, deny_bytes: deny_bytes / SCALE });
    let flows = 600_000 / SCALE;
    let mut traffic = Traffic::new();
    for _ in 0..flows / 100 {
        rings.append(traffic.by_ref().take(100).collect());
    }
    let told = rings.stats();
    assert_eq!((told.readable, told.evicted), (long(flows), 0), "{told:?}");
    assert!(told.capacity >= told.readable);
}

#[test]
fn the_rate_is_that_of_the_last_minute() {
    let rings = Rings::new(SMALL);
    assert_eq!(rings.stats().rate.to_bits(), 0, "none yet");
    let mut traffic = Traffic::new();
    let flows: Vec<Flow> = traffic.by_ref().take(300).collect();
    let start = flows[0].time;
    rings.append(flows);
    let rate = |seconds| rings.stats_at(start + Duration::from_secs(seconds)).rate;
    assert!((rate(10) - 30.0).abs() < 0.001, "{}", rate(10));
    assert!((rate(59) - 300.0 / 59.0).abs() < 0.001, "{}", rate(59));
    assert_eq!(rate(120).to_bits(), 0, "long ago");
    let told = rings.stats();
    assert_eq!((told.readable, told.seen, told.evicted, told.oldest), (300, 300, 0, Some(start)));
}

#[test]
fn who_reads_while_another_writes_misses_nothing_that_is_not_told() {
    const FLOWS: u64 = 6000;
    let rings = Rings::new(RingConfig { bytes: 100 << 10, deny_bytes: 50 << 10 });
    thread::scope(|scope| {
        for pause in [0_u64, 0, 700] {
            let mut reader = rings.reader(Start::Now);
            let mut changed = rings.changed();
            scope.spawn(move || {
                let (mut flows, mut missed, mut newest) = (0, 0, 0);
                while newest < FLOWS {
                    match reader.next() {
                        Some(Item::Flow(flow)) => {
                            assert!(flow.number > newest);
                            (flows, newest) = (flows + 1, flow.number);
                            if pause > 0 && flows % pause == 0 {
                                // Until it is overtaken, or there is no more.
                                while *changed.borrow_and_update() < (newest + 2000).min(FLOWS) {
                                    thread::yield_now();
                                }
                            }
                        }
                        Some(Item::Lost(told)) => missed += told.count,
                        None => thread::yield_now(),
                    }
                }
                assert_eq!(flows + missed, FLOWS);
                assert!(reader.next().is_none());
            });
        }
        let mut traffic = Traffic::new();
        let mut left = FLOWS;
        while left > 0 {
            let flows: Vec<Flow> =
                traffic.by_ref().take(60).map(|flow| if flow.number % 10 == 0 { denied(flow) } else { flow }).collect();
            left -= long(flows.len());
            rings.append(flows);
        }
    });
}
