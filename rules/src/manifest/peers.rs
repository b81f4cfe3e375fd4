//! Whom an entry is about: endpoints, addresses, entities, services.
//!
//! Owns nil versus empty (an absent list is everybody, an empty one nobody) and that one entry has one kind of peers.
//! Start at [`peers`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    cilium::{Context, Place},
    read::{Reader, join},
    selector,
    yaml::Node,
};
use crate::{
    policy::{Addresses, Cidr, Entity, Peers, ServiceRef},
    selector::is_dns_name,
};

/// A list of peers and its name.
type List<'n> = (&'static str, &'n [Node]);

/// The peers of one entry; `with_ports`: an entry without any list is about everybody.
pub(super) fn peers(
    node: &Node,
    place: &Place,
    context: &Context<'_>,
    with_ports: bool,
    reader: &mut Reader<'_>,
) -> Peers {
    let direction = context.direction;
    let names = [direction.endpoints, direction.cidr, direction.cidr_set, direction.entities];
    let mut lists: Vec<List<'_>> = Vec::new();
    for name in names.into_iter().chain(direction.services).chain(direction.fqdns) {
        lists.extend(reader.list(node, &place.path, name).map(|list| (name, list)));
    }
    let mut found = None;
    let mut kinds = Vec::new();
    for (name, list) in &lists {
        let path = place.field(name);
        let peers = if *name == direction.endpoints {
            Peers::Endpoints(selector::peers(list, &path, context.home, context.of_init, reader))
        } else if *name == direction.cidr {
            Peers::Cidrs(cidrs(list, &path, reader))
        } else if *name == direction.cidr_set {
            Peers::Cidrs(cidr_set(list, &path, reader))
        } else if *name == direction.entities {
            Peers::Entities(entities(list, &path, reader))
        } else if Some(*name) == direction.fqdns {
            // Checked and refused by `fqdn`.
            Peers::Nobody
        } else {
            Peers::Services(services(list, &path, reader))
        };
        if !list.is_empty() {
            kinds.push(*name);
            found = Some(peers);
        }
    }
    if let [first, second, ..] = kinds.as_slice() {
        let reason = format!("combining {first} and {second} is not supported; write two rules");
        reader.error(node.line, &place.path, reason);
    }
    match found {
        None if lists.is_empty() && with_ports => Peers::Any,
        // An empty list is nobody, whatever stands beside it (Cilium).
        Some(peers) if kinds.len() == lists.len() => peers,
        None | Some(_) => Peers::Nobody,
    }
}

fn cidrs(list: &[Node], path: &str, reader: &mut Reader<'_>) -> Vec<Cidr> {
    let of = |net| Cidr { of: Addresses::Net(net), except: Vec::new(), pods: false };
    nets(list, path, reader).into_iter().map(of).collect()
}

/// Every prefix of a list.
pub(super) fn nets(list: &[Node], path: &str, reader: &mut Reader<'_>) -> Vec<IpNet> {
    let one = |(index, node): (usize, &Node)| net(node, &format!("{path}[{index}]"), reader);
    list.iter().enumerate().filter_map(one).collect()
}

fn cidr_set(list: &[Node], path: &str, reader: &mut Reader<'_>) -> Vec<Cidr> {
    let one_of = ["cidr", "cidrGroupRef", "cidrGroupSelector"];
    let mut cidrs = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let told = reader.told();
        if !reader.keys(node, &path, &["cidr", "cidrGroupRef", "cidrGroupSelector", "except"], &[]) {
            continue;
        }
        if one_of.iter().filter(|key| node.present(key).is_some()).count() > 1 {
            let reason = format!("has more than one of {}; write several entries", one_of.join(", "));
            reader.error(node.line, &path, reason);
        }
        let groups = match (node.present("cidrGroupRef"), node.present("cidrGroupSelector")) {
            (None, None) => {
                cidrs.extend(block(node, &path, false, told, reader));
                continue;
            }
            (Some(name), _) => group(name, &join(&path, "cidrGroupRef"), reader),
            (None, Some(selector)) => {
                let path = join(&path, "cidrGroupSelector");
                Some(groups(selector, &path, reader))
            }
        };
        let except = except(node, &path, None, reader);
        cidrs.extend(groups.map(|of| Cidr { of, except, pods: false }));
    }
    cidrs
}

fn group(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Addresses> {
    let name = reader.scalar(node, path)?;
    if !is_dns_name(name) {
        reader.error(node.line, path, format!("{name:?} is no name; write that of a CiliumCIDRGroup"));
    }
    Some(Addresses::Group(name.to_owned()))
}

/// What asks for nothing is everybody to Cilium's code, all groups to its documentation.
fn groups(node: &Node, path: &str, reader: &mut Reader<'_>) -> Addresses {
    let told = reader.told();
    let selector = selector::kubernetes(node, path, "", reader);
    if selector.requirements.is_empty() && reader.told() == told {
        let reason =
            "asks for nothing; write labels of the groups, or for every address cidr: 0.0.0.0/0 and cidr: ::/0";
        reader.error(node.line, path, reason);
    }
    Addresses::Groups(selector)
}

/// `{cidr, except}`; `told`: how many problems were known before it.
pub(super) fn block(node: &Node, path: &str, pods: bool, told: usize, reader: &mut Reader<'_>) -> Option<Cidr> {
    let Some(given) = node.present("cidr") else {
        if reader.told() == told {
            reader.error(node.line, &join(path, "cidr"), "is missing; write for example 10.0.0.0/8");
        }
        return None;
    };
    let net = net(given, &join(path, "cidr"), reader);
    let except = except(node, path, net, reader);
    Some(Cidr { of: Addresses::Net(net?), except, pods })
}

/// `within`: what the parts must be of, if that is known.
fn except(node: &Node, path: &str, within: Option<IpNet>, reader: &mut Reader<'_>) -> Vec<IpNet> {
    let mut except = Vec::new();
    for (index, node) in reader.list(node, path, "except").unwrap_or_default().iter().enumerate() {
        let path = format!("{path}.except[{index}]");
        let Some(part) = net(node, &path, reader) else { continue };
        if let Some(net) = within.filter(|net| !net.contains(&part)) {
            reader.error(node.line, &path, format!("{part} is not inside {net}; write a part of it"));
        }
        except.push(part);
    }
    except
}

fn net(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<IpNet> {
    match cidr(reader.scalar(node, path)?) {
        Ok(net) => Some(net),
        Err(reason) => {
            reader.error(node.line, path, reason);
            None
        }
    }
}

/// `10.0.0.0/8`. Bits behind the prefix mean nothing, as in Cilium.
fn cidr(text: &str) -> Result<IpNet, String> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => format!("has no prefix length; for this one address write {}", IpNet::from(address)),
            Err(_) => format!("{text:?} is not a CIDR; write for example 10.0.0.0/8"),
        });
    };
    let canonical = |length: &&str| *length == "0" || length.starts_with(|first: char| ('1'..='9').contains(&first));
    let length = Some(length).filter(canonical).and_then(|length| length.parse().ok());
    let net = match (address.parse::<IpAddr>(), length) {
        (Ok(address), Some(length)) => IpNet::new(address, length).ok(),
        _ => None,
    };
    match net {
        Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => {
            Err(format!("{text} is IPv4 in the form of IPv6; write the IPv4 prefix"))
        }
        Some(net) => Ok(net.trunc()),
        None => Err(format!("{text:?} is not a CIDR; write for example 10.0.0.0/8 or fd00::/8")),
    }
}

fn entities(list: &[Node], path: &str, reader: &mut Reader<'_>) -> Vec<Entity> {
    let mut entities = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(text) = reader.scalar(node, &path) else { continue };
        match Entity::ALL.into_iter().find(|entity| entity.name() == text) {
            Some(entity) => entities.push(entity),
            None if matches!(text, "world-ipv4" | "world-ipv6") => {
                let net = if text == "world-ipv4" { "0.0.0.0/0" } else { "::/0" };
                reader.error(node.line, &path, format!("{text} is no entity of the API; write a CIDR of {net}"));
            }
            None => {
                let known: Vec<&str> = Entity::ALL.iter().map(|entity| entity.name()).collect();
                reader.error(node.line, &path, format!("{text:?} is no entity; known here: {}", known.join(", ")));
            }
        }
    }
    entities
}

impl Entity {
    const ALL: [Self; 12] = [
        Self::All,
        Self::World,
        Self::Cluster,
        Self::ClusterMesh,
        Self::Host,
        Self::RemoteNode,
        Self::KubeApiserver,
        Self::Ingress,
        Self::Init,
        Self::Health,
        Self::Unmanaged,
        Self::None,
    ];

    /// As manifests write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::World => "world",
            Self::Cluster => "cluster",
            Self::ClusterMesh => "cluster-mesh",
            Self::Host => "host",
            Self::RemoteNode => "remote-node",
            Self::KubeApiserver => "kube-apiserver",
            Self::Ingress => "ingress",
            Self::Init => "init",
            Self::Health => "health",
            Self::Unmanaged => "unmanaged",
            Self::None => "none",
        }
    }
}

fn services(list: &[Node], path: &str, reader: &mut Reader<'_>) -> Vec<ServiceRef> {
    let mut services = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !reader.keys(node, &path, &["k8sService", "k8sServiceSelector"], &[]) {
            continue;
        }
        match (node.present("k8sService"), node.present("k8sServiceSelector")) {
            (Some(named), None) => services.extend(named_service(named, &join(&path, "k8sService"), reader)),
            (None, Some(selected)) => {
                services.extend(selected_services(selected, &join(&path, "k8sServiceSelector"), reader));
            }
            _ => reader.error(node.line, &path, "needs one of k8sService and k8sServiceSelector"),
        }
    }
    services
}

/// Without a namespace, the services of any have that name, as in Cilium.
fn named_service(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<ServiceRef> {
    if !reader.keys(node, path, &["serviceName", "namespace"], &[]) {
        return None;
    }
    let namespace = namespace(node, path, reader);
    let Some(name) = reader.text(node, path, "serviceName") else {
        reader.error(node.line, &join(path, "serviceName"), "is missing; a service has a name");
        return None;
    };
    Some(ServiceRef::Named { namespace, name: name.to_owned() })
}

fn selected_services(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<ServiceRef> {
    if !reader.keys(node, path, &["selector", "namespace"], &[]) {
        return None;
    }
    let namespace = namespace(node, path, reader);
    let Some(selector) = node.present("selector") else {
        reader.error(node.line, &join(path, "selector"), "is missing; write the labels of the services");
        return None;
    };
    Some(ServiceRef::Selected { namespace, selector: selector::selector(selector, &join(path, "selector"), reader) })
}

fn namespace(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<String> {
    reader.text(node, path, "namespace").filter(|namespace| !namespace.is_empty()).map(str::to_owned)
}
