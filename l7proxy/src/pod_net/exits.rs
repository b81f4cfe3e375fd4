//! The interfaces that lead out of a pod's namespace, and their other ends on the node.
//!
//! Owns how the other end is found and proved to be it. Never attaches anything. Start at [`exits`].

use std::{fmt, fs::File, io, os::fd::AsFd};

use netlink_packet_route::link::InfoKind;

use super::{
    inside,
    netlink::{Interface, Rtnetlink},
};

/// An interface through which packets leave a pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its name in the pod.
    pub name: String,
    /// Where what leaves arrives, or why there is no such place.
    pub end: Result<HostEnd, NoHostEnd>,
}

/// The end, on the node, of a pod's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
}

/// Why an interface has no end on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoHostEnd {
    /// The pod is the node.
    HostNetwork,
    /// It is not of a kind that has one.
    Kind(String),
    /// Its other end is in a namespace that is not the node's.
    Elsewhere,
    /// The kernel's description could not be read.
    Unreadable(String),
}

impl fmt::Display for NoHostEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNetwork => f.write_str("the pod uses the node's own network"),
            Self::Kind(kind) => write!(f, "{kind} has no end on the node"),
            Self::Elsewhere => f.write_str("its other end is not in the node's network namespace"),
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

/// Every way out of `namespace`, as seen from `home`, the namespace of this thread.
pub(super) fn exits(namespace: &File, home: &File) -> io::Result<Vec<Exit>> {
    let pod = inside(namespace, home, Rtnetlink::open)?;
    let node = Rtnetlink::open()?;
    // What the node calls the pod's namespace: an end on the node must say that its other end is there.
    let number = node.number_of(namespace.as_fd())?;
    let mut exits = Vec::new();
    for interface in pod.interfaces()? {
        let exit = match interface {
            Ok(interface) if leads_out(&interface) => {
                Exit { name: interface.name.clone(), end: host_end(&interface, &node, number)? }
            }
            Ok(_) => continue,
            Err(error) => Exit { name: "an interface".to_owned(), end: Err(NoHostEnd::Unreadable(error)) },
        };
        exits.push(exit);
    }
    Ok(exits)
}

/// Whether packets leave the namespace by this interface itself. What stands on another interface of the same namespace
/// leaves by that one; what kinds of device are not known leads out.
fn leads_out(interface: &Interface) -> bool {
    if interface.is_loopback {
        return false;
    }
    if interface.link_netns.is_some() {
        return true;
    }
    if interface.link.is_some_and(|link| link != interface.index) {
        return false;
    }
    // Of tunnels, those that were made here: their packets leave wrapped up, by another interface.
    !matches!(
        interface.kind,
        Some(
            InfoKind::Bond
                | InfoKind::Bridge
                | InfoKind::Dummy
                | InfoKind::ErSpan
                | InfoKind::Geneve
                | InfoKind::GreTap
                | InfoKind::GreTap6
                | InfoKind::GreTun
                | InfoKind::GreTun6
                | InfoKind::Ifb
                | InfoKind::Ip6ErSpan
                | InfoKind::Ip6Tnl
                | InfoKind::IpIp
                | InfoKind::SitTun
                | InfoKind::Team
                | InfoKind::Tun
                | InfoKind::Vrf
                | InfoKind::Vti
                | InfoKind::Vti6
                | InfoKind::Vxlan
        )
    )
}

/// The other end of a pair, if both ends name each other: index and namespace.
fn host_end(interface: &Interface, node: &Rtnetlink, number: Option<i32>) -> io::Result<Result<HostEnd, NoHostEnd>> {
    let (Some(InfoKind::Veth), Some(link)) = (&interface.kind, interface.link) else {
        let kind = interface.kind.as_ref().map_or_else(|| "hardware".to_owned(), ToString::to_string);
        return Ok(Err(NoHostEnd::Kind(kind)));
    };
    let Some(end) = node.interface(link)? else { return Ok(Err(NoHostEnd::Elsewhere)) };
    let is_veth = end.kind == Some(InfoKind::Veth);
    let names_us = end.link == Some(interface.index) && end.link_netns == number && number.is_some();
    Ok(if is_veth && names_us { Ok(HostEnd { name: end.name, index: end.index }) } else { Err(NoHostEnd::Elsewhere) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(kind: Option<InfoKind>) -> Interface {
        Interface { index: 2, name: "eth0".to_owned(), kind, is_loopback: false, link: None, link_netns: None }
    }

    #[test]
    fn what_stands_on_something_in_the_pod_is_no_way_out() {
        let vlan = Interface { link: Some(7), ..interface(Some(InfoKind::Vlan)) };
        assert!(!leads_out(&vlan));
        assert!(leads_out(&Interface { link_netns: Some(0), ..vlan }), "but what stands on something elsewhere is");
        assert!(!leads_out(&Interface { is_loopback: true, ..interface(None) }));
        assert!(!leads_out(&interface(Some(InfoKind::Tun))));
    }

    #[test]
    fn what_is_not_known_leads_out() {
        assert!(leads_out(&interface(None)), "hardware");
        assert!(leads_out(&interface(Some(InfoKind::Other("new".to_owned())))));
        assert!(leads_out(&interface(Some(InfoKind::Wireguard))), "its outer packets may leave in another namespace");
    }

    #[test]
    fn this_namespace_has_a_loopback_and_no_number_for_itself() {
        let node = Rtnetlink::open().unwrap();
        let interfaces = node.interfaces().unwrap();
        assert!(interfaces.iter().flatten().any(|interface| interface.is_loopback && interface.name == "lo"));
        let loopback = node.interface(1).unwrap().unwrap();
        assert_eq!((loopback.name.as_str(), loopback.kind), ("lo", None));
        assert!(node.interface(u32::MAX >> 2).unwrap().is_none());
    }
}
