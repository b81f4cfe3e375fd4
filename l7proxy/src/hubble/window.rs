//! Which of many records a request asks for: how many, from where, until when.
//!
//! Owns the meaning of `number`, `first`, `follow`, `since` and `until` together. Never knows what is recorded. Start at
//! [`Window::new`].

use std::time::SystemTime;

use prost_types::Timestamp;
use tonic::Status;

/// What `--all` of the command `hubble` sends.
const ALL: u64 = u64::MAX;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) begin: Begin,
    /// At most so many; `None`: all.
    pub(super) limit: Option<u64>,
    pub(super) follow: bool,
    until: Option<SystemTime>,
}

/// Where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With the oldest.
    Oldest,
    /// With what comes next.
    Now,
    /// With the first that is not before.
    Since(SystemTime),
    /// So that there are so many up to the newest.
    Last(u64),
}

impl Window {
    pub(super) fn new(
        (number, first, follow): (u64, bool, bool),
        (since, until): (Option<&Timestamp>, Option<&Timestamp>),
    ) -> Result<Self, Status> {
        if first && follow {
            return Err(Status::invalid_argument("first cannot be specified with follow"));
        }
        let begin = match (time("since", since)?, number) {
            (Some(since), _) => Begin::Since(since),
            (None, 0) if follow => Begin::Now,
            (None, 0 | ALL) => Begin::Oldest,
            (None, _) if first => Begin::Oldest,
            (None, number) => Begin::Last(number),
        };
        let limit = Some(number).filter(|number| ![0, ALL].contains(number) && !follow);
        Ok(Self { begin, limit, follow, until: time("until", until)? })
    }

    /// Whether `time` comes too early.
    pub(super) fn is_before(&self, time: SystemTime) -> bool {
        matches!(self.begin, Begin::Since(since) if time < since)
    }

    /// Whether nothing from `time` on is asked for.
    pub(super) fn is_after(&self, time: SystemTime) -> bool {
        self.until.is_some_and(|until| time > until)
    }
}

fn time(name: &str, value: Option<&Timestamp>) -> Result<Option<SystemTime>, Status> {
    let value = value.map(|value| SystemTime::try_from(*value));
    value.transpose().map_err(|error| Status::invalid_argument(format!("{name}: {error}")))
}

/// As Hubble's messages have it.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn window(number: u64, first: bool, follow: bool, since: Option<i64>) -> Window {
        Window::new((number, first, follow), (since.map(at).as_ref(), None)).unwrap()
    }

    #[test]
    fn every_form_has_its_meaning() {
        let second = Begin::Since(UNIX_EPOCH + Duration::from_secs(1));
        for (number, first, follow, since, begin, limit) in [
            (0, false, false, None, Begin::Oldest, None),
            (20, false, false, None, Begin::Last(20), Some(20)),
            (20, true, false, None, Begin::Oldest, Some(20)),
            (0, true, false, None, Begin::Oldest, None),
            (0, false, true, None, Begin::Now, None),
            (20, false, true, None, Begin::Last(20), None),
            (ALL, false, false, None, Begin::Oldest, None),
            (ALL, false, true, None, Begin::Oldest, None),
            (0, false, false, Some(1), second, None),
            (3, false, false, Some(1), second, Some(3)),
            (3, false, true, Some(1), second, None),
        ] {
            let window = window(number, first, follow, since);
            assert_eq!((window.begin, window.limit), (begin, limit), "{number} {first} {follow} {since:?}");
        }
    }

    #[test]
    fn the_first_cannot_be_followed() {
        let error = Window::new((1, true, true), (None, None)).unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        assert_eq!(error.message(), "first cannot be specified with follow");
    }

    #[test]
    fn both_ends_belong_to_it() {
        let window = Window::new((0, false, false), (Some(&at(5)), Some(&at(7)))).unwrap();
        let second = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(window.is_before(second(4)) && !window.is_before(second(5)));
        assert!(window.is_after(second(8)) && !window.is_after(second(7)));
        let error = Window::new((0, false, false), (Some(&at(i64::MIN)), None)).unwrap_err();
        assert!(error.message().starts_with("since: "), "{error}");
    }
}
