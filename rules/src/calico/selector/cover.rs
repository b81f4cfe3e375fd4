//! Whether one expression selects all that another selects, and whether one can select anything.
//!
//! Must never say yes where it is not certain: a no means nothing. Start at [`Selector::covers`].

use std::collections::BTreeSet;

use super::{Expr, Selector, Test};

/// Comparisons after which the answer is no: expressions may be nested so that each is compared with each.
const MAX_STEPS: usize = 2_000;

impl Selector {
    /// What both select.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Expr::All, only) | (only, Expr::All) => Self(only),
            (one, other) => Self(Expr::and(vec![one, other])),
        }
    }

    /// What has one of these values.
    pub(crate) fn has_one_of(key: &str, values: impl IntoIterator<Item = String>) -> Self {
        Self(Expr::Label(key.to_owned(), Test::In(values.into_iter().collect())))
    }

    /// Whether it certainly selects everything that `narrower` selects.
    pub(crate) fn covers(&self, narrower: &Self) -> bool {
        covers(&self.0, &narrower.0, &mut 0)
    }

    /// Whether it certainly selects nothing, whatever labels there are.
    pub(crate) fn is_never(&self) -> bool {
        self.0.is_never()
    }
}

fn covers(wider: &Expr, narrower: &Expr, steps: &mut usize) -> bool {
    *steps = steps.saturating_add(1);
    if *steps > MAX_STEPS {
        return false;
    }
    match (wider, narrower) {
        (Expr::All, _) => true,
        (wider, narrower) if wider == narrower => true,
        (Expr::And(parts), _) => parts.iter().all(|part| covers(part, narrower, steps)),
        (_, Expr::Or(parts)) => parts.iter().all(|part| covers(wider, part, steps)),
        (Expr::Or(parts), _) if parts.iter().any(|part| covers(part, narrower, steps)) => true,
        (_, Expr::And(parts)) => parts.iter().any(|part| covers(wider, part, steps)),
        (Expr::Not(wider), Expr::Not(narrower)) => covers(narrower, wider, steps),
        (Expr::Has(key), Expr::Label(known, test)) => key == known && !test.holds(None),
        (Expr::Label(key, test), Expr::Label(known, narrower)) => key == known && test.follows(narrower),
        (Expr::Label(key, test), Expr::Not(lacks)) => **lacks == Expr::Has(key.clone()) && test.holds(None),
        (Expr::Not(never), _) => **never == Expr::All && narrower.is_never(),
        (Expr::Or(_) | Expr::Has(_) | Expr::Label(..) | Expr::Global, _) => false,
    }
}

impl Expr {
    fn is_never(&self) -> bool {
        match self {
            Self::Not(inner) => **inner == Self::All,
            Self::Label(_, Test::In(values)) => values.is_empty(),
            Self::Or(parts) => parts.iter().all(Self::is_never),
            Self::And(parts) => {
                parts.iter().any(Self::is_never)
                    || parts.iter().any(|part| parts.iter().any(|other| part.excludes(other)))
            }
            Self::All | Self::Global | Self::Has(_) | Self::Label(..) => false,
        }
    }

    /// Whether nothing can be both, as far as one label tells.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Label(key, Test::Is(value)), Self::Label(known, test)) => key == known && !test.holds(Some(value)),
            (Self::Label(key, Test::In(values)), Self::Label(known, test)) => {
                key == known && !values.iter().any(|value| test.holds(Some(value)))
            }
            (Self::Not(not), other) => {
                **not == *other
                    || matches!((&**not, other), (Self::Has(key), Self::Label(known, test)) if key == known && !test.holds(None))
            }
            _ => false,
        }
    }
}

impl Test {
    /// Whether it holds of everything of which `narrower` does.
    fn follows(&self, narrower: &Self) -> bool {
        let within = |set: &BTreeSet<String>, values: &BTreeSet<String>| set.iter().all(|value| values.contains(value));
        match (self, narrower) {
            (_, Self::Is(value)) => self.holds(Some(value)),
            (_, Self::In(values)) => values.iter().all(|value| self.holds(Some(value))),
            (Self::IsNot(other), Self::NotIn(values)) => values.contains(other),
            (Self::NotIn(set), Self::NotIn(values)) => within(set, values),
            (Self::NotIn(set), Self::IsNot(other)) => set.iter().all(|value| value == other),
            (Self::StartsWith(start), Self::StartsWith(longer)) => longer.starts_with(start),
            (Self::EndsWith(end), Self::EndsWith(longer)) => longer.ends_with(end),
            (Self::Contains(part), Self::Contains(longer) | Self::StartsWith(longer) | Self::EndsWith(longer)) => {
                longer.contains(part)
            }
            _ => self == narrower,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::calico::selector::tests::expr;

    fn parsed(text: &str) -> Selector {
        Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_one_selects_another_selects_too() {
        for (wider, narrower, certain) in [
            ("all()", "a == 'x'", true),
            ("has(a)", "a == 'x'", true),
            ("has(a)", "a in {'x', 'y'}", true),
            ("has(a)", "a starts with 'x'", true),
            ("has(a)", "a != 'x'", false),
            ("has(a)", "b == 'x'", false),
            ("a in {'x', 'y'}", "a == 'x'", true),
            ("a in {'x', 'y'}", "a in {'y'}", true),
            ("a in {'x'}", "a in {'x', 'y'}", false),
            ("a != 'x'", "a == 'y'", true),
            ("a != 'x'", "!has(a)", true),
            ("a == 'x'", "!has(a)", false),
            ("a != 'x'", "a not in {'x', 'y'}", true),
            ("a not in {'x', 'y'}", "a != 'x'", false),
            ("a not in {'x'}", "a != 'x'", true),
            ("a contains 'b'", "a starts with 'abc'", true),
            ("a starts with 'ab'", "a == 'abc'", true),
            ("a starts with 'abc'", "a starts with 'ab'", false),
            ("a == 'x'", "a == 'x' && b == 'y'", true),
            ("a == 'x' && b == 'y'", "b == 'y' && a == 'x' && has(c)", true),
            ("a == 'x' && b == 'y'", "a == 'x'", false),
            ("a == 'x' || b == 'y'", "b == 'y'", true),
            ("a == 'x' || b == 'y'", "b == 'y' || a == 'x'", true),
            ("a == 'x'", "a == 'x' || b == 'y'", false),
            ("a == 'x' || b == 'y'", "b == 'y' && has(c)", true),
            ("!(a == 'x' && b == 'y')", "!(a == 'x')", true),
            ("!(a == 'x')", "!(a == 'x' && b == 'y')", false),
            ("a == 'x'", "a in {}", true),
            ("!all()", "a in {}", true),
            ("!all()", "a == 'x'", false),
        ] {
            assert_eq!(parsed(wider).covers(&parsed(narrower)), certain, "{wider} of {narrower}");
        }
    }

    #[test]
    fn what_selects_nothing_is_known_as_that() {
        for (text, never) in [
            ("a in {}", true),
            ("!all()", true),
            ("a == 'x' && a == 'y'", true),
            ("a == 'x' && a in {'y', 'z'}", true),
            ("a in {'x'} && a != 'x'", true),
            ("has(a) && !has(a)", true),
            ("a == 'x' && !has(a)", true),
            ("a == 'x' && !has(b)", false),
            ("a in {} || b in {}", true),
            ("a in {} || has(b)", false),
            ("a == 'x' && b == 'y'", false),
            ("a == 'x' && a in {'x'}", false),
            ("a != 'x' && a != 'y'", false),
            ("all()", false),
            ("a not in {}", false),
        ] {
            assert_eq!(parsed(text).is_never(), never, "{text}");
        }
    }

    #[test]
    fn comparing_ends() {
        let nested = |depth: usize| {
            (0..depth).fold("has(a)".to_owned(), |text, level| {
                let operator = if level % 2 == 0 { "&&" } else { "||" };
                format!("({text} {operator} has(b{level}) {operator} {text})")
            })
        };
        let (one, other) = (parsed(&nested(8)), parsed(&nested(8).replace('b', "c")));
        let mut steps = 0;
        assert!(!covers(&one.0, &other.0, &mut steps));
        assert!(steps <= MAX_STEPS.saturating_mul(20), "{steps}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_certain_holds_of_all_labels(
            (wider, narrower) in (expr(), expr()),
            labels in proptest::collection::btree_map("[abc]", "[a-c\"]{0,2}", 0..3),
        ) {
            let labels: BTreeMap<String, String> = labels;
            let (wider, narrower) = (Selector(wider), Selector(narrower));
            if wider.covers(&narrower) {
                prop_assert!(!narrower.matches(&labels) || wider.matches(&labels), "{} {}", wider, narrower);
            }
            let both = wider.clone().and(narrower.clone());
            prop_assert_eq!(both.matches(&labels), wider.matches(&labels) && narrower.matches(&labels));
            prop_assert!(!both.is_never() || !both.matches(&labels), "{}", both);
        }
    }
}
