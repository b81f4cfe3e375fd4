//! Any sequence of calls is compared with lists in which nothing is ever forgotten.

use proptest::collection::vec;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// So many flows, of which one in so many is denied.
    Append(usize, u64),
    Start(Start2),
    /// Reader, items.
    Read(usize, usize),
    Forget(usize),
}

#[derive(Clone, Debug)]
enum Start2 {
    Oldest,
    Now,
    /// As old as the flow of this many before.
    Since(u64),
    /// How many, of which one in so many is wanted.
    Latest(u64, u64),
}

fn step() -> BoxedStrategy<Step> {
    let ago = prop_oneof![0_u64..50, 0_u64..1000];
    let start = prop_oneof![
        Just(Start2::Oldest),
        Just(Start2::Now),
        ago.clone().prop_map(Start2::Since),
        (ago, 1_u64..9).prop_map(|(count, of)| Start2::Latest(count, of)),
    ];
    prop_oneof![
        4 => (prop_oneof![0_usize..4, 0_usize..150], 1_u64..20).prop_map(|(flows, of)| Step::Append(flows, of)),
        2 => start.prop_map(Step::Start),
        4 => (0_usize..4, prop_oneof![0_usize..4, 0_usize..500]).prop_map(|(reader, items)| Step::Read(reader, items)),
        1 => (0_usize..4).prop_map(Step::Forget),
    ]
    .boxed()
}

/// Number and time.
type Known = (u64, SystemTime);

/// Where one starts.
type Reached<'r> = dyn Fn(&Known) -> bool + 'r;

/// All flows, and those of each ring.
#[derive(Default)]
struct Model {
    rings: [Vec<Known>; 2],
}

struct Follower {
    reader: Reader,
    /// Flows of each ring that are behind it.
    places: [usize; 2],
    /// Told as lost, and not yet seen to be missing.
    lost: u64,
    number: u64,
}

impl Model {
    /// First flow of each ring that a new reader is given, if there is no reason to start later.
    fn safe(rings: &Rings) -> [usize; 2] {
        let state = rings.lock();
        state.rings.each_ref().map(|ring| usize::try_from(ring.range(ring.safe()).start).unwrap())
    }

    fn start(&self, rings: &Arc<Rings>, start: &Start2) -> Follower {
        let safe = Self::safe(rings);
        let from = |reached: &Reached<'_>| {
            let [allows, denies] =
                self.rings.each_ref().map(|flows| flows.iter().position(reached).unwrap_or(flows.len()));
            [allows.max(safe[0]), denies.max(safe[1])]
        };
        let (reader, places) = match *start {
            Start2::Oldest => (rings.reader(Start::Oldest), safe),
            Start2::Now => (rings.reader(Start::Now), self.rings.each_ref().map(Vec::len)),
            Start2::Since(ago) => {
                let newest = self
                    .rings
                    .iter()
                    .filter_map(|flows| flows.last())
                    .max()
                    .copied()
                    .unwrap_or((0, SystemTime::UNIX_EPOCH));
                let time = newest.1 - Duration::from_micros(100 * ago);
                (rings.reader(Start::Since(time)), from(&|(_, of)| *of >= time))
            }
            Start2::Latest(count, of) => {
                let readable: Vec<_> = self.rings.iter().zip(safe).flat_map(|(flows, safe)| &flows[safe..]).collect();
                let mut wanted: Vec<u64> =
                    readable.iter().map(|(number, _)| *number).filter(|number| number % of == 0).collect();
                wanted.sort_unstable();
                let all: u64 = rings.stats().readable;
                let first = usize::try_from(count).unwrap().min(wanted.len());
                let first = wanted.get(wanted.len() - first).copied().unwrap_or(u64::MAX);
                let places = if count >= all { safe } else { from(&|(number, _)| *number >= first) };
                (rings.latest(count, u64::MAX, &|flow| flow.number % of == 0), places)
            }
        };
        Follower { reader, places, lost: 0, number: 0 }
    }

    fn read(&self, rings: &Rings, follower: &mut Follower) -> bool {
        match follower.reader.next() {
            None => {
                // It has seen everything, or was told how much it has not.
                let ends = self.rings.each_ref().map(Vec::len);
                let missing: usize = ends.iter().zip(follower.places).map(|(end, place)| end - place).sum();
                assert_eq!(u64::try_from(missing).unwrap(), follower.lost, "flows at the end");
                (follower.places, follower.lost) = (ends, 0);
                return false;
            }
            Some(Item::Lost(lost)) => {
                assert_eq!(lost.source, crate::flow::LostSource::HubbleRingBuffer);
                assert!(lost.count > 0 && lost.first <= lost.last);
                follower.lost += lost.count;
            }
            Some(Item::Flow(flow)) => {
                assert!(flow.number > follower.number, "{} after {}", flow.number, follower.number);
                follower.number = flow.number;
                let ring = usize::from(is_denial(&flow.record));
                let place = self.rings[ring].binary_search(&(flow.number, flow.time)).unwrap();
                let skipped = place - follower.places[ring];
                follower.lost =
                    follower.lost.checked_sub(u64::try_from(skipped).unwrap()).expect("skipped and not told");
                // Nothing is given up that is still there.
                let gone = rings.lock().rings[ring].flows().0;
                assert!(skipped == 0 || u64::try_from(place).unwrap() <= gone, "{place} of {gone}");
                follower.places[ring] = place + 1;
            }
        }
        true
    }
}

proptest! {
    #[test]
    fn readers_are_given_what_lists_say(steps in vec(step(), 1..40), bytes in 3000_usize..30_000, full in 100_usize..1500) {
        let rings = Rings::new(RingConfig { bytes, deny_bytes: bytes / 2 });
        rings.lock().rings.iter_mut().for_each(|ring| ring.seal_at(full));
        let mut traffic = Traffic::new();
        let mut model = Model::default();
        let mut followers: Vec<Follower> = Vec::new();
        for step in steps {
            match step {
                Step::Append(flows, of) => {
                    let flows: Vec<Flow> = traffic.by_ref().take(flows).map(|mut flow| {
                        if flow.number % of == 0 && let Record::Request(http) | Record::Response(http) = &mut flow.record {
                            http.verdict = Verdict::Error;
                        }
                        model.rings[usize::from(is_denial(&flow.record))].push((flow.number, flow.time));
                        flow
                    }).collect();
                    rings.append(flows);
                }
                Step::Start(start) => followers.push(model.start(&rings, &start)),
                Step::Read(reader, items) => {
                    let index = reader % followers.len().max(1);
                    if let Some(follower) = followers.get_mut(index) {
                        for _ in 0..items {
                            if !model.read(&rings, follower) { break }
                        }
                    }
                }
                Step::Forget(reader) => {
                    if reader < followers.len() {
                        followers.remove(reader);
                    }
                }
            }
        }
        for follower in &mut followers {
            while model.read(&rings, follower) {}
            assert!(follower.reader.next().is_none());
        }
    }
}
