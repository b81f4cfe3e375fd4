//! Label selectors of Cilium's kinds: Kubernetes' form, keys with an optional source in front.

use crate::labels::{Label, Labels};

/// A key: `k8s:app`, or `app`, which any source may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// `None`: any.
    pub(crate) source: Option<String>,
    pub(crate) key: String,
}

impl Key {
    /// Splits the source off. The text was validated.
    pub(crate) fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some(("any", key)) => Self { source: None, key: key.to_owned() },
            Some((source, key)) => Self { source: Some(source.to_owned()), key: key.to_owned() },
            None => Self { source: None, key: text.to_owned() },
        }
    }

    fn holds(&self, label: &Label) -> bool {
        label.key == self.key && self.source.as_ref().is_none_or(|source| *source == label.source)
    }
}

/// What is asked of one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Requirement {
    In(Key, Vec<String>),
    NotIn(Key, Vec<String>),
    Exists(Key),
    DoesNotExist(Key),
}

impl Requirement {
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => key,
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        let has = |key: &Key| labels.iter().any(|label| key.holds(label));
        let has_value =
            |key: &Key, values: &[String]| labels.iter().any(|label| key.holds(label) && values.contains(&label.value));
        match self {
            Self::In(key, values) => has_value(key, values),
            // Also when the key is absent, as in Kubernetes.
            Self::NotIn(key, values) => !has_value(key, values),
            Self::Exists(key) => has(key),
            Self::DoesNotExist(key) => !has(key),
        }
    }
}

/// All requirements hold; none at all selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub(crate) requirements: Vec<Requirement>,
}

impl Selector {
    /// Whether `labels` are selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// Adds `source:key = value`, in place of what else was asked of that key.
    pub(crate) fn force(&mut self, source: &str, key: &str, value: &str) {
        self.requirements.retain(|requirement| requirement.key().key != key);
        let key = Key { source: Some(source.to_owned()), key: key.to_owned() };
        self.requirements.push(Requirement::In(key, vec![value.to_owned()]));
    }

    /// Whether it names a key for which `wanted` holds.
    pub(crate) fn names(&self, wanted: impl Fn(&Key) -> bool) -> bool {
        self.requirements.iter().any(|requirement| wanted(requirement.key()))
    }

    /// Short form for records: `app=web,tier!=db`.
    pub(crate) fn summary(&self) -> String {
        let parts: Vec<String> = self.requirements.iter().map(summary).collect();
        if parts.is_empty() { "everything".to_owned() } else { parts.join(",") }
    }
}

fn summary(requirement: &Requirement) -> String {
    let name = |key: &Key| match &key.source {
        Some(source) if source != "k8s" => format!("{source}:{}", key.key),
        _ => key.key.clone(),
    };
    match requirement {
        Requirement::In(key, values) => format!("{}={}", name(key), values.join("|")),
        Requirement::NotIn(key, values) => format!("{}!={}", name(key), values.join("|")),
        Requirement::Exists(key) => name(key),
        Requirement::DoesNotExist(key) => format!("!{}", name(key)),
    }
}

/// Why a key is no label key, or `None`. Kubernetes' rules after Cilium's source prefix.
pub(crate) fn key_problem(text: &str) -> Option<String> {
    let (source, key) = text.split_once(':').unwrap_or(("any", text));
    if source.is_empty() || !source.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Some(format!("label source {source:?} is not one; write k8s:, any:, reserved: or nothing in front"));
    }
    if source == "cidr" {
        return None;
    }
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let dns = |prefix: &str| {
        prefix.len() <= 253
            && prefix
                .split('.')
                .all(|part| !part.is_empty() && is_token(part, |b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    if prefix.is_some_and(|prefix| !dns(prefix)) {
        return Some(format!("label key {text:?}: what stands before / is no DNS name"));
    }
    if name.is_empty() || name.len() > 63 || !is_word(name) {
        return Some(format!(
            "label key {text:?} is not valid: 1 to 63 ASCII letters, digits, '-', '_', '.', beginning and ending with a letter or digit"
        ));
    }
    None
}

/// Why a value is no label value, or `None`.
pub(crate) fn value_problem(value: &str) -> Option<String> {
    let valid = value.is_empty() || (value.len() <= 63 && is_word(value));
    (!valid).then(|| {
        format!("label value {value:?} is not valid: at most 63 ASCII letters, digits, '-', '_', '.', beginning and ending with a letter or digit")
    })
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
        assert!(Selector::default().matches(&labels()), "no requirement selects everything");
    }

    #[test]
    fn look_alikes_are_no_label_keys() {
        for key in ["аpp", "app ", "-app", "a/b/c d", "", "K8s:app", "k8s:"] {
            assert!(key_problem(key).is_some(), "{key:?}");
        }
        for key in ["app", "k8s:app.kubernetes.io/name", "io.kubernetes.pod.namespace", "reserved:host"] {
            assert_eq!(key_problem(key), None, "{key:?}");
        }
        assert!(value_problem("wéb").is_some());
        assert_eq!(value_problem(""), None);
    }
}
