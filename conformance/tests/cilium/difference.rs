//! Where the two sides disagree.

use std::{collections::BTreeMap, fmt};

use crate::{
    about::about,
    answer::{Answer, Refusal, Verdict},
    corpus::{Case, Query},
};

/// One disagreement, in the words of `expected-differences.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Difference<'a> {
    pub(crate) case: &'a Case,
    /// `refused`, `accepted`, or a verdict.
    pub(crate) ours: String,
    pub(crate) theirs: String,
    /// Why the side that refuses does.
    pub(crate) refusal: Refusal,
    pub(crate) query: Option<&'a Query>,
    /// What is special about the query.
    pub(crate) about: Vec<&'static str>,
}

/// How much was compared.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    pub(crate) cases: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// Queries by our verdict.
    pub(crate) verdicts: BTreeMap<Verdict, usize>,
    pub(crate) differences: usize,
}

impl Extent {
    pub(crate) fn queries(&self) -> usize {
        self.verdicts.values().sum()
    }
}

pub(crate) fn compare<'a>(case: &'a Case, ours: &Answer, theirs: &Answer, extent: &mut Extent) -> Vec<Difference<'a>> {
    extent.cases += 1;
    let validity = |ours: &str, theirs: &str, refusals: &[Refusal]| {
        let difference = |refusal: &Refusal| Difference {
            case,
            ours: ours.to_owned(),
            theirs: theirs.to_owned(),
            refusal: refusal.clone(),
            query: None,
            about: Vec::new(),
        };
        refusals.iter().map(difference).collect()
    };
    match (ours, theirs) {
        (Answer::Refused(_), Answer::Refused(_)) => {
            extent.refused += 1;
            Vec::new()
        }
        (Answer::Refused(refusals), Answer::Accepted(_)) => validity("refused", "accepted", refusals),
        (Answer::Accepted(_), Answer::Refused(refusals)) => validity("accepted", "refused", refusals),
        (Answer::Accepted(ours), Answer::Accepted(theirs)) => {
            extent.accepted += 1;
            verdicts(case, ours, theirs, extent)
        }
    }
}

fn verdicts<'a>(case: &'a Case, ours: &[Verdict], theirs: &[Verdict], extent: &mut Extent) -> Vec<Difference<'a>> {
    let mut differences = Vec::new();
    for ((query, ours), theirs) in case.queries.iter().zip(ours).zip(theirs) {
        *extent.verdicts.entry(*ours).or_default() += 1;
        if ours != theirs {
            differences.push(Difference {
                case,
                ours: ours.to_string(),
                theirs: theirs.to_string(),
                refusal: Refusal { field: String::new(), reason: String::new() },
                query: Some(query),
                about: about(case, query),
            });
        }
    }
    differences
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: ours {}, Cilium's {}", self.case.name, self.ours, self.theirs)?;
        if !self.refusal.reason.is_empty() {
            writeln!(f, "  because {} {}", self.refusal.field, self.refusal.reason)?;
        }
        if let Some(query) = self.query {
            let query = serde_json::to_string(query).map_err(|_| fmt::Error)?;
            writeln!(f, "  query {query} {:?}", self.about)?;
        }
        write!(f, "{}", self.case.manifests)
    }
}
