//! Policies as values that can be changed, and their manifests.
//!
//! Owns how a policy is written as YAML. Start at [`manifest`].

/// One policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) namespace: &'static str,
    pub(crate) subject: Selector,
    pub(crate) ingress: Vec<Entry>,
    pub(crate) egress: Vec<Entry>,
    /// Without HTTP rules.
    pub(crate) ingress_deny: Vec<Entry>,
    pub(crate) egress_deny: Vec<Entry>,
    /// `enableDefaultDeny` of ingress and egress.
    pub(crate) default_deny: [Option<bool>; 2],
    /// What makes it invalid, if anything.
    pub(crate) fault: Option<Fault>,
}

/// Ways in which a policy is not valid.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    UnknownField,
    Field,
    Entry,
    Pattern,
    Port,
    Subject,
    Version,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Selector(pub(crate) Vec<Requirement>);

#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    Is(&'static str, &'static str),
    In(&'static str, Vec<&'static str>),
    NotIn(&'static str, Vec<&'static str>),
    Exists(&'static str),
    DoesNotExist(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) peers: Peers,
    pub(crate) ports: Option<Vec<PortRule>>,
    /// Nothing where there are ports.
    pub(crate) icmps: Vec<Messages>,
}

/// One entry of `icmps`: family and type of each message.
pub(crate) type Messages = Vec<(&'static str, &'static str)>;

#[derive(Clone, Debug)]
pub(crate) enum Peers {
    Absent,
    Endpoints(Vec<Selector>),
    Cidrs(Vec<&'static str>),
    /// As written.
    CidrSet(Vec<&'static str>),
    Entities(Vec<&'static str>),
}

#[derive(Clone, Debug)]
pub(crate) struct PortRule {
    /// Port, or two with a dash between them, and protocol.
    pub(crate) ports: Vec<(&'static str, &'static str)>,
    /// Never empty.
    pub(crate) http: Option<Vec<Http>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Http {
    pub(crate) method: Option<&'static str>,
    pub(crate) path: Option<String>,
    pub(crate) host: Option<&'static str>,
    pub(crate) headers: Vec<&'static str>,
    /// Name, value (or none), `mismatch`.
    pub(crate) matches: Vec<[&'static str; 3]>,
}

/// All of `policies` as one text, each named after its place.
pub(crate) fn manifest(policies: &[Policy]) -> String {
    policies.iter().enumerate().map(|(index, policy)| document(index, policy)).collect()
}

fn document(index: usize, policy: &Policy) -> String {
    let version = if matches!(policy.fault, Some(Fault::Version)) { "cilium.io/v3" } else { "cilium.io/v2" };
    let namespace = policy.namespace;
    let unreadable = matches!(policy.fault, Some(Fault::Subject));
    let subject = if unreadable { "{matchLabels: {app: 1}}".to_owned() } else { selector(&policy.subject) };
    let mut spec = String::new();
    let (mut ingress, mut egress) = (entries("from", &policy.ingress), entries("to", &policy.egress));
    // A fault stands in a direction that the policy has anyway.
    let faulty = if policy.egress.is_empty() { &mut ingress } else { &mut egress };
    let ports = |inside: &str| format!("{{toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], {inside}}}]}}");
    match policy.fault {
        None | Some(Fault::Version | Fault::Subject) => {}
        Some(Fault::UnknownField) => spec.push_str("  unheardOf: 1\n"),
        Some(Fault::Field) => spec.push_str("  log: {value: \"\\u0001\"}\n"),
        Some(Fault::Entry) => faulty.push("{icmps: [{fields: [{type: 256}]}]}".to_owned()),
        Some(Fault::Pattern) => faulty.push(ports("rules: {http: [{path: \"(\"}]}")),
        Some(Fault::Port) => faulty.push("{toPorts: [{ports: [{port: \"70000\"}]}]}".to_owned()),
    }
    let (ingress_deny, egress_deny) = (entries("from", &policy.ingress_deny), entries("to", &policy.egress_deny));
    for (name, entries) in [("ingressDeny", ingress_deny), ("egressDeny", egress_deny)] {
        if !entries.is_empty() {
            spec = format!("{spec}  {name}: [{}]\n", entries.join(", "));
        }
    }
    let defaults = ["ingress", "egress"].into_iter().zip(policy.default_deny);
    let defaults: Vec<String> = defaults.filter_map(|(name, on)| on.map(|on| format!("{name}: {on}"))).collect();
    spec = format!("{spec}  enableDefaultDeny: {{{}}}\n", defaults.join(", "));
    format!(
        "---\napiVersion: {version}\nkind: CiliumNetworkPolicy\nmetadata: {{name: p{index}, namespace: {namespace}}}\nspec:\n  \
         endpointSelector: {subject}\n  ingress: [{}]\n  egress: [{}]\n{spec}",
        ingress.join(", "),
        egress.join(", ")
    )
}

fn entries(way: &str, entries: &[Entry]) -> Vec<String> {
    let entry = |entry: &Entry| {
        let mut fields = Vec::new();
        match &entry.peers {
            Peers::Absent => {}
            Peers::Endpoints(selectors) => fields.push(format!("{way}Endpoints: [{}]", join(selectors, selector))),
            Peers::Cidrs(cidrs) => fields.push(format!("{way}CIDR: [{}]", cidrs.join(", "))),
            Peers::CidrSet(cidrs) => fields.push(format!("{way}CIDRSet: [{}]", cidrs.join(", "))),
            Peers::Entities(entities) => fields.push(format!("{way}Entities: [{}]", entities.join(", "))),
        }
        if let Some(ports) = &entry.ports {
            fields.push(format!("toPorts: [{}]", join(ports, port_rule)));
        }
        if !entry.icmps.is_empty() {
            fields.push(format!("icmps: [{}]", join(&entry.icmps, messages)));
        }
        format!("{{{}}}", fields.join(", "))
    };
    entries.iter().map(entry).collect()
}

fn messages(messages: &Messages) -> String {
    let field = |(family, kind): &(&str, &str)| format!("{{family: {family}, type: {kind}}}");
    format!("{{fields: [{}]}}", join(messages, field))
}

fn join<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn selector(selector: &Selector) -> String {
    let expression = |requirement: &Requirement| {
        let (key, operator, values) = match requirement {
            Requirement::Is(..) => return None,
            Requirement::In(key, values) => (key, "In", format!(", values: [{}]", values.join(", "))),
            Requirement::NotIn(key, values) => (key, "NotIn", format!(", values: [{}]", values.join(", "))),
            Requirement::Exists(key) => (key, "Exists", String::new()),
            Requirement::DoesNotExist(key) => (key, "DoesNotExist", String::new()),
        };
        Some(format!("{{key: \"{key}\", operator: {operator}{values}}}"))
    };
    let mut labels: Vec<(&str, &str)> = Vec::new();
    for requirement in &selector.0 {
        if let Requirement::Is(key, value) = requirement
            && labels.iter().all(|(known, _)| known != key)
        {
            labels.push((key, value));
        }
    }
    let labels = join(&labels, |(key, value)| format!("\"{key}\": \"{value}\""));
    let expressions: Vec<String> = selector.0.iter().filter_map(expression).collect();
    format!("{{matchLabels: {{{labels}}}, matchExpressions: [{}]}}", expressions.join(", "))
}

fn port_rule(rule: &PortRule) -> String {
    let port = |(port, protocol): &(&str, &str)| {
        let (port, end) = port.split_once('-').unwrap_or((port, "0"));
        let protocol = if protocol.is_empty() { String::new() } else { format!(", protocol: {protocol}") };
        format!("{{port: \"{port}\", endPort: {end}{protocol}}}")
    };
    let ports = join(&rule.ports, port);
    match &rule.http {
        None => format!("{{ports: [{ports}]}}"),
        Some(rules) => format!("{{ports: [{ports}], rules: {{http: [{}]}}}}", join(rules, http)),
    }
}

fn http(rule: &Http) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\"));
    let mut fields = Vec::new();
    let texts = [("method", rule.method), ("path", rule.path.as_deref()), ("host", rule.host)];
    fields.extend(texts.iter().filter_map(|(name, text)| text.map(|text| format!("{name}: {}", quoted(text)))));
    if !rule.headers.is_empty() {
        fields.push(format!("headers: [{}]", join(&rule.headers, |header| quoted(header))));
    }
    let header =
        |[name, value, action]: &[&str; 3]| format!("{{name: {name}, value: \"{value}\", mismatch: \"{action}\"}}");
    fields.push(format!("headerMatches: [{}]", join(&rule.matches, header)));
    format!("{{{}}}", fields.join(", "))
}
