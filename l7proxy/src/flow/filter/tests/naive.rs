//! Filters as their description says it, slow and plain, over the message that goes over the wire.

use hubble_api::flow::{self as api, FlowFilter, layer4::Protocol, layer7};

use crate::flow::filter::url;

/// Whether `flow` is shown.
pub(super) fn shows(white: &[FlowFilter], black: &[FlowFilter], flow: &api::Flow) -> bool {
    (white.is_empty() || white.iter().any(|filter| matches(filter, flow)))
        && !black.iter().any(|filter| matches(filter, flow))
}

/// A field without values asks nothing; of several values one is enough.
fn any<T>(values: &[T], holds: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}

fn matches(filter: &FlowFilter, flow: &api::Flow) -> bool {
    what(filter, flow) && ends(filter, flow) && http(filter, flow)
}

fn what(filter: &FlowFilter, flow: &api::Flow) -> bool {
    let is_dropped = flow.verdict == 2;
    let flags = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => tcp.flags,
        _ => None,
    };
    let trace = flow.trace_context.as_ref().and_then(|trace| trace.parent.as_ref());
    let ip = flow.ip.clone().unwrap_or_default();
    let name =
        if flow.node_name.contains('/') { flow.node_name.clone() } else { format!("default/{}", flow.node_name) };
    any(&filter.uuid, |uuid| *uuid == flow.uuid)
        && any(&filter.event_type, |wanted| {
            flow.event_type.as_ref().is_some_and(|event| {
                (wanted.r#type == 0 || wanted.r#type == event.r#type)
                    && (!wanted.match_sub_type || wanted.sub_type == event.sub_type)
            })
        })
        && any(&filter.verdict, |verdict| *verdict == flow.verdict)
        && any(&filter.drop_reason_desc, |reason| is_dropped && *reason == flow.drop_reason_desc)
        && any(&filter.reply, |reply| match flow.is_reply {
            Some(is_reply) => is_reply == *reply,
            None => is_dropped && !reply,
        })
        && any(&filter.encrypted, |encrypted| *encrypted == ip.encrypted)
        && any(&filter.ip_version, |version| *version == ip.ip_version)
        && any(&filter.traffic_direction, |direction| *direction == flow.traffic_direction)
        && any(&filter.trace_id, |id| *id == trace.map(|trace| trace.trace_id.clone()).unwrap_or_default())
        && any(&filter.ip_trace_id, |id| *id == flow.ip_trace_id.map(|trace| trace.trace_id).unwrap_or_default())
        && any(&filter.interface, |wanted| {
            flow.interface.as_ref().is_some_and(|own| {
                (wanted.index == 0 || wanted.index == own.index) && (wanted.name.is_empty() || wanted.name == own.name)
            })
        })
        && any(&filter.tcp_flags, |wanted| flags.is_some_and(|flags| has_flags(&flags, wanted)))
        && any(&filter.node_name, |pattern| {
            let (cluster, node) = pattern.split_once('/').unwrap_or(("", pattern));
            let (own_cluster, own_node) = name.split_once('/').unwrap();
            (cluster.is_empty() || glob(cluster.as_bytes(), own_cluster.as_bytes()))
                && (node.is_empty() || glob(node.as_bytes(), own_node.as_bytes()))
        })
        && any(&filter.node_labels, |selector| selects(selector, &flow.node_labels))
}

fn has_flags(flags: &api::TcpFlags, wanted: &api::TcpFlags) -> bool {
    (!wanted.fin || flags.fin)
        && (!wanted.syn || flags.syn)
        && (!wanted.rst || flags.rst)
        && (!wanted.psh || flags.psh)
        && (!wanted.ack || flags.ack)
        && (!wanted.urg || flags.urg)
        && (!wanted.ece || flags.ece)
        && (!wanted.cwr || flags.cwr)
        && (!wanted.ns || flags.ns)
}

/// `*` stands for letters in lower case, digits, dots and hyphens.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|length| {
            let is_name = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
            name[..length].iter().all(is_name) && glob(rest, &name[length..])
        }),
        Some((letter, rest)) => name.first() == Some(letter) && glob(rest, &name[1..]),
    }
}

fn ends(filter: &FlowFilter, flow: &api::Flow) -> bool {
    let ip = flow.ip.clone().unwrap_or_default();
    let protocol = flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref());
    let (source_port, destination_port) = match protocol {
        Some(Protocol::Tcp(tcp)) => (Some(tcp.source_port), Some(tcp.destination_port)),
        Some(Protocol::Udp(udp)) => (Some(udp.source_port), Some(udp.destination_port)),
        Some(Protocol::Sctp(sctp)) => (Some(sctp.source_port), Some(sctp.destination_port)),
        _ => (None, None),
    };
    let is_http = matches!(flow.l7.as_ref().and_then(|l7| l7.record.as_ref()), Some(layer7::Record::Http(_)));
    let port = |wanted: &String, own: Option<u32>| own.is_some_and(|own| own == wanted.parse::<u32>().unwrap());
    any(&filter.protocol, |name| match (name.to_lowercase().as_str(), protocol) {
        ("icmp", Some(Protocol::IcmPv4(_) | Protocol::IcmPv6(_)))
        | ("icmpv4", Some(Protocol::IcmPv4(_)))
        | ("icmpv6", Some(Protocol::IcmPv6(_)))
        | ("tcp", Some(Protocol::Tcp(_)))
        | ("udp", Some(Protocol::Udp(_)))
        | ("sctp", Some(Protocol::Sctp(_)))
        | ("vrrp", Some(Protocol::Vrrp(_)))
        | ("igmp", Some(Protocol::Igmp(_))) => true,
        ("http", _) => is_http,
        _ => false,
    }) && any(&filter.source_port, |wanted| port(wanted, source_port))
        && any(&filter.destination_port, |wanted| port(wanted, destination_port))
        && any(&filter.source_ip, |wanted| is_address(wanted, &ip.source))
        && any(&filter.destination_ip, |wanted| is_address(wanted, &ip.destination))
        && any(&filter.source_ip_xlated, |wanted| is_address(wanted, &ip.source_xlated))
        && any(&filter.source_service, |wanted| is_service(wanted, flow.source_service.as_ref()))
        && any(&filter.destination_service, |wanted| is_service(wanted, flow.destination_service.as_ref()))
        && any(&filter.source_fqdn, |pattern| is_called(pattern, &flow.source_names))
        && any(&filter.destination_fqdn, |pattern| is_called(pattern, &flow.destination_names))
        && source(filter, flow.source.as_ref())
        && destination(filter, flow.destination.as_ref())
}

fn source(filter: &FlowFilter, end: Option<&api::Endpoint>) -> bool {
    let own = end.cloned().unwrap_or_default();
    any(&filter.source_pod, |wanted| is_named(wanted, &own.namespace, &own.pod_name))
        && any(&filter.source_identity, |identity| end.is_some() && *identity == own.identity)
        && any(&filter.source_cluster_name, |name| *name == own.cluster_name)
        && any(&filter.source_workload, |wanted| is_workload(wanted, &own.workloads))
        && any(&filter.source_label, |selector| selects(selector, &own.labels))
}

fn destination(filter: &FlowFilter, end: Option<&api::Endpoint>) -> bool {
    let own = end.cloned().unwrap_or_default();
    any(&filter.destination_pod, |wanted| is_named(wanted, &own.namespace, &own.pod_name))
        && any(&filter.destination_identity, |identity| end.is_some() && *identity == own.identity)
        && any(&filter.destination_cluster_name, |name| *name == own.cluster_name)
        && any(&filter.destination_workload, |wanted| is_workload(wanted, &own.workloads))
        && any(&filter.destination_label, |selector| selects(selector, &own.labels))
}

fn is_called(pattern: &str, names: &[String]) -> bool {
    let pattern = pattern.trim_end_matches('.').to_lowercase();
    names.iter().any(|name| glob(pattern.as_bytes(), name.as_bytes()))
}

fn is_workload(wanted: &api::Workload, own: &[api::Workload]) -> bool {
    own.iter().any(|own| {
        (wanted.name.is_empty() || wanted.name == own.name) && (wanted.kind.is_empty() || wanted.kind == own.kind)
    })
}

fn is_address(wanted: &str, own: &str) -> bool {
    match wanted.parse::<ipnet::IpNet>() {
        Ok(net) => own.parse::<std::net::IpAddr>().is_ok_and(|own| net.contains(&own)),
        Err(_) => wanted == own,
    }
}

fn is_service(wanted: &str, own: Option<&api::Service>) -> bool {
    own.is_some_and(|own| is_named(wanted, &own.namespace, &own.name))
}

fn is_named(wanted: &str, namespace: &str, name: &str) -> bool {
    let mut parts = wanted.split('/');
    let first = parts.next().unwrap();
    let (wanted, prefix) = parts.next().map_or(("default", first), |prefix| (first, prefix));
    if namespace.is_empty() && name.is_empty() {
        return false;
    }
    (wanted.is_empty() || wanted == namespace) && (prefix.is_empty() || name.starts_with(prefix))
}

/// Of the forms that the test writes: `a`, `!a`, `a=b`, `a!=b`, `a in (b, c)`, `a notin (b, c)`, joined by `, `.
fn selects(selector: &str, labels: &[String]) -> bool {
    let value = |key: &str| {
        let is_key = |label: &&String| {
            let own = label.split('=').next().unwrap();
            if key.contains(':') { own == key } else { own.split_once(':').map_or(own, |(_, own)| own) == key }
        };
        labels.iter().find(is_key).map(|label| label.split_once('=').map_or("", |(_, value)| value).to_owned())
    };
    let list = |text: &str| text.trim_matches(['(', ')']).split(',').map(str::to_owned).collect::<Vec<_>>();
    selector.split(", ").all(|part| {
        if let Some((key, values)) = part.split_once(" notin ") {
            value(key).is_none_or(|own| !list(values).contains(&own))
        } else if let Some((key, values)) = part.split_once(" in ") {
            value(key).is_some_and(|own| list(values).contains(&own))
        } else if let Some((key, wanted)) = part.split_once("!=") {
            value(key).is_none_or(|own| own != wanted)
        } else if let Some((key, wanted)) = part.split_once('=') {
            value(key).is_some_and(|own| own == wanted)
        } else if let Some(key) = part.strip_prefix('!') {
            value(key).is_none()
        } else {
            value(part).is_some()
        }
    })
}

fn http(filter: &FlowFilter, flow: &api::Flow) -> bool {
    let record = flow.l7.as_ref().and_then(|l7| l7.record.as_ref());
    let http = match record {
        Some(layer7::Record::Http(http)) => Some(http),
        _ => None,
    };
    any(&filter.http_status_code, |wanted| {
        http.is_some_and(|http| {
            let code = format!("{:03}", http.code);
            http.code != 0
                && match wanted.strip_suffix('+') {
                    Some(prefix) => code.starts_with(prefix),
                    None => code == *wanted,
                }
        })
    }) && any(&filter.http_method, |wanted| {
        http.is_some_and(|http| !http.method.is_empty() && http.method.to_lowercase() == wanted.to_lowercase())
    }) && any(&filter.http_path, |pattern| {
        http.is_some_and(|http| url::path(&http.url).is_some_and(|path| finds(pattern, &path)))
    }) && any(&filter.http_url, |pattern| http.is_some_and(|http| !http.url.is_empty() && finds(pattern, &http.url)))
        && any(&filter.http_header, |wanted| {
            http.is_some_and(|http| http.headers.iter().any(|own| own.key == wanted.key && own.value == wanted.value))
        })
        && any(&filter.dns_query, |_| matches!(record, Some(layer7::Record::Dns(_))))
}

/// Of the forms that the test writes: literal text, perhaps with `^` before it or `$` behind it.
fn finds(pattern: &str, text: &str) -> bool {
    let is_end = pattern.ends_with('$') && !pattern.ends_with("\\$");
    let body = pattern.strip_prefix('^').unwrap_or(pattern);
    let body = if is_end { body.strip_suffix('$').unwrap() } else { body };
    let mut literal = String::new();
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        literal.push(if letter == '\\' { letters.next().unwrap() } else { letter });
    }
    match (pattern.starts_with('^'), is_end) {
        (true, true) => text == literal,
        (true, false) => text.starts_with(&literal),
        (false, true) => text.ends_with(&literal),
        (false, false) => text.contains(&literal),
    }
}
