//! Every row of Cilium's list of what it refuses in a policy, and what is told of it here.
//!
//! Owns that list. A row is a body of a policy and what must be told: line, field, and a part of the reason. Start at
//! [`rejected`].

use super::{Document, parse};

/// `line: field: reason`, for all errors of a policy with this body; its first line is the policy's sixth.
fn told(kind: &str, body: &str) -> Vec<String> {
    let text = format!("apiVersion: cilium.io/v2\nkind: {kind}\nmetadata:\n  {{name: p}}\nspec:\n{body}\n");
    let documents = parse(&text);
    match &documents[..] {
        [Document::Policy(_)] => Vec::new(),
        [Document::Refused(refused)] => {
            let show = |error: &super::FieldError| format!("{}: {}: {}", error.line, error.field, error.reason);
            refused.errors.iter().map(show).collect()
        }
        other => panic!("{body}: {other:?}"),
    }
}

/// Whether each of `wanted` is told, in that order, and nothing else.
fn rejected_as(kind: &str, body: &str, wanted: &[(&str, &str)]) {
    let found = told(kind, body);
    assert_eq!(found.len(), wanted.len(), "{body}: {found:#?}");
    for (line, (field, reason)) in found.iter().zip(wanted) {
        let field = if *field == "." { "6: spec: ".to_owned() } else { format!(": spec.{field}: ") };
        assert!(line.contains(&field) && line.contains(reason), "{body}: {line:?} is not {field:?} {reason:?}");
    }
}

fn rejected(body: &str, wanted: &[(&str, &str)]) {
    rejected_as("CiliumNetworkPolicy", &format!("  endpointSelector: {{}}\n{body}"), wanted);
}

/// An entry of egress; fields are named from it.
fn egress(entry: &str, wanted: &[(&str, &str)]) {
    let wanted: Vec<(String, &str)> =
        wanted.iter().map(|(field, reason)| (format!("egress[0]{field}"), *reason)).collect();
    let wanted: Vec<(&str, &str)> = wanted.iter().map(|(field, reason)| (field.as_str(), *reason)).collect();
    rejected(&format!("  egress: [{entry}]"), &wanted);
}

/// An entry of `toPorts` in egress; fields are named from it.
fn ports(entry: &str, wanted: &[(&str, &str)]) {
    let wanted: Vec<(String, &str)> =
        wanted.iter().map(|(field, reason)| (format!(".toPorts[0]{field}"), *reason)).collect();
    let wanted: Vec<(&str, &str)> = wanted.iter().map(|(field, reason)| (field.as_str(), *reason)).collect();
    egress(&format!("{{toPorts: [{entry}]}}"), &wanted);
}

const TCP: &str = "ports: [{port: '80', protocol: TCP}]";
const LATER: &str = "is not enforced yet; ";

#[test]
fn subjects() {
    let policy = |body: &str, wanted: &[(&str, &str)]| rejected_as("CiliumNetworkPolicy", body, wanted);
    let cluster = |body: &str, wanted: &[(&str, &str)]| rejected_as("CiliumClusterwideNetworkPolicy", body, wanted);
    policy("  endpointSelector: {}", &[(".", "has no ingress, egress or deny rules")]);
    policy("  ingress: [{}]", &[("endpointSelector", "is missing")]);
    policy("  nodeSelector: {}\n  ingress: [{}]", &[("nodeSelector", "never in a namespaced policy")]);
    let both = "  endpointSelector: {}\n  nodeSelector: {}\n  ingress: [{}]";
    cluster(both, &[(".", "has both endpointSelector and nodeSelector"), ("nodeSelector", "host policy")]);
    // Host policies are refused as a whole, those with HTTP rules too.
    for direction in ["ingress", "egress"] {
        let http = format!("  nodeSelector: {{}}\n  {direction}: [{{toPorts: [{{{TCP}, rules: {{http: [{{}}]}}}}]}}]");
        cluster(&http, &[("nodeSelector", "host policy is not supported")]);
    }
}

#[test]
fn peers() {
    let two = [
        ("toEndpoints: [{}]", "toCIDR: [10.0.0.0/8]"),
        ("toCIDR: [10.0.0.0/8]", "toCIDRSet: [{cidr: 10.0.0.0/8}]"),
        ("toEndpoints: [{}]", "toEntities: [all]"),
        ("toEntities: [all]", "toServices: [{k8sService: {serviceName: s}}]"),
    ];
    for (one, other) in two {
        egress(&format!("{{{one}, {other}}}"), &[("", "combining")]);
    }
    let names = "{toCIDR: [10.0.0.0/8], toFQDNs: [{matchName: a.b}]}";
    egress(names, &[("", "combining toCIDR and toFQDNs"), (".toFQDNs", LATER)]);
    egress("{toEntities: [moon]}", &[(".toEntities[0]", "\"moon\" is no entity")]);
    egress("{toCIDR: ['']}", &[(".toCIDR[0]", "is not a CIDR")]);
    egress("{toCIDR: [10.0.0.0/255.0.255.0]}", &[(".toCIDR[0]", "is not a CIDR")]);
    let set = |entry: &str, wanted: &[(&str, &str)]| {
        let wanted: Vec<(String, &str)> =
            wanted.iter().map(|(field, reason)| (format!(".toCIDRSet[0]{field}"), *reason)).collect();
        let wanted: Vec<(&str, &str)> = wanted.iter().map(|(field, reason)| (field.as_str(), *reason)).collect();
        egress(&format!("{{toCIDRSet: [{entry}]}}"), &wanted);
    };
    set("{}", &[(".cidr", "is missing")]);
    set("{cidr: 10.0.0.0/8, cidrGroupRef: g}", &[("", "more than one of cidr")]);
    set("{cidrGroupRef: g, cidrGroupSelector: {matchLabels: {a: b}}}", &[("", "more than one")]);
    for nothing in ["{}", "{matchLabels: {}}", "{matchLabels: {a: null}, matchExpressions: []}"] {
        set(&format!("{{cidrGroupSelector: {nothing}}}"), &[(".cidrGroupSelector", "asks for nothing; write labels")]);
    }
    set("{cidrGroupRef: g}", &[]);
    set("{cidrGroupRef: G}", &[(".cidrGroupRef", "\"G\" is no name; write that of a CiliumCIDRGroup")]);
    set("{cidrGroupRef: ''}", &[(".cidrGroupRef", "is no name")]);
    set("{cidrGroupRef: [g]}", &[(".cidrGroupRef", "is a list; write a text")]);
    set("{cidrGroupRef: g, except: [10.0.0.1]}", &[(".except[0]", "has no prefix length")]);
    set("{cidrGroupRef: g, except: [10.0.0.0/8, 'fd00::/8']}", &[]);
    set("{cidrGroupSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}}", &[]);
    set("{cidrGroupSelector: {matchLabels: {'k8s:a': b}}}", &[(".cidrGroupSelector", "write the key alone")]);
    set("{cidrGroupSelector: {matchLabels: [a]}}", &[(".cidrGroupSelector.matchLabels", "is a list; write a map")]);
    set("{cidrGroupSelector: g}", &[(".cidrGroupSelector", "is a single value; write a map")]);
    set("{cidr: 10.0.0.1}", &[(".cidr", "has no prefix length")]);
    for except in ["11.0.0.0/16", "'fd00::/16'", "0.0.0.0/0"] {
        set(&format!("{{cidr: 10.0.0.0/8, except: [{except}]}}"), &[(".except[0]", "is not inside 10.0.0.0/8")]);
    }
    egress("{toNodes: [{}]}", &[(".toNodes", "selects nodes by label")]);
    rejected("  ingress: [{fromNodes: [{}]}]", &[("ingress[0].fromNodes", "selects nodes by label")]);
    egress(
        "{toEndpoints: [{matchExpressions: [{key: a, operator: Is}]}]}",
        &[(".toEndpoints[0].matchExpressions[0].operator", "is no operator")],
    );
}

#[test]
fn names() {
    egress("{toFQDNs: [{matchName: a.b}, {matchPattern: '*.b'}]}", &[(".toFQDNs", "write toCIDR with the addresses")]);
    let one = |name: &str, field: &str, reason: &str| {
        let field = format!(".toFQDNs[0]{field}");
        egress(&format!("{{toFQDNs: [{name}]}}"), &[(&field, reason), (".toFQDNs", LATER)]);
        let field = field.replace("toFQDNs", "toPorts[0].rules.dns");
        let dns = format!("{{toPorts: [{{ports: [{{port: '53'}}], rules: {{dns: [{name}]}}}}]}}");
        egress(&dns, &[(&field, reason), (".toPorts[0].rules.dns", LATER)]);
    };
    one("{matchName: a.b, matchPattern: a.b}", "", "has both matchName and matchPattern");
    one("{}", "", "needs one of matchName and matchPattern");
    one("{matchName: ''}", "", "needs one of matchName and matchPattern");
    one("~", "", "is empty; write matchName or matchPattern");
    one("{matchNames: a}", ".matchNames", "did you mean matchName?");
    one("{matchName: 1.5}", ".matchName", "write it in quotes");
    one("{matchName: '*.b'}", ".matchName", "write it as matchPattern");
    one("{matchName: a/b}", ".matchName", "is no host name");
    one("{matchPattern: 'a b'}", ".matchPattern", "is no host name");
    let long = "a".repeat(256);
    one(&format!("{{matchName: {long}}}"), ".matchName", "has 256 characters, the most is 255");
    one(&format!("{{matchPattern: {long}}}"), ".matchPattern", "has 256 characters, the most is 255");
    egress("{toFQDNs: {}}", &[(".toFQDNs", "is a map; write a list"), (".toFQDNs", LATER)]);
    rejected("  ingress: [{toFQDNs: [{matchName: a}]}]", &[("ingress[0].toFQDNs", "only known in egress")]);
    rejected("  egressDeny: [{toFQDNs: [{matchName: a}]}]", &[("egressDeny[0].toFQDNs", "deny rules know no names")]);
}

#[test]
fn the_line_is_the_fields_own() {
    let body = "  endpointSelector: {}\n  egress:\n  - toFQDNs:\n    - matchName: a.b\n      matchPattern: 'a b'\n";
    let found = told("CiliumNetworkPolicy", body);
    let places: Vec<&str> = found.iter().filter_map(|line| line.rsplit_once(": ")).map(|(place, _)| place).collect();
    assert_eq!(
        places,
        ["8: spec.egress[0].toFQDNs", "9: spec.egress[0].toFQDNs[0]", "10: spec.egress[0].toFQDNs[0].matchPattern",]
    );
}

#[test]
fn dns_rules() {
    let dns = "rules: {dns: [{matchPattern: '*'}]}";
    ports(&format!("{{ports: [{{port: '53'}}, {{port: '5353', protocol: UDP}}], {dns}}}"), &[(".rules.dns", LATER)]);
    ports(&format!("{{{dns}}}"), &[(".rules.dns", LATER), (".ports", "DNS rules need ports")]);
    ports(
        &format!("{{ports: [{{port: '0'}}], {dns}}}"),
        &[(".rules.dns", LATER), (".ports[0].port", "DNS rules can not be used when a port is 0")],
    );
    ports(
        &format!("{{ports: [{{port: '53', endPort: 54}}], {dns}}}"),
        &[(".rules.dns", LATER), (".ports[0].endPort", "DNS rules do not support port ranges")],
    );
    ports(&format!("{{ports: [{{port: '53', endPort: 53}}], {dns}}}"), &[(".rules.dns", LATER)]);
    let http_too = "rules: {http: [{}], dns: [{matchPattern: '*'}]}";
    ports(&format!("{{{TCP}, {http_too}}}"), &[(".rules", "has both http and dns"), (".rules.dns", LATER)]);
    ports(&format!("{{{TCP}, rules: {{http: [], dns: []}}}}"), &[(".rules", "has both http and dns")]);
    ports(&format!("{{{TCP}, rules: {{dns: []}}}}"), &[]);
    let ingress = format!("  ingress: [{{toPorts: [{{ports: [{{port: '53'}}], {dns}}}]}}]");
    rejected(&ingress, &[("ingress[0].toPorts[0].rules.dns", "DNS rules are not allowed on ingress")]);
    for gone in ["kafka: [{}]", "l7proto: x", "l7: [{}]"] {
        let field = gone.split(':').next().unwrap_or_default();
        ports(&format!("{{{TCP}, rules: {{{gone}}}}}"), &[(&format!(".rules.{field}"), "was removed from Cilium")]);
    }
}

#[test]
fn http_rules() {
    let http = "rules: {http: [{}]}";
    for protocol in ["", ", protocol: ANY", ", protocol: UDP", ", protocol: SCTP"] {
        ports(
            &format!("{{ports: [{{port: '80'{protocol}}}], {http}}}"),
            &[(".ports[0].protocol", "only apply to TCP")],
        );
    }
    ports(&format!("{{ports: [{{port: '0', protocol: TCP}}], {http}}}"), &[(".ports[0].port", "when a port is 0")]);
    ports(&format!("{{{http}}}"), &[(".ports", "HTTP rules need ports")]);
    for field in ["path", "method"] {
        let rule = format!("{{{TCP}, rules: {{http: [{{{field}: '*'}}]}}}}");
        ports(&rule, &[(&format!(".rules.http[0].{field}"), "not a regular expression")]);
    }
}

#[test]
fn port_numbers() {
    let one = |port: &str, wanted: &[(&str, &str)]| {
        let wanted: Vec<(String, &str)> =
            wanted.iter().map(|(field, reason)| (format!(".ports[0].{field}"), *reason)).collect();
        let wanted: Vec<(&str, &str)> = wanted.iter().map(|(field, reason)| (field.as_str(), *reason)).collect();
        ports(&format!("{{ports: [{port}]}}"), &wanted);
    };
    one("{port: ''}", &[("port", "is neither a port nor")]);
    one("{port: '65536'}", &[("port", "is no port")]);
    one("{port: '80', protocol: TPC}", &[("protocol", "is no protocol")]);
    for protocol in ["VRRP", "igmp", "GRE", "IPIP", "IPv6", "ESP", "AH"] {
        let later = ("protocol", "without ports is not enforced yet; ");
        one(&format!("{{protocol: {protocol}}}"), &[later]);
        one(&format!("{{port: '0', protocol: {protocol}}}"), &[later]);
        one(&format!("{{port: '80', protocol: {protocol}}}"), &[("port", "must be empty or 0"), later]);
    }
    one("{port: '8', protocol: ICMP}", &[("protocol", "belongs in icmps")]);
    let many = |count: usize| vec!["{port: '80'}"; count].join(", ");
    ports(&format!("{{ports: [{}]}}", many(41)), &[(".ports", "41 ports, the most is 40")]);
    ports(&format!("{{ports: [{}]}}", many(40)), &[]);
}

#[test]
fn icmp() {
    let fields = |fields: &str, wanted: &[(&str, &str)]| {
        let wanted: Vec<(String, &str)> =
            wanted.iter().map(|(field, reason)| (format!(".icmps[0].fields{field}"), *reason)).collect();
        let wanted: Vec<(&str, &str)> = wanted.iter().map(|(field, reason)| (field.as_str(), *reason)).collect();
        egress(&format!("{{icmps: [{{fields: [{fields}]}}]}}"), &wanted);
    };
    fields("{type: 8}, {type: 0, family: ''}, {type: Echo}, {type: '255', family: IPv6}", &[]);
    fields("{type: ExtendedEchoReply, family: IPv4}, {type: PacketTooBig, family: IPv6}", &[]);
    fields("", &[]);
    egress("{icmps: [{}]}", &[]);
    egress("{icmps: [{}, null]}", &[(".icmps[1]", "is empty; write fields")]);
    egress("{icmps: {fields: []}}", &[(".icmps", "is a map; write a list")]);
    egress("{icmps: [{fields: {type: 8}}]}", &[(".icmps[0].fields", "is a map; write a list")]);
    egress("{icmps: [{field: [{type: 8}]}]}", &[(".icmps[0].field", "did you mean fields?")]);
    fields("{family: ipv4, type: 8}", &[("[0].family", "write IPv4 or IPv6")]);
    fields("{family: [], type: 8}", &[("[0].family", "is a list; write a text")]);
    fields("{type: PacketTooBig}", &[("[0].type", "is no type of this family; write its number")]);
    fields("{family: IPv6, type: Echo}", &[("[0].type", "is no type of this family")]);
    fields("{type: EchoReqest}", &[("[0].type", "did you mean EchoRequest?")]);
    for wrong in ["256", "'256'", "08"] {
        fields(&format!("{{type: {wrong}}}"), &[("[0].type", "from 0 to 255")]);
    }
    fields("{type: -1}", &[("[0].type", "is no type")]);
    fields("{type: [8]}", &[("[0].type", "is a list; write a number or a name")]);
    fields("{}", &[("[0].type", "is missing")]);
    fields("{type: 8, code: 1}", &[("[0].code", "unknown field")]);
    fields(&vec!["{type: 8}"; 41].join(", "), &[("", "41 types, the most is 40")]);
    fields(&vec!["{type: 8}"; 40].join(", "), &[]);
    let both = "{icmps: [{fields: [{type: 8}]}], toPorts: [{ports: [{port: '80'}]}]}";
    egress(both, &[("", "has both icmps and toPorts")]);
    egress("{icmps: [], toPorts: [{ports: [{port: '80'}]}]}", &[]);
    egress("{icmps: [{fields: [{type: 8}]}], toPorts: []}", &[]);
    for list in ["ingress", "ingressDeny", "egressDeny"] {
        let field = format!("{list}[0].icmps[0].fields[0].type");
        rejected(&format!("  {list}: [{{icmps: [{{fields: [{{type: 256}}]}}]}}]"), &[(&field, "from 0 to 255")]);
        rejected(&format!("  {list}: [{{icmps: [{{fields: [{{type: 255}}]}}]}}]"), &[]);
    }
}

#[test]
fn server_names() {
    let names = |names: &str, wanted: &[(&str, &str)]| ports(&format!("{{{TCP}, serverNames: [{names}]}}"), wanted);
    names("", &[(".serverNames", "is an empty list")]);
    names("a.b, '*.c', '**'", &[(".serverNames", LATER)]);
    names("''", &[(".serverNames[0]", "is empty; write a server's name"), (".serverNames", LATER)]);
    names("a.b, 'a**.b'", &[(".serverNames[1]", "has several stars in a row"), (".serverNames", LATER)]);
    names("'(a|b).c'", &[(".serverNames[0]", "is no server name"), (".serverNames", LATER)]);
    names("1.5", &[(".serverNames[0]", "write it in quotes"), (".serverNames", LATER)]);
    let with = "serverNames: [a.b], rules: {http: [{}]}";
    ports(&format!("{{{TCP}, {with}}}"), &[(".serverNames", "add terminatingTLS"), (".serverNames", LATER)]);
    let terminated = format!("{{{TCP}, {with}, terminatingTLS: {{secret: {{name: s}}}}}}");
    ports(&terminated, &[(".serverNames", LATER), (".terminatingTLS", LATER)]);
}

#[test]
fn tls_sections() {
    for section in ["terminatingTLS", "originatingTLS"] {
        let one = |form: &str, field: &str, reason: &str| {
            let field = format!(".{section}{field}");
            ports(&format!("{{{TCP}, {section}: {form}}}"), &[(&field, reason), (&format!(".{section}"), LATER)]);
        };
        let fine = "{secret: {namespace: n, name: s}, trustedCA: ca.crt, certificate: tls.crt, privateKey: tls.key}";
        ports(&format!("{{{TCP}, {section}: {fine}}}"), &[(&format!(".{section}"), LATER)]);
        one("{}", ".secret", "is missing");
        one("{secret: {}}", ".secret.name", "is missing; a secret has a name");
        one("{secret: {name: A}}", ".secret.name", "is not a name");
        one("{secret: {name: [s]}}", ".secret.name", "is a list");
        one("{secret: {name: s, namespace: a.b}}", ".secret.namespace", "is no namespace");
        one("{secret: {name: s}, trustedCA: a/b}", ".trustedCA", "is no key of a secret");
        one("{secret: {name: s}, certificate: [a]}", ".certificate", "is a list; write a text");
        one("{secret: {name: s}, privatekey: a}", ".privatekey", "did you mean privateKey?");
        one("[]", "", "is a list; write a map");
        let cluster = format!(
            "  endpointSelector: {{}}\n  egress: [{{toPorts: [{{{TCP}, {section}: {{secret: {{name: s}}}}}}]}}]"
        );
        rejected_as(
            "CiliumClusterwideNetworkPolicy",
            &cluster,
            &[
                (&format!("egress[0].toPorts[0].{section}.secret.namespace"), "has no namespace of its own"),
                (&format!("egress[0].toPorts[0].{section}"), LATER),
            ],
        );
        let deny = format!("  egressDeny: [{{toPorts: [{{{TCP}, {section}: {fine}}}]}}]");
        rejected(&deny, &[(&format!("egressDeny[0].toPorts[0].{section}"), "deny rules are about ports only")]);
    }
}

#[test]
fn cidr_groups() {
    let group = |rest: &str| {
        let text = format!("apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\n{rest}\n");
        match parse(&text).as_slice() {
            [Document::Policy(policy)] => {
                assert!(policy.rules.is_empty() && policy.cidr_group.is_some());
                String::new()
            }
            [Document::Refused(refused)] => {
                assert!(refused.scopes.is_empty(), "it selects no endpoints");
                let show = |error: &super::FieldError| format!("{}: {}: {}", error.line, error.field, error.reason);
                refused.errors.iter().map(show).collect::<Vec<_>>().join("; ")
            }
            other => panic!("{rest}: {other:?}"),
        }
    };
    let name = "metadata: {name: g}\n";
    assert_eq!(group(&format!("{name}spec: {{externalCIDRs: []}}")), "");
    assert_eq!(group("metadata: {name: g, labels: {a/b: c, d: ''}}\nspec: {externalCIDRs: ['::/0', 10.0.0.1/8]}"), "");
    for (rest, wanted) in [
        (name.to_owned(), "1: spec: is missing"),
        (format!("{name}spec: {{}}"), "4: spec.externalCIDRs: is missing; write a list"),
        (format!("{name}spec: {{externalCIDRs: null}}"), "spec.externalCIDRs: is missing"),
        (format!("{name}spec: {{externalCIDRs: 10.0.0.0/8}}"), "spec.externalCIDRs: is a single value; write a list"),
        (format!("{name}spec: {{externalCIDRs: [10.0.0.1]}}"), "spec.externalCIDRs[0]: has no prefix length"),
        (format!("{name}spec: {{externalCIDRs: [10.0.0.0/8, null]}}"), "spec.externalCIDRs[1]: is empty"),
        (format!("{name}spec: {{externalCIDRs: ['::ffff:10.0.0.0/104']}}"), "IPv4 in the form of IPv6"),
        (format!("{name}spec: {{externalCIDR: [10.0.0.0/8]}}"), "did you mean externalCIDRs?"),
        (format!("{name}spec: []"), "spec: is a list; write a map"),
        ("metadata: {name: g, labels: {'k8s:a': b}}\nspec: {externalCIDRs: []}".to_owned(), "has a colon"),
        ("metadata: {name: g, labels: {a: '-'}}\nspec: {externalCIDRs: []}".to_owned(), "label value"),
        ("metadata: {name: g, labels: [a]}\nspec: {externalCIDRs: []}".to_owned(), "metadata.labels: is a list"),
        (
            "metadata: {name: g, annotations: {l7proxy.io/audit: 'true'}}\nspec: {externalCIDRs: []}".to_owned(),
            "a group of addresses denies nothing",
        ),
    ] {
        let found = group(&rest);
        assert!(found.contains(wanted), "{rest}: {found:?} is not {wanted:?}");
    }
}

#[test]
fn listeners() {
    const NEVER: (&str, &str) = (".listener", "custom Envoy listeners are not supported");
    let one = |form: &str, field: &str, reason: &str| {
        ports(&format!("{{{TCP}, listener: {form}}}"), &[(&format!(".listener{field}"), reason), NEVER]);
    };
    let fine = "{envoyConfig: {kind: CiliumEnvoyConfig, name: e}, name: L, priority: 100}";
    ports(&format!("{{{TCP}, listener: {fine}}}"), &[NEVER]);
    one("{name: l}", ".envoyConfig", "is missing");
    one("{envoyConfig: {}, name: l}", ".envoyConfig.name", "is missing");
    one("{envoyConfig: {name: e}}", ".name", "is missing; a listener has a name");
    one("{envoyConfig: {kind: EnvoyConfig, name: e}, name: l}", ".envoyConfig.kind", "is no kind");
    for priority in ["0", "101", "'5'", "x"] {
        let form = format!("{{envoyConfig: {{name: e}}, name: l, priority: {priority}}}");
        one(&form, ".priority", "write a number from 1 to 100");
    }
    let ingress = format!("  ingress: [{{toPorts: [{{{TCP}, listener: {fine}}}]}}]");
    let listener = "ingress[0].toPorts[0].listener";
    rejected(&ingress, &[(listener, "is not allowed on ingress"), (listener, NEVER.1)]);
    let l7 = format!("{{{TCP}, listener: {fine}, rules: {{http: [{{}}]}}}}");
    ports(&l7, &[(".listener", "beside HTTP or DNS rules"), NEVER]);
    let cluster = |kind: &str| {
        let form = format!("{{envoyConfig: {{kind: {kind}, name: e}}, name: l}}");
        format!("  endpointSelector: {{}}\n  egress: [{{toPorts: [{{{TCP}, listener: {form}}}]}}]")
    };
    let never = ("egress[0].toPorts[0].listener", NEVER.1);
    rejected_as(
        "CiliumClusterwideNetworkPolicy",
        &cluster("CiliumEnvoyConfig"),
        &[("egress[0].toPorts[0].listener.envoyConfig.kind", "is namespaced"), never],
    );
    rejected_as("CiliumClusterwideNetworkPolicy", &cluster("CiliumClusterwideEnvoyConfig"), &[never]);
}
