//! What a network policy means: parse, validate, resolve, decide, explain.
//!
//! Pure: no IO, no async, no clock, no panic. Start at [`manifest::parse`] (text → policies), [`Resolver`] (policies and
//! identities → what an endpoint may do) and [`DirectionPolicy::evaluate`] (one request → [`Verdict`]).
#![forbid(unsafe_code)]
#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod calico;
mod cidr_group;
mod explain;
mod header_effects;
mod header_match;
mod http_rule;
mod identity;
mod labels;
pub mod lint;
pub mod manifest;
mod matcher;
#[cfg(feature = "oracle")]
pub mod oracle;
mod pattern;
mod policy;
mod request;
mod resolve;
mod same;
mod secret;
mod selector;
mod set;
mod verdict;

pub use explain::{HeaderAct, HeaderAction, Missing, Tried};
pub use header_effects::{HeaderEdit, HeaderNote, HeaderNotes};
pub use identity::{Identities, Identity};
pub use labels::{Label, Labels, PodLabels};
pub use pattern::{MAX_AUTOMATA_BYTES, MAX_PATTERN_BYTES, Pattern, PatternError, full_match};
pub use policy::{InForce, Kind, PolicyKey};
pub use request::{Malformed, PathOptions, RequestView};
pub use resolve::{
    Applying, ContainerPort, Frontend, FrontendPort, NamedPorts, PortNames, Resolver, Service, Subject, Target,
    resolve, resolve_at,
};
pub use secret::{Secret, SecretName, Secrets};
pub use selector::Selector;
pub use set::{Action, DirectionPolicy, EndpointPolicy, MapEntry};
pub use verdict::{Denial, Direction, L4Verdict, MatchType, Nearest, Permit, Protocol, RuleRef, Verdict};
