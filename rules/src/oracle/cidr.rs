//! Addresses and CIDR groups, read a second time.
//!
//! Must never share code with `cidr_group` or `resolve`. Start at [`is_peer`].

use ipnet::IpNet;

use crate::{
    Identities, Identity, InForce, Labels,
    policy::{Addresses, Cidr, Effect, Kind},
    selector::Requirement,
};

/// Whether a peer is in one of `cidrs`: for an Allow in any case, for a Deny in one that is possible.
pub(super) fn is_peer(
    policies: &[InForce],
    cidrs: &[Cidr],
    effect: Effect,
    identities: &Identities,
    peer: Identity,
) -> bool {
    let Some(labels) = identities.labels(peer) else { return false };
    let outside = labels.strings().contains(&"reserved:world".to_owned());
    let net = identities.cidr(peer);
    cidrs.iter().any(|cidr| {
        if !outside {
            return is_pod_of(cidr, labels);
        }
        let excepted = cidr.except.iter().any(|except| net.is_some_and(|net| covers(except, &net)));
        !excepted && is_of(policies, &cidr.of, effect, net)
    })
}

/// A pod is in a block when its labels name the block, and none that is taken out.
fn is_pod_of(cidr: &Cidr, labels: &Labels) -> bool {
    let named = |net: &IpNet| labels.strings().contains(&format!("cidr:{net}"));
    let Addresses::Net(net) = &cidr.of else { return false };
    cidr.pods && named(net) && !cidr.except.iter().any(named)
}

fn covers(wide: &IpNet, net: &IpNet) -> bool {
    wide.contains(&net.network()) && wide.contains(&net.broadcast()) && wide.prefix_len() <= net.prefix_len()
}

fn is_of(policies: &[InForce], addresses: &Addresses, effect: Effect, net: Option<IpNet>) -> bool {
    let mut names: Vec<&str> = Vec::new();
    let mut labels: Vec<(&str, &str)> = Vec::new();
    let mut unread: Vec<&str> = Vec::new();
    for policy in policies {
        match policy {
            InForce::Policy(policy) => {
                let Some(group) = &policy.cidr_group else { continue };
                if net.is_some_and(|net| group.nets.iter().any(|wide| covers(wide, &net))) {
                    names.push(&group.name);
                    labels.extend(group.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
                }
            }
            InForce::Refused(refused) if refused.key.kind == Kind::CiliumCidrGroup => unread.push(&refused.key.name),
            InForce::Refused(_) => {}
        }
    }
    // Of what is not known, the worse is taken for an Allow and the better for a Deny.
    let possible = |unknown: bool| effect == Effect::Deny && unknown;
    match addresses {
        Addresses::Net(wide) => net.is_some_and(|net| covers(wide, &net)),
        Addresses::Group(name) => names.contains(&name.as_str()) || possible(unread.contains(&name.as_str())),
        Addresses::Groups(selector) => selector.requirements.iter().all(|requirement| {
            let has = |wanted: Option<&[String]>| {
                let key = requirement.key().key.as_str();
                let fits = |value: &str| wanted.is_none_or(|wanted| wanted.iter().any(|one| one == value));
                labels.iter().any(|(known, value)| *known == key && fits(value))
            };
            let any_unread = !unread.is_empty();
            match requirement {
                Requirement::Is(_, value) => has(Some(std::slice::from_ref(value))) || possible(any_unread),
                Requirement::In(_, values) => has(Some(values)) || possible(any_unread),
                Requirement::Exists(_) => has(None) || possible(any_unread),
                Requirement::NotIn(_, values) => !has(Some(values)) && (!any_unread || possible(true)),
                Requirement::DoesNotExist(_) => !has(None) && (!any_unread || possible(true)),
            }
        }),
    }
}
