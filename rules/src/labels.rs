//! Labels as identities carry them: `source:key=value`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Key of the label that holds a pod's namespace.
pub(crate) const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Prefix of keys that hold the labels of a pod's namespace.
pub(crate) const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";
pub(crate) const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";

/// One label. Shown as `k8s:app=web`, or `reserved:host` when the value is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Where it comes from: `k8s`, `reserved`, `cidr`.
    pub source: String,
    /// Its key.
    pub key: String,
    /// Its value, may be empty.
    pub value: String,
}

impl Label {
    /// A label of `source`.
    #[must_use]
    pub fn new(source: &str, key: &str, value: &str) -> Self {
        Self { source: source.to_owned(), key: key.to_owned(), value: value.to_owned() }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.key)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, "={}", self.value) }
    }
}

/// A set of labels, sorted: what an identity stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeSet<Label>);

impl Labels {
    /// The set of `labels`.
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Self {
        Self(labels.into_iter().collect())
    }

    /// Every label, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }

    /// The value of `key` from `source`.
    #[must_use]
    pub fn get(&self, source: &str, key: &str) -> Option<&str> {
        self.0.iter().find(|label| label.source == source && label.key == key).map(|label| label.value.as_str())
    }

    /// Every label as text, sorted, as Hubble shows them.
    #[must_use]
    pub fn strings(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// What a pod's label set is made of.
#[derive(Clone, Copy, Debug)]
pub struct PodLabels<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Service account, if known.
    pub service_account: Option<&'a str>,
    /// The pod's own labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Labels of its namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
}

impl From<PodLabels<'_>> for Labels {
    /// As Cilium derives them: the pod's labels, its namespace and the namespace's labels, cluster, service account.
    fn from(pod: PodLabels<'_>) -> Self {
        let own = pod.labels.iter().map(|(key, value)| Label::new("k8s", key, value));
        let of_namespace = pod
            .namespace_labels
            .iter()
            .map(|(key, value)| Label::new("k8s", &format!("{NAMESPACE_LABELS}{key}"), value));
        // Kubernetes sets this label on every namespace (1.21 and later).
        let name_key = format!("{NAMESPACE_LABELS}kubernetes.io/metadata.name");
        let known = [
            Label::new("k8s", NAMESPACE, pod.namespace),
            Label::new("k8s", CLUSTER, pod.cluster),
            Label::new("k8s", &name_key, pod.namespace),
        ];
        let account = pod.service_account.map(|name| Label::new("k8s", SERVICE_ACCOUNT, name));
        Self::new(own.chain(of_namespace).chain(known).chain(account))
    }
}
