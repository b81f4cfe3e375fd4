mod bounds;
mod model;
mod traffic;

use std::fmt::Write;

use proptest::prelude::*;

use self::traffic::Traffic;
use super::*;
use crate::flow::{Asked, testing};

/// All that a flow says.
fn shown(flow: &Flow) -> String {
    let mut text = format!("{} {:?} {:?} ", flow.number, flow.time, flow.headers.text());
    match &flow.record {
        Record::Request(http) | Record::Response(http) => {
            let is_request = matches!(flow.record, Record::Request(_));
            let Asked { ends, http: info, time, .. } = &*http.asked;
            write!(text, "{is_request} {:?} {ends:?} {info:?} {time:?} ", http.time).unwrap();
            let said = (&http.verdict, http.code, http.latency_ns, http.reason, &http.notes, http.revision);
            write!(text, "{said:?}").unwrap();
        }
        Record::Drop(_) | Record::Connection(_) | Record::Lost(_) => write!(text, "{:?}", flow.record).unwrap(),
    }
    text
}

/// Any flows in a row; some are answers to the request before.
fn flows() -> BoxedStrategy<Vec<Flow>> {
    let flow = (testing::flow(), any::<bool>(), 1_u64..4, prop_oneof![1_u64..200_000, 1_u64..10_000_000_000]);
    prop::collection::vec(flow, 1..40)
        .prop_map(|flows| {
            let (mut number, mut time) = (0, SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
            let mut asked: Option<Arc<Asked>> = None;
            let row = flows.into_iter().map(|(mut flow, is_answer, step, nanos)| {
                number += step;
                time += Duration::from_nanos(nanos);
                (flow.number, flow.time) = (number, time);
                match &mut flow.record {
                    Record::Request(http) => asked = Some(Arc::clone(&http.asked)),
                    Record::Response(http) => {
                        if let Some(asked) = asked.take_if(|_| is_answer) {
                            http.asked = asked;
                        }
                    }
                    Record::Drop(_) | Record::Connection(_) | Record::Lost(_) => {}
                }
                flow
            });
            row.collect()
        })
        .boxed()
}

fn read(reader: &mut Reader) -> Vec<Flow> {
    let items = std::iter::from_fn(|| reader.next());
    items.map(|item| if let Item::Flow(flow) = item { flow } else { panic!("{item:?}") }).collect()
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(flows in flows(), full in 64_usize..5000, at_once in 1_usize..20) {
        let rings = Rings::new(RingConfig { bytes: 8 << 20, deny_bytes: 8 << 20 });
        rings.lock().rings.iter_mut().for_each(|ring| ring.seal_at(full));
        let mut follower = rings.reader(Start::Now);
        let wanted: Vec<String> = flows.iter().map(shown).collect();
        let mut followed = Vec::new();
        let mut flows = flows.into_iter().peekable();
        while flows.peek().is_some() {
            rings.append(flows.by_ref().take(at_once).collect());
            followed.extend(read(&mut follower).iter().map(shown));
        }
        prop_assert_eq!(&followed, &wanted);
        let found: Vec<String> = read(&mut rings.reader(Start::Oldest)).iter().map(shown).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn any_text_is_its_shape_with_its_holes_filled(
        text in prop_oneof!["([0-9]{1,20}|[0-9a-f]{1,40}|[/.g-z-]|é|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}){0,6}", any::<String>()]
    ) {
        let (mut shape, mut holes, mut filled) = (Vec::new(), Vec::new(), String::new());
        shape::cut(text.as_bytes(), &mut shape, &mut holes);
        let (mut shape, mut holes) = (numbers::Bytes(&shape), numbers::Bytes(&holes));
        shape::fill(&mut shape, &mut holes, &mut filled).unwrap();
        prop_assert_eq!((&*filled, shape.0, holes.0), (&*text, &[][..], &[][..]));
    }

    #[test]
    fn any_number_is_read_as_it_was_written(number: u64, signed: i64) {
        let mut out = Vec::new();
        numbers::put(&mut out, number);
        numbers::put_signed(&mut out, signed);
        let mut bytes = numbers::Bytes(&out);
        prop_assert_eq!((bytes.number(), bytes.signed(), bytes.0.len()), (Some(number), Some(signed), 0));
        prop_assert_eq!(numbers::nanos(numbers::time(signed)), signed);
    }
}

#[test]
fn ids_take_half_their_digits_and_texts_that_come_again_a_byte() {
    let mut phrases = phrases::Phrases::default();
    phrases.clear();
    let mut bytes = |text: &str| {
        let mut out = Vec::new();
        phrases.put(text.as_bytes(), &mut out);
        out.len()
    };
    assert!(bytes("X-Request-Id:550e8400-e29b-41d4-a716-446655440000\n") < 40);
    assert_eq!(bytes("X-Request-Id:550e8400-e29b-41d4-a716-446655440001\n"), 17);
    assert_eq!(bytes("X-Request-Id:550e8400-e29b-41d4-a716-446655440000\n"), 1);
    bytes("http://api/orders/1");
    assert_eq!(bytes("http://api/orders/1000"), 3);
}
