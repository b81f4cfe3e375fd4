use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::labels::PodLabels;

/// With so many numbers for pods.
fn small(space: u32) -> Identities {
    Identities { space, ..Identities::new() }
}

fn pod(namespace: &str, app: &str) -> Labels {
    let (labels, none) = ([("app".to_owned(), app.to_owned())].into(), BTreeMap::new());
    PodLabels { namespace, cluster: "c", service_account: None, labels: &labels, namespace_labels: &none }.into()
}

fn label() -> impl Strategy<Value = Label> {
    let text = || prop_oneof![select(vec!["", "a", "aa", "b", "k8s", "a=b"]).prop_map(str::to_owned), "[a-z]{0,3}"];
    (text(), text(), text()).prop_map(|(source, key, value)| Label { source, key, value })
}

/// Of different label sets, in any order.
fn sets() -> impl Strategy<Value = Vec<Labels>> {
    let labels = prop::collection::vec(label(), 1..4).prop_map(Labels::new);
    prop::collection::btree_set(labels, 1..40).prop_map(|sets| sets.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    #[test]
    fn a_number_is_made_of_the_labels((one, other) in sets().prop_flat_map(|sets| {
        (Just(sets.clone()), Just(sets).prop_shuffle())
    })) {
        let (mut here, mut there) = (Identities::new(), Identities::new());
        let numbers: BTreeMap<&Labels, Identity> = one.iter().map(|labels| (labels, here.allocate(labels))).collect();
        prop_assert_eq!(numbers.values().collect::<BTreeSet<_>>().len(), one.len(), "never shared");
        prop_assert!(numbers.values().all(|number| (256..1 << 24).contains(&number.0)), "{:?}", numbers);
        for labels in &other {
            let number = there.allocate(labels);
            // Two of forty want the same one once in twenty thousand runs.
            let place = |labels: &Labels| hash(labels).checked_rem(u64::from(there.space));
            if one.iter().all(|set| set == labels || place(set) != place(labels)) {
                prop_assert_eq!(numbers[labels], number, "on another node, in another order");
            }
            prop_assert_eq!(there.labels(number), Some(labels));
        }
    }

    /// Where nearly every one is wanted by several.
    #[test]
    fn a_number_is_one_label_set_s(sets in sets(), space in 0_u32..8) {
        let mut identities = small(space);
        let mut given = BTreeMap::new();
        for labels in &sets {
            let number = identities.allocate(labels);
            prop_assert!(number.0 >= 256 && given.insert(number, labels).is_none(), "{:?}", number);
            let is_spare = number.0 & Identity::SPARE_SCOPE != 0;
            prop_assert!(is_spare || number.0 < space.saturating_add(256), "{:?}", number);
            prop_assert_eq!(is_spare, given.len() > usize::try_from(space).unwrap(), "only when none is left");
            for (number, labels) in &given {
                prop_assert_eq!(identities.allocate(labels), *number, "it never changes");
                prop_assert_eq!(identities.labels(*number), Some(*labels));
            }
        }
        let mut again = small(space);
        prop_assert!(sets.iter().all(|labels| given[&again.allocate(labels)] == labels), "the same in the same order");
    }
}

#[test]
fn who_comes_later_gets_the_next_one() {
    let (one, other) = (pod("shop", "web"), pod("shop", "api"));
    let number = |space: u32, labels: &Labels| small(space).allocate(labels).0;
    assert_eq!((number(1, &one), number(1, &other)), (256, 256), "both want it");
    let mut identities = small(1);
    let numbers = [&one, &other, &one].map(|labels| identities.allocate(labels).0);
    assert_eq!(numbers, [256, Identity::SPARE_SCOPE, 256]);
    let mut identities = small(2);
    let (first, second) = (identities.allocate(&one).0, identities.allocate(&other).0);
    assert_eq!([first, second].iter().collect::<BTreeSet<_>>(), [256, 257].iter().collect(), "also before it");
}

/// Nodes of different versions must agree.
#[test]
fn numbers_stay_what_they_are() {
    let mut identities = Identities::new();
    let numbers =
        [pod("shop", "web"), pod("shop", "api"), pod("bank", "web")].map(|labels| identities.allocate(&labels));
    assert_eq!(numbers.map(|number| number.0), [2_004_133, 4_504_946, 10_849_201], "as reckoned by other code");
}
