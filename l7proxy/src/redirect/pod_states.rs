//! Where each pod's state is in the kernel, and when its place may be another pod's.
//!
//! A state is written in place: of an element of a hash map that is replaced, a program may still be reading what is another
//! pod's by then. Start at [`PodStates::switch`].

use std::collections::HashMap;

use aya::maps::{self, Array, MapData};
use redirect_abi::{POD_STATES_ENTRIES, Pod};

use super::{RedirectError, reconcile::ignore_missing};

/// `PODS` and `POD_STATES`.
pub(super) struct PodStates {
    pods: maps::HashMap<MapData, u64, u32>,
    states: Array<MapData, Pod>,
    places: Places,
}

impl PodStates {
    /// Of a process that begins: both are empty.
    pub(super) fn new(pods: maps::HashMap<MapData, u64, u32>, states: Array<MapData, Pod>) -> Self {
        Self { pods, states, places: Places::default() }
    }

    /// From now on the pod is this.
    pub(super) fn switch(&mut self, cookie: u64, state: Pod) -> Result<(), RedirectError> {
        let (place, is_new) = self.places.of(cookie).ok_or_else(no_place)?;
        self.states.set(place, state, 0).map_err(RedirectError::map("POD_STATES"))?;
        if is_new {
            self.pods.insert(cookie, place, 0).map_err(RedirectError::map("PODS"))?;
        }
        Ok(())
    }

    /// From now on it is none.
    pub(super) fn remove(&mut self, cookie: u64) -> Result<(), RedirectError> {
        ignore_missing(self.pods.remove(&cookie), "PODS")?;
        self.places.leave(cookie);
        Ok(())
    }

    /// No program runs any more that read what was removed.
    pub(super) fn settle(&mut self) {
        self.places.settle();
    }
}

fn no_place() -> RedirectError {
    RedirectError::Map {
        map: "POD_STATES",
        reason: format!("more than {POD_STATES_ENTRIES} pods came and went at once"),
    }
}

/// Which places are whose.
#[derive(Debug, Default)]
struct Places {
    of: HashMap<u64, u32>,
    free: Vec<u32>,
    /// Nobody's, but a program may still read them.
    left: Vec<u32>,
    /// All from here on are free too.
    unused: u32,
}

impl Places {
    /// Where a pod is, and whether it just came there.
    fn of(&mut self, cookie: u64) -> Option<(u32, bool)> {
        if let Some(place) = self.of.get(&cookie) {
            return Some((*place, false));
        }
        let place = self.free.pop().or_else(|| {
            let unused = Some(self.unused).filter(|place| *place < POD_STATES_ENTRIES)?;
            self.unused = self.unused.saturating_add(1);
            Some(unused)
        })?;
        self.of.insert(cookie, place);
        Some((place, true))
    }

    fn leave(&mut self, cookie: u64) {
        self.left.extend(self.of.remove(&cookie));
    }

    fn settle(&mut self) {
        self.free.append(&mut self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_away_when_nobody_reads_it() {
        let mut places = Places::default();
        assert_eq!([places.of(10), places.of(20), places.of(10)], [Some((0, true)), Some((1, true)), Some((0, false))]);
        places.leave(10);
        assert_eq!(places.of(30), Some((2, true)), "what 10 had may still be read");
        places.settle();
        assert_eq!([places.of(40), places.of(10)], [Some((0, true)), Some((3, true))]);
        places.leave(50);
        places.settle();
        assert_eq!(places.of(60), Some((4, true)), "who never came leaves nothing");
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut places = Places::default();
        let given = (0..5000).map_while(|cookie| places.of(cookie)).count();
        assert_eq!(u32::try_from(given), Ok(POD_STATES_ENTRIES));
    }
}
