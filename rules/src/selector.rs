//! Label selectors of Cilium's kinds: Kubernetes' form, keys with an optional source in front.
//!
//! Owns what a key is and when a requirement holds. Must never take a key that Kubernetes would not. Start at [`Selector`].

use crate::labels::{CLUSTER, Label, Labels, NAMESPACE};

/// A key: `k8s:app`, or `app`, which any source may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// `None`: any.
    pub(crate) source: Option<String>,
    pub(crate) key: String,
}

impl Key {
    /// Splits the source off. The text was validated.
    pub(crate) fn parse(text: &str) -> Self {
        let (source, key) = split_source(text);
        Self { source: (source != ANY).then(|| source.to_owned()), key: key.to_owned() }
    }

    /// A key that only pods' labels have.
    pub(crate) fn of_pods(key: &str) -> Self {
        Self { source: Some("k8s".to_owned()), key: key.to_owned() }
    }

    fn holds(&self, label: &Label) -> bool {
        label.key == self.key && self.source.as_ref().is_none_or(|source| *source == label.source)
    }
}

/// What is asked of one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Requirement {
    /// An entry of `matchLabels`.
    Is(Key, String),
    In(Key, Vec<String>),
    NotIn(Key, Vec<String>),
    Exists(Key),
    DoesNotExist(Key),
}

impl Requirement {
    /// Some cluster: only pods have one, and they are all of this one.
    pub(crate) fn of_cluster() -> Self {
        Self::Exists(Key::of_pods(CLUSTER))
    }

    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Is(key, _) | Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => {
                key
            }
        }
    }

    pub(crate) fn key_mut(&mut self) -> &mut Key {
        match self {
            Self::Is(key, _) | Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => {
                key
            }
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        let has = |key: &Key| labels.iter().any(|label| key.holds(label));
        let has_value =
            |key: &Key, values: &[String]| labels.iter().any(|label| key.holds(label) && values.contains(&label.value));
        match self {
            Self::Is(key, value) => labels.iter().any(|label| key.holds(label) && label.value == *value),
            Self::In(key, values) => has_value(key, values),
            // Also when the key is absent, as in Kubernetes.
            Self::NotIn(key, values) => !has_value(key, values),
            Self::Exists(key) => has(key),
            Self::DoesNotExist(key) => !has(key),
        }
    }
}

/// All requirements hold; none at all selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    pub(crate) requirements: Vec<Requirement>,
}

impl Selector {
    /// Whether `labels` are selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// Requires the namespace `name`, in place of another one under `matchLabels`. What `matchExpressions` or `any:` keys
    /// ask of the namespace stays and must hold too: so does Cilium.
    pub(crate) fn set_namespace(&mut self, name: &str) {
        let key = Key::of_pods(NAMESPACE);
        self.requirements.retain(|requirement| !matches!(requirement, Requirement::Is(known, _) if *known == key));
        self.requirements.push(Requirement::Is(key, name.to_owned()));
    }

    /// Requires some namespace: every pod, and nothing else.
    pub(crate) fn pods() -> Self {
        Self { requirements: vec![Requirement::Exists(Key::of_pods(NAMESPACE))] }
    }

    /// Whether it names a key for which `wanted` holds.
    pub(crate) fn names(&self, wanted: impl Fn(&Key) -> bool) -> bool {
        self.requirements.iter().any(|requirement| wanted(requirement.key()))
    }

    /// Short form for records: `app=web,tier!=db`.
    pub(crate) fn summary(&self) -> String {
        // That a peer is of the cluster goes without saying.
        let said = self.requirements.iter().filter(|requirement| **requirement != Requirement::of_cluster());
        let parts: Vec<String> = said.map(summary).collect();
        if parts.is_empty() { "everything".to_owned() } else { parts.join(",") }
    }
}

fn summary(requirement: &Requirement) -> String {
    let name = |key: &Key| match &key.source {
        Some(source) if source != "k8s" => format!("{source}:{}", key.key),
        _ => key.key.clone(),
    };
    match requirement {
        Requirement::Is(key, value) => format!("{}={value}", name(key)),
        Requirement::In(key, values) => format!("{}={}", name(key), values.join("|")),
        Requirement::NotIn(key, values) => format!("{}!={}", name(key), values.join("|")),
        Requirement::Exists(key) => name(key),
        Requirement::DoesNotExist(key) => format!("!{}", name(key)),
    }
}

/// The source of keys that any source may hold.
const ANY: &str = "any";
/// Sources whose labels exist here. A selector of another source would select nobody, without anybody being told.
const SOURCES: [&str; 3] = [ANY, "k8s", "reserved"];

/// `k8s:app` → (`k8s`, `app`); `app` → (`any`, `app`).
fn split_source(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((ANY, text))
}

/// Why a key is no label key, or `None`. Kubernetes' rules after Cilium's source prefix.
pub(crate) fn key_problem(text: &str) -> Option<String> {
    let (source, key) = split_source(text);
    if !SOURCES.contains(&source) {
        return Some(format!(
            "label source {source:?} is not supported; write k8s:, any:, reserved: or nothing in front of the key"
        ));
    }
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_some_and(|prefix| !is_dns_name(prefix)) {
        return Some(format!("label key {}: what stands before / is no DNS name", quoted(text)));
    }
    if name.len() > 63 || !is_word(name) {
        return Some(format!(
            "label key {} is not valid: 1 to 63 ASCII letters, digits, '-', '_', '.', beginning and ending with a letter or digit",
            quoted(text)
        ));
    }
    None
}

/// Names of objects, and what may stand before `/` in a label's key: lower case, as Kubernetes wants it.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 253 && text.split('.').all(|part| is_token(part, inner))
}

/// Why a value is no label value, or `None`.
pub(crate) fn value_problem(value: &str) -> Option<String> {
    let valid = value.is_empty() || (value.len() <= 63 && is_word(value));
    (!valid).then(|| {
        format!(
            "label value {} is not valid: at most 63 ASCII letters, digits, '-', '_', '.', beginning and ending with a letter or digit",
            quoted(value)
        )
    })
}

/// In quotes; a letter that may look like an ASCII one is told by its number.
pub(crate) fn quoted(text: &str) -> String {
    match text.chars().find(|letter| !letter.is_ascii()) {
        Some(letter) => format!("{text:?} ({letter:?} is U+{:04X})", u32::from(letter)),
        None => format!("{text:?}"),
    }
}

fn is_word(text: &str) -> bool {
    is_token(text, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_token(text: &str, inner: impl Fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.bytes().all(inner) && ends.iter().all(|end| end.is_some_and(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::new([Label::new("k8s", "app", "web"), Label::new("reserved", "host", "")])
    }

    fn selects(requirement: Requirement) -> bool {
        Selector { requirements: vec![requirement] }.matches(&labels())
    }

    #[test]
    fn operators_mean_what_kubernetes_means() {
        let values = |value: &str| vec![value.to_owned()];
        assert!(selects(Requirement::In(Key::parse("app"), values("web"))));
        assert!(selects(Requirement::In(Key::parse("any:app"), values("web"))));
        assert!(!selects(Requirement::In(Key::parse("reserved:app"), values("web"))));
        assert!(!selects(Requirement::NotIn(Key::parse("app"), values("web"))));
        assert!(selects(Requirement::NotIn(Key::parse("tier"), values("web"))), "an absent key is not in");
        assert!(selects(Requirement::Exists(Key::parse("reserved:host"))));
        assert!(selects(Requirement::DoesNotExist(Key::parse("k8s:host"))));
        assert!(!selects(Requirement::Exists(Key::parse("reserved.host"))), "a key with a dot");
        assert!(selects(Requirement::Is(Key::parse("app"), "web".to_owned())));
        assert!(!selects(Requirement::Is(Key::parse("app"), "db".to_owned())));
        assert!(Selector::default().matches(&labels()), "no requirement selects everything");
    }

    #[test]
    fn a_namespace_is_overridden_where_cilium_overrides_it() {
        let namespace = |key: &str| Requirement::Is(Key::parse(key), "other".to_owned());
        let forced = |requirement| {
            let mut selector = Selector { requirements: vec![requirement] };
            selector.set_namespace("own");
            let own = Labels::new([Label::new("k8s", NAMESPACE, "own")]);
            selector.matches(&own)
        };
        assert!(forced(namespace("k8s:io.kubernetes.pod.namespace")), "replaced");
        assert!(!forced(namespace("io.kubernetes.pod.namespace")), "both must hold");
        let expression = Requirement::In(Key::parse("k8s:io.kubernetes.pod.namespace"), vec!["other".to_owned()]);
        assert!(!forced(expression), "both must hold");
    }

    #[test]
    fn look_alikes_are_no_label_keys() {
        for key in [
            "аpp",
            "app ",
            "-app",
            "a/b/c",
            "",
            "K8s:app",
            "k8s:",
            "Example.com/app",
            "/app",
            "a/",
            "cidr:10.0.0.0/8",
            "fqdn:a",
        ] {
            assert!(key_problem(key).is_some(), "{key:?}");
        }
        for key in [
            "app",
            "k8s:app.kubernetes.io/name",
            "any:app",
            "io.kubernetes.pod.namespace",
            "reserved:host",
            "reserved.host",
        ] {
            assert_eq!(key_problem(key), None, "{key:?}");
        }
        assert!(value_problem("wéb").is_some());
        assert_eq!(value_problem(""), None);
    }
}
