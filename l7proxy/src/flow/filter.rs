//! Which flows a client asked for: `flow.FlowFilter` with Hubble's meaning and Hubble's words for what is wrong with one.
//!
//! Owns the meaning of every field, seen from what goes over the wire: an answer's source is the server, a drop is no reply.
//! Evaluates records as they are, without building messages. What a client sends may be hostile: everything has a bound.
//! Must never ignore a field: what is not understood is refused. Start at [`Filters::new`].

use std::fmt;

use hubble_api::flow::FlowFilter;
use prost::Message;

use super::{Flow, NodeNames};

mod ends;
mod go;
mod http;
mod labels;
mod names;
mod regexp;
mod url;
mod view;
mod what;

use self::{regexp::Budget, view::View};

/// Filters of a request, white and black.
const MAX_FILTERS: usize = 256;
/// Bytes that all of them may have, encoded.
const MAX_BYTES: usize = 64 << 10;

/// One thing that is asked of a flow.
type Condition = Box<dyn Fn(&View<'_>) -> bool + Send + Sync>;

/// All of them must hold.
type Conditions = Vec<Condition>;

/// Filters of one request, compiled.
pub struct Filters {
    /// One of them must match, if there is one.
    white: Vec<Conditions>,
    /// None of them may match.
    black: Vec<Conditions>,
}

impl Filters {
    /// # Errors
    ///
    /// What is wrong with them, in Hubble's words.
    pub fn new(white: &[FlowFilter], black: &[FlowFilter], node: &NodeNames) -> Result<Self, String> {
        let count = white.len() + black.len();
        if count > MAX_FILTERS {
            return Err(format!("{count} filters are more than {MAX_FILTERS}; put values into one filter"));
        }
        let bytes: usize = white.iter().chain(black).map(Message::encoded_len).sum();
        if bytes > MAX_BYTES {
            return Err(format!("filters have {bytes} bytes, more than {MAX_BYTES}; ask for less at once"));
        }
        let mut budget = Budget::default();
        let mut compile = |filters: &[FlowFilter]| {
            filters.iter().map(|filter| conditions(filter, node, &mut budget)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { white: compile(white)?, black: compile(black)? })
    }

    /// Whether `flow` is wanted. That records are missing always is.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        if self.white.is_empty() && self.black.is_empty() {
            return true;
        }
        let Some(view) = View::of(flow) else { return true };
        let holds = |conditions: &Conditions| conditions.iter().all(|condition| condition(&view));
        (self.white.is_empty() || self.white.iter().any(holds)) && !self.black.iter().any(holds)
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = |filters: &[Conditions]| filters.iter().map(Vec::len).collect::<Vec<_>>();
        f.debug_struct("Filters").field("white", &sizes(&self.white)).field("black", &sizes(&self.black)).finish()
    }
}

/// In the order in which Hubble looks at fields: of several errors it tells the first.
fn conditions(filter: &FlowFilter, node: &NodeNames, budget: &mut Budget) -> Result<Conditions, String> {
    let mut all = Conditions::new();
    what::kind(filter, &mut all);
    ends::who(filter, &mut all)?;
    names::domains(filter, budget, &mut all)?;
    labels::labels(filter, node, &mut all)?;
    ends::ports(filter, &mut all)?;
    http::http(filter, budget, &mut all)?;
    what::flags(filter, &mut all);
    names::node(filter, node, &mut all)?;
    ends::clusters(filter, &mut all)?;
    what::rest(filter, &mut all)?;
    Ok(all)
}

/// A condition for a field that has values.
fn when<T>(values: &[T], all: &mut Conditions, condition: impl FnOnce(&[T]) -> Condition) {
    if !values.is_empty() {
        all.push(condition(values));
    }
}

/// A condition that something of a flow is one of `values`.
fn one_of<T>(values: &[T], all: &mut Conditions, of: impl Fn(&View<'_>) -> T + Send + Sync + 'static)
where
    T: Clone + PartialEq + Send + Sync + 'static,
{
    when(values, all, |values| {
        let values = values.to_vec();
        Box::new(move |view| values.contains(&of(view)))
    });
}

#[cfg(test)]
mod tests;
