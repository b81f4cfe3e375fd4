//! Selectors that select nothing of what is known.
//!
//! Must never tell of addresses: nobody lists them. Start at [`Known::policy`].

use crate::{
    calico::{
        field::WhoField,
        party::{Endpoint, NetworkSets, namespaces_of},
        policy::{NetworkSet, Peer, Policy, Who},
        selector::Selector,
    },
    identity::Identities,
    lint::{FindingKind, Findings},
};

/// Pods, and network sets.
pub(in crate::lint) struct Known {
    endpoints: Vec<Endpoint>,
    sets: NetworkSets,
}

impl Known {
    pub(super) fn new(identities: &Identities, sets: Vec<NetworkSet>) -> Self {
        let endpoints: Vec<Endpoint> = identities.iter().filter_map(|(_, labels)| Endpoint::of(labels)).collect();
        let namespaces = namespaces_of(&endpoints);
        Self { endpoints, sets: NetworkSets { sets, namespaces, incomplete: false } }
    }

    pub(super) fn policy(&self, policy: &Policy, findings: &mut Findings) {
        if !self.endpoints.iter().any(|endpoint| policy.subject.selects(endpoint)) {
            let text = "selects no pod of the configuration; compare the labels";
            findings.add(policy.lines.selector, "selector", FindingKind::SelectsNothing, text);
        }
        for rule in policy.ingress.iter().chain(&policy.egress).flatten() {
            for (end, peer) in [("source", &rule.source), ("destination", &rule.destination)] {
                if let Some((field, wanted)) = self.nobody(peer) {
                    let text =
                        format!("selects no pod of the configuration and no network set: {wanted}; compare the labels");
                    let field = format!("{}.{end}.{field}", rule.path);
                    findings.add(rule.line, &field, FindingKind::SelectsNothing, text);
                }
            }
        }
    }

    /// The field that selects nobody, and what it wants.
    fn nobody(&self, peer: &Peer) -> Option<(&'static str, String)> {
        if let Some(not) = peer.not_selector.as_ref().filter(|not| !self.is_somebody(not)) {
            return Some(("notSelector", not.to_string()));
        }
        let who = peer.who.as_ref().filter(|who| !self.is_somebody(&who.as_selector()))?;
        let told = |field: WhoField| Some((field.name(), who.told(field)?));
        let alone = |field: &WhoField| !self.is_somebody(&who.only(*field).as_selector());
        let given = || WhoField::ALL.into_iter().filter(|field| who.told(*field).is_some());
        let field = given().find(alone).or_else(|| given().next())?;
        told(field)
    }

    fn is_somebody(&self, selector: &Selector) -> bool {
        self.endpoints.iter().any(|endpoint| selector.matches(endpoint)) || self.sets.may_select(selector)
    }
}

impl Who {
    /// One of its fields, without the others.
    fn only(&self, field: WhoField) -> Self {
        let whole = self.clone();
        match field {
            WhoField::Selector => Self { selector: whole.selector, ..Self::default() },
            WhoField::Namespace => {
                let (namespace, namespace_selector) = (whole.namespace, whole.namespace_selector);
                Self { namespace, namespace_selector, ..Self::default() }
            }
            WhoField::AccountNames => Self { accounts: whole.accounts, ..Self::default() },
            WhoField::AccountSelector => Self { account_selector: whole.account_selector, ..Self::default() },
        }
    }
}
