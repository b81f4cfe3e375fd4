//! What `toPorts` says about TLS: server names, the two TLS sections, and listeners of one's own.
//!
//! Owns their form. Must never look at a secret: whether its keys exist is known where it is read. Start at [`check`].

use super::{
    cilium::{Context, Home, Place},
    read::{Reader, join},
    yaml::{Node, Value},
};
use crate::selector::is_dns_name;

/// Fields of `toPorts` that are read here.
pub(super) const FIELDS: [&str; 4] = ["serverNames", "terminatingTLS", "originatingTLS", "listener"];

/// Characters of a server name, as of any name in DNS.
const MAX_NAME: usize = 255;
/// Characters of a key of a secret, as in Kubernetes.
const MAX_KEY: usize = 253;

const TLS_NOT_ENFORCED: &str = "is not enforced yet; remove it and write rules for the ports only";
const NAMES_NOT_ENFORCED: &str = "is not enforced yet; remove it: the rule is then about every server on its ports";
const LISTENER: &str = "custom Envoy listeners are not supported; remove it";

/// Checks the fields about TLS of one entry of `toPorts`; `has_l7`: it has HTTP or DNS rules.
pub(super) fn check(node: &Node, place: &Place, context: &Context<'_>, has_l7: bool, reader: &mut Reader<'_>) {
    server_names(node, place, has_l7, reader);
    for key in ["terminatingTLS", "originatingTLS"] {
        if let Some(section) = node.present(key) {
            tls_section(section, &place.field(key), context.home, reader);
            reader.unsupported(node, &place.path, key, TLS_NOT_ENFORCED);
        }
    }
    if let Some(given) = node.present("listener") {
        let path = place.field("listener");
        listener(given, &path, context.home, reader);
        if !context.is_egress() {
            reader.error(given.line, &path, "is not allowed on ingress");
        }
        if has_l7 {
            reader.error(given.line, &path, "is not allowed beside HTTP or DNS rules");
        }
        reader.unsupported(node, &place.path, "listener", LISTENER);
    }
}

fn server_names(node: &Node, place: &Place, has_l7: bool, reader: &mut Reader<'_>) {
    let Some(list) = reader.list(node, &place.path, "serverNames") else { return };
    if list.is_empty() {
        let reason = "is an empty list; write a server's name, or remove it";
        reader.error(node.line_of("serverNames"), &place.field("serverNames"), reason);
        return;
    }
    for (index, name) in list.iter().enumerate() {
        let path = place.entry("serverNames", index).path;
        let Some(text) = reader.scalar(name, &path) else { continue };
        if let Some(problem) = server_name_problem(text) {
            reader.error(name.line, &path, problem);
        }
    }
    if has_l7 && node.present("terminatingTLS").is_none() {
        let reason = "server names need TLS, where HTTP and DNS rules see nothing; add terminatingTLS or remove one";
        reader.error(node.line_of("serverNames"), &place.field("serverNames"), reason);
    }
    reader.unsupported(node, &place.path, "serverNames", NAMES_NOT_ENFORCED);
}

/// Why a text is no pattern of server names.
fn server_name_problem(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("is empty; write a server's name, or \"*\" for any".to_owned());
    }
    let length = text.chars().count();
    if length > MAX_NAME {
        return Some(format!("has {length} characters, the most is {MAX_NAME}"));
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*');
    let labels = text.strip_suffix('.').unwrap_or(text);
    for label in labels.split('.') {
        if label.is_empty() || !label.bytes().all(letter) {
            return Some(format!(
                "{text:?} is no server name; write letters, digits, '-', '_', '*', in parts with one dot between them"
            ));
        }
        if label != "**" && label.contains("**") {
            return Some(format!("{text:?} has several stars in a row; write one, or ** as a whole part"));
        }
    }
    None
}

/// `{secret, trustedCA, certificate, privateKey}`.
fn tls_section(node: &Node, path: &str, home: Home<'_>, reader: &mut Reader<'_>) {
    const KEYS: [&str; 3] = ["trustedCA", "certificate", "privateKey"];
    let known: Vec<&str> = ["secret"].into_iter().chain(KEYS).collect();
    if !reader.keys(node, path, &known, &[]) {
        return;
    }
    for key in KEYS {
        let Some(text) = reader.text(node, path, key) else { continue };
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.len() > MAX_KEY || !text.bytes().all(letter) {
            let reason = "is no key of a secret; write letters, digits, '-', '_', '.', for example tls.crt";
            reader.error(node.line_of(key), &join(path, key), reason);
        }
    }
    let path = join(path, "secret");
    match node.present("secret") {
        Some(secret) => check_secret(secret, &path, home, reader),
        None => reader.error(node.line, &path, "is missing; write for example {name: my-certificate}"),
    }
}

fn check_secret(node: &Node, path: &str, home: Home<'_>, reader: &mut Reader<'_>) {
    if !reader.keys(node, path, &["namespace", "name"], &[]) {
        return;
    }
    name(node, path, "a secret", reader);
    let given = node.present("namespace").filter(|value| value.text() != Some(""));
    match (given, home) {
        (Some(value), _) => {
            let text = reader.scalar(value, &join(path, "namespace"));
            if text.is_some_and(|text| !is_dns_name(text) || text.contains('.') || text.len() > 63) {
                let reason = "is no namespace; write lower case ASCII letters, digits and '-'";
                reader.error(value.line, &join(path, "namespace"), reason);
            }
        }
        (None, Home::Namespace(_)) => {}
        (None, Home::Cluster) => {
            let reason = "is missing; a cluster-wide policy has no namespace of its own";
            reader.error(node.line, &join(path, "namespace"), reason);
        }
    }
}

/// The required `name` of an object.
fn name(node: &Node, path: &str, what: &str, reader: &mut Reader<'_>) {
    let told = reader.told();
    let text = reader.text(node, path, "name").filter(|text| !text.is_empty());
    let path = join(path, "name");
    match text {
        None if reader.told() == told => {
            reader.error(node.line, &path, format!("is missing; {what} has a name"));
        }
        Some(text) if !is_dns_name(text) => {
            let reason = format!("{text:?} is not a name; write lower case ASCII letters, digits, '-' and '.'");
            reader.error(node.line_of("name"), &path, reason);
        }
        None | Some(_) => {}
    }
}

/// `{envoyConfig: {kind, name}, name, priority}`.
fn listener(node: &Node, path: &str, home: Home<'_>, reader: &mut Reader<'_>) {
    if !reader.keys(node, path, &["envoyConfig", "name", "priority"], &[]) {
        return;
    }
    if let Some(config) = node.present("envoyConfig") {
        envoy_config(config, &join(path, "envoyConfig"), home, reader);
    } else {
        let reason = "is missing; write kind and name of the CiliumEnvoyConfig";
        reader.error(node.line, &join(path, "envoyConfig"), reason);
    }
    // Not a name of Kubernetes: any text.
    let told = reader.told();
    let text = reader.text(node, path, "name");
    if text.is_none_or(str::is_empty) && reader.told() == told {
        reader.error(node.line, &join(path, "name"), "is missing; a listener has a name");
    }
    let Some(priority) = node.present("priority") else { return };
    let Value::Scalar { text, plain } = &priority.value else {
        reader.mistyped(priority, &join(path, "priority"), "a number");
        return;
    };
    if !plain || !text.parse::<u8>().is_ok_and(|number| (1..=100).contains(&number)) {
        reader.error(priority.line, &join(path, "priority"), "is no priority; write a number from 1 to 100");
    }
}

fn envoy_config(node: &Node, path: &str, home: Home<'_>, reader: &mut Reader<'_>) {
    if !reader.keys(node, path, &["kind", "name"], &[]) {
        return;
    }
    name(node, path, "a CiliumEnvoyConfig", reader);
    let Some(kind) = reader.text(node, path, "kind") else { return };
    let reason = match (kind, home) {
        ("" | "CiliumEnvoyConfig", Home::Namespace(_)) | ("" | "CiliumClusterwideEnvoyConfig", _) => return,
        ("CiliumEnvoyConfig", Home::Cluster) => {
            "is namespaced, and a cluster-wide policy has no namespace; write CiliumClusterwideEnvoyConfig".to_owned()
        }
        (kind, _) => format!("{kind:?} is no kind; write CiliumEnvoyConfig or CiliumClusterwideEnvoyConfig"),
    };
    reader.error(node.line_of("kind"), &join(path, "kind"), reason);
}

#[cfg(test)]
mod tests {
    use super::server_name_problem;

    #[test]
    fn server_names_are_labels_and_stars() {
        for name in ["a", "a.b", "a.b.", "*", "**", "*.a", "**.a", "a.**", "a.*.b", "ex*e", "*a*b*", "_a-b.C"] {
            assert_eq!(server_name_problem(name), None, "{name}");
        }
        for name in
            ["", ".", ".a", "a..b", "a.b..", "***", "a**", "**a.b", "a b", "a.b:443", "(a)", "é", &"a".repeat(256)]
        {
            assert!(server_name_problem(name).is_some(), "{name}");
        }
    }
}
