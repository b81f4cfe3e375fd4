//! Which patterns a path may match, told by the words in it: it is read once, however many patterns there are.
//!
//! Words are those without which a pattern does not match. Must never leave out a pattern that matches. Start at
//! [`Filter::candidates`].

use std::{cmp::Reverse, collections::HashMap, fmt};

use aho_corasick::{Anchored, automaton::Automaton as _, nfa::contiguous::NFA};
use smallvec::SmallVec;

use crate::pattern::{AnyOf, shortest};

/// To ask more patterns than these one by one costs more than to ask them together: a word that would bring more is not
/// looked for.
pub(super) const MAX_CROWD: usize = 8;
/// All words together may have so many bytes; memory is some twenty times that while the filter is made.
const MAX_BYTES: usize = 512 << 10;

type Words<'p> = Vec<&'p [u8]>;

pub(super) struct Filter {
    words: NFA,
    /// The patterns that each word brings.
    brings: Box<[Vec<usize>]>,
}

impl Filter {
    /// `required`: of each pattern. Also says which patterns it is not about, by their places.
    pub(super) fn new<'p>(required: impl Iterator<Item = &'p [AnyOf]> + Clone) -> (Option<Self>, Vec<usize>) {
        let crowds = crowds(required.clone());
        let crowd = |words: &AnyOf| {
            let crowds = words.iter().map(|word| crowds.get(word.as_slice()).copied().unwrap_or(usize::MAX));
            crowds.max().unwrap_or(usize::MAX)
        };
        let mut chosen: HashMap<&[u8], Vec<usize>> = HashMap::new();
        let mut others = Vec::new();
        for (pattern, required) in required.clone().enumerate() {
            let rarest = required.iter().min_by_key(|words| (crowd(words), Reverse(shortest(words))));
            match rarest.filter(|words| crowd(words) <= MAX_CROWD) {
                Some(words) => words.iter().for_each(|word| chosen.entry(word).or_default().push(pattern)),
                None => others.push(pattern),
            }
        }
        let (words, brings): (Words<'_>, Vec<_>) = chosen.into_iter().unzip();
        match search(&words) {
            Some(words) => (Some(Self { words, brings: brings.into() }), others),
            None => (None, (0..required.count()).collect()),
        }
    }

    /// The patterns that `path` has a word of, ascending.
    pub(super) fn candidates(&self, path: &[u8]) -> SmallVec<[usize; 4]> {
        let mut candidates: SmallVec<[usize; 4]> = SmallVec::new();
        each(&self.words, path, |word| {
            candidates.extend_from_slice(self.brings.get(word).map(Vec::as_slice).unwrap_or_default());
        });
        if candidates.len() > 1 {
            candidates.sort_unstable();
            candidates.dedup();
        }
        candidates
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("words", &self.brings.len()).finish_non_exhaustive()
    }
}

/// How many patterns have each word in a word of theirs: no more of them are candidates by words that end at one place.
fn crowds<'p>(required: impl Iterator<Item = &'p [AnyOf]>) -> HashMap<&'p [u8], usize> {
    let mut room = MAX_BYTES;
    let mut patterns: HashMap<&[u8], usize> = HashMap::new();
    for word in required.flatten().flatten() {
        if let Some(count) = patterns.get_mut(word.as_slice()) {
            *count = count.saturating_add(1);
        } else if let Some(left) = room.checked_sub(word.len()) {
            room = left;
            patterns.insert(word, 1);
        }
    }
    let (words, patterns): (Words<'_>, Vec<usize>) = patterns.into_iter().unzip();
    let mut crowds = vec![0_usize; words.len()];
    let Some(search) = search(&words) else { return HashMap::new() };
    for (word, patterns) in words.iter().zip(patterns) {
        let mut inside = Vec::new();
        each(&search, word, |word| inside.push(word));
        inside.sort_unstable();
        inside.dedup();
        for word in inside {
            crowds.get_mut(word).into_iter().for_each(|crowd| *crowd = crowd.saturating_add(patterns));
        }
    }
    words.into_iter().zip(crowds).collect()
}

/// `None`: there are no words, or too many.
fn search(words: &[&[u8]]) -> Option<NFA> {
    let build = || NFA::builder().prefilter(false).build(words).ok();
    if words.is_empty() { None } else { build() }
}

/// Gives the places of all words in `text`, in whatever case; also of those that overlap.
fn each(words: &NFA, text: &[u8], mut found: impl FnMut(usize)) {
    // Unanchored searches are always supported.
    let Ok(mut state) = words.start_state(Anchored::No) else { return };
    for byte in text {
        state = words.next_state(Anchored::No, state, byte.to_ascii_lowercase());
        if words.is_special(state) && words.is_match(state) {
            (0..words.match_len(state)).for_each(|index| found(words.match_pattern(state, index).as_usize()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{Pattern, full_match};

    fn filter(patterns: &[String]) -> (Filter, Vec<usize>) {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| full_match(text).unwrap()).collect();
        let (filter, others) = Filter::new(patterns.iter().map(|pattern| pattern.required().unwrap()));
        (filter.unwrap(), others)
    }

    #[test]
    fn a_path_brings_the_patterns_that_it_has_a_word_of() {
        let texts = ["/users/[0-9]+", "/[a-z]+/orders", "(?i)/items/.+", "/[0-9]+", "/(users|orders)/x?y"];
        let (filter, others) = filter(&texts.map(str::to_owned));
        assert_eq!(others, [3], "it has no word");
        for (path, wanted) in [
            ("/users/1", &[0][..]),
            ("/users/orders", &[0, 1]),
            ("/orders/y", &[1, 4]),
            ("/ITEMS/users", &[2]),
            ("/ITEMS/USERS/XY", &[0, 2, 4]),
            ("/user", &[]),
            ("/users/users/users/", &[0]),
        ] {
            assert_eq!(filter.candidates(path.as_bytes()).as_slice(), wanted, "{path}");
        }
    }

    #[test]
    fn a_word_of_many_patterns_is_not_looked_for() {
        let mut texts: Vec<String> = (0..=MAX_CROWD).map(|number| format!("/shared/[a-z]{{{}}}", number + 1)).collect();
        texts.push("/shared/[a-z]+/own".to_owned());
        let (filter, others) = filter(&texts);
        assert_eq!(others, (0..=MAX_CROWD).collect::<Vec<_>>());
        assert_eq!(filter.candidates(b"/shared/x/own").as_slice(), [MAX_CROWD + 1]);
    }

    #[test]
    fn words_inside_words_bring_no_crowd_either() {
        let word = |length: usize| format!("/{}", "abcdefghijklmnopqrstuvwxyz".get(..length).unwrap());
        let texts: Vec<String> = (2..26).map(|length| format!("{}[0-9]+", word(length))).collect();
        let (filter, others) = filter(&texts);
        assert_eq!(filter.candidates(word(26).as_bytes()).len(), MAX_CROWD);
        assert_eq!(others.len(), texts.len() - MAX_CROWD);
    }
}
