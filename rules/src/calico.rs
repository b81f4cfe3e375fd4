//! Calico v3 policy: read, validated, judged.
//!
//! Owns what `projectcalico.org/v3` means: tiers, ordered rules, selectors, network sets. Order decides here, so rules are
//! never joined into one set. Must never take a policy in part: what is not enforced is refused by its name. Start at
//! [`manifest::object`] (document → value) and [`evaluate::Layer`] (values and an endpoint → what becomes of a connection).

pub(crate) mod evaluate;
pub(crate) mod field;
pub(crate) mod http;
pub(crate) mod manifest;
pub(crate) mod party;
pub(crate) mod policy;
pub(crate) mod selector;
#[cfg(test)]
pub(crate) mod testing;
