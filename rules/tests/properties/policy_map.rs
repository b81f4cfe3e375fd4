//! The entries that the kernel is given, looked up.
//!
//! Start at [`found`].

use rules::{DirectionPolicy, Identity, MapEntry, Protocol};

/// What the kernel finds: the longest prefix of the peer's own entries, else of anybody's. Panics where Cilium's way of
/// looking up would find something else: the longest prefix of both, and then the greater precedence.
pub(crate) fn found(policy: &DirectionPolicy, peer: Identity, protocol: Protocol, port: u16) -> Option<&MapEntry> {
    // 0 is "any" to the kernel.
    let own = longest(policy, Some(peer).filter(|peer| *peer != Identity::UNKNOWN), protocol, port);
    let of_any = longest(policy, None, protocol, port);
    let found = own.or(of_any);
    let stronger = match (own, of_any) {
        (Some(own), Some(of_any)) if own.precedence == of_any.precedence => {
            assert_eq!(own.action, of_any.action, "of the same precedence, and not the same");
            Some(own)
        }
        (Some(own), Some(of_any)) if own.precedence < of_any.precedence => Some(of_any),
        _ => found,
    };
    let action = |entry: Option<&MapEntry>| entry.map(|entry| entry.action);
    assert_eq!(action(found), action(stronger), "by precedence it is otherwise: {own:?} {of_any:?}");
    found
}

fn longest(policy: &DirectionPolicy, identity: Option<Identity>, protocol: Protocol, port: u16) -> Option<&MapEntry> {
    let applies = policy.entries().iter().filter(|entry| {
        let unlike = if entry.port_bits == 0 { 0 } else { (entry.port ^ port) >> (16 - entry.port_bits) };
        entry.identity == identity && (entry.protocol == Protocol::Any || (entry.protocol == protocol && unlike == 0))
    });
    applies.max_by_key(|entry| (entry.protocol != Protocol::Any, entry.port_bits))
}
