//! Which metrics are made of flows, and with which labels: Hubble's list of texts.
//!
//! Owns the language, `<metric>[:<option>[=<value>][;…]]`, and its words. Never takes a word that it does not know for nothing: where
//! Hubble goes on without, this is refused. Start at [`FlowMetric`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the metrics, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct FlowMetric {
    /// Which.
    pub name: MetricName,
    /// Labels that say who with whom.
    pub context: ContextOptions,
    /// `exemplars=true`: trace ids beside the numbers.
    pub exemplars: bool,
    /// What of flows to the world counts.
    pub world: WorldOptions,
    text: String,
}

/// What of flows to the world counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorldOptions {
    /// `any-drop`: also what was dropped for other reasons than policy.
    pub any_drop: bool,
    /// `port`: with a label for the destination's port.
    pub port: bool,
    /// `syn-only`: only what begins a connection.
    pub syn_only: bool,
}

/// Metrics by the names that Hubble's configuration has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricName {
    /// `hubble_flows_processed_total`.
    Flow,
    /// `hubble_drop_total`.
    Drop,
    /// `hubble_http_requests_total` and others, of requests and of responses.
    Http,
    /// `hubble_http_requests_total` and another, of responses, which say more.
    HttpV2,
    /// `hubble_policy_verdicts_total`.
    Policy,
    /// `hubble_tcp_flags_total`.
    Tcp,
    /// `hubble_port_distribution_total`.
    PortDistribution,
    /// `hubble_flows_to_world_total`.
    FlowsToWorld,
    /// `hubble_dns_queries_total` and others. There are no such flows in this version.
    Dns,
    /// `hubble_icmp_total`, of what passed. There are no such flows in this version.
    Icmp,
    /// `hubble_sctp_chunk_types_total`, of what passed. There are no such flows in this version.
    Sctp,
}

/// Labels that say who with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextOptions {
    /// Labels `source_…`, `destination_…` and `traffic_direction`, in Hubble's order.
    pub labels: Vec<ContextLabel>,
    /// What the label `source` may be.
    pub source: Context,
    /// What the label `destination` may be.
    pub destination: Context,
}

/// What one label may be: the first that is not empty. Without any there is no such label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// In both directions,
    pub any: Vec<Identifier>,
    /// but for what leaves pods
    pub egress: Option<Vec<Identifier>>,
    /// and what enters them.
    pub ingress: Option<Vec<Identifier>>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$line:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$line])* $variant,)*
        }

        impl $name {
            const ALL: &[(Self, &'static str)] = &[$((Self::$variant, $word),)*];

            /// As it is written.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

words! {
    /// A label of `labelsContext`, in the order in which Hubble has them.
    ContextLabel {
        /// Address.
        SourceIp = "source_ip",
        /// Name of the pod, without its namespace.
        SourcePod = "source_pod",
        /// Namespace.
        SourceNamespace = "source_namespace",
        /// Name of the workload.
        SourceWorkload = "source_workload",
        /// Its kind.
        SourceWorkloadKind = "source_workload_kind",
        /// What its labels call the application.
        SourceApp = "source_app",
        /// Address.
        DestinationIp = "destination_ip",
        /// Name of the pod, without its namespace.
        DestinationPod = "destination_pod",
        /// Namespace.
        DestinationNamespace = "destination_namespace",
        /// Name of the workload.
        DestinationWorkload = "destination_workload",
        /// Its kind.
        DestinationWorkloadKind = "destination_workload_kind",
        /// What its labels call the application.
        DestinationApp = "destination_app",
        /// `ingress` or `egress`.
        TrafficDirection = "traffic_direction",
    }
}

words! {
    /// What one end may be called.
    Identifier {
        /// All of its labels.
        Identity = "identity",
        /// Its namespace.
        Namespace = "namespace",
        /// `namespace/pod`.
        Pod = "pod",
        /// The pod's name.
        PodName = "pod-name",
        /// Its DNS names.
        Dns = "dns",
        /// Its address.
        Ip = "ip",
        /// What is no pod: `reserved:world`.
        ReservedIdentity = "reserved-identity",
        /// `namespace/workload`.
        Workload = "workload",
        /// The workload's name.
        WorkloadName = "workload-name",
        /// What its labels call the application.
        App = "app",
    }
}

impl MetricName {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Flow, "flow"),
        (Self::Drop, "drop"),
        (Self::Http, "http"),
        (Self::HttpV2, "httpV2"),
        (Self::Policy, "policy"),
        (Self::Tcp, "tcp"),
        (Self::PortDistribution, "port-distribution"),
        (Self::FlowsToWorld, "flows-to-world"),
        (Self::Dns, "dns"),
        (Self::Icmp, "icmp"),
        (Self::Sctp, "sctp"),
    ];

    /// Whether there may be flows of which it is made.
    #[must_use]
    pub fn is_made(self) -> bool {
        !matches!(self, Self::Dns | Self::Icmp | Self::Sctp)
    }
}

impl ContextOptions {
    /// Whether a label is an address.
    #[must_use]
    pub fn asks_addresses(&self) -> bool {
        let of_ends = [&self.source, &self.destination];
        self.labels.iter().any(|label| matches!(label, ContextLabel::SourceIp | ContextLabel::DestinationIp))
            || of_ends.into_iter().any(|context| context.identifiers().any(|asked| asked == Identifier::Ip))
    }
}

impl Context {
    /// Whether there is such a label.
    #[must_use]
    pub fn is_label(&self) -> bool {
        let some = |list: &Option<Vec<Identifier>>| list.as_ref().is_some_and(|list| !list.is_empty());
        !self.any.is_empty() || some(&self.egress) || some(&self.ingress)
    }

    /// Everything that the label may be.
    fn identifiers(&self) -> impl Iterator<Item = Identifier> {
        self.any.iter().chain(self.egress.iter().flatten()).chain(self.ingress.iter().flatten()).copied()
    }
}

/// What the default list says of both ends.
macro_rules! ends {
    ($metric:literal) => {
        concat!(
            $metric,
            ":sourceContext=workload-name|app|reserved-identity;destinationContext=workload-name|app|reserved-identity;",
            "labelsContext=source_namespace,destination_namespace,traffic_direction"
        )
    };
}

/// What is made when nothing is said: what the dashboards of ours and of Hubble ask for.
const DEFAULT: [&str; 4] = [
    ends!("flow"),
    ends!("drop"),
    ends!("policy"),
    "httpV2:labelsContext=source_namespace,source_workload,destination_namespace,destination_workload,traffic_direction",
];

impl FlowMetric {
    /// What is made when nothing is said.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        DEFAULT.iter().filter_map(|text| Self::parse(text).ok()).collect()
    }

    /// The metric's name, as it is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        MetricName::ALL.iter().find(|(name, _)| *name == self.name).map_or("", |(_, word)| word)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let known = MetricName::ALL.iter().find(|(_, known)| *known == name);
        let (name, _) = known.ok_or_else(|| {
            format!("unknown metric {name:?}; write one of {}", list(MetricName::ALL.iter().map(|(_, name)| *name)))
        })?;
        let mut metric = Self {
            name: *name,
            context: ContextOptions::default(),
            exemplars: false,
            world: WorldOptions::default(),
            text: text.to_owned(),
        };
        let options = options.split(';').filter(|option| !option.is_empty());
        for option in options {
            metric.option(option)?;
        }
        Ok(metric)
    }

    fn option(&mut self, option: &str) -> Result<(), String> {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let context = &mut self.context;
        match key.to_ascii_lowercase().as_str() {
            "labelscontext" => context.labels = labels(value)?,
            "sourcecontext" => context.source.any = identifiers(key, value)?,
            "sourceegresscontext" => context.source.egress = Some(identifiers(key, value)?),
            "sourceingresscontext" => context.source.ingress = Some(identifiers(key, value)?),
            "destinationcontext" => context.destination.any = identifiers(key, value)?,
            "destinationegresscontext" => context.destination.egress = Some(identifiers(key, value)?),
            "destinationingresscontext" => context.destination.ingress = Some(identifiers(key, value)?),
            "exemplars" if matches!(self.name, MetricName::Http | MetricName::HttpV2) => {
                self.exemplars = value.parse().map_err(|_| format!("exemplars: {value:?}; write true or false"))?;
            }
            "any-drop" if self.name == MetricName::FlowsToWorld => self.world.any_drop = true,
            "port" if self.name == MetricName::FlowsToWorld => self.world.port = true,
            "syn-only" if self.name == MetricName::FlowsToWorld => self.world.syn_only = true,
            // Of metrics that this version makes none of: whatever Hubble knows.
            "query" | "ignoreaaaa" if self.name == MetricName::Dns => {}
            _ => return Err(format!("{self}: unknown option {key:?}; {}", self.known_options())),
        }
        Ok(())
    }

    fn known_options(&self) -> String {
        let own = match self.name {
            MetricName::Http | MetricName::HttpV2 => ", exemplars",
            MetricName::FlowsToWorld => ", any-drop, port, syn-only",
            MetricName::Dns => ", query, ignoreAAAA",
            MetricName::Flow
            | MetricName::Drop
            | MetricName::Policy
            | MetricName::Tcp
            | MetricName::PortDistribution
            | MetricName::Icmp
            | MetricName::Sctp => "",
        };
        format!(
            "write one of sourceContext, destinationContext, sourceEgressContext, sourceIngressContext, \
             destinationEgressContext, destinationIngressContext, labelsContext{own}"
        )
    }
}

fn labels(value: &str) -> Result<Vec<ContextLabel>, String> {
    let words = value.split(',').filter(|word| !word.is_empty());
    let mut labels = words
        .map(|word| {
            let known = ContextLabel::ALL.iter().find(|(_, known)| *known == word).map(|(label, _)| *label);
            let all = || list(ContextLabel::ALL.iter().map(|(_, word)| *word));
            known.ok_or_else(|| format!("labelsContext: unknown label {word:?}; write some of {}", all()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    labels.sort_unstable();
    labels.dedup();
    if labels.is_empty() {
        return Err("labelsContext: no label; write for example labelsContext=source_namespace".to_owned());
    }
    Ok(labels)
}

fn identifiers(key: &str, value: &str) -> Result<Vec<Identifier>, String> {
    let words = value.split('|').filter(|word| !word.is_empty());
    let identifiers = words
        .map(|word| {
            let same = |(_, known): &&(Identifier, &str)| known.eq_ignore_ascii_case(word);
            let all = || list(Identifier::ALL.iter().map(|(_, word)| *word));
            let known = Identifier::ALL.iter().find(same).map(|(identifier, _)| *identifier);
            known.ok_or_else(|| format!("{key}: unknown context {word:?}; write some of {}", all()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if identifiers.is_empty() {
        return Err(format!("{key}: no context; write for example {key}=workload-name|reserved-identity"));
    }
    Ok(identifiers)
}

fn list<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

/// What is wrong with the list as a whole.
pub(super) fn problems(metrics: &[FlowMetric]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, metric) in metrics.iter().enumerate() {
        let before = metrics.iter().take(index).map(|before| before.name);
        for other in before {
            if other == metric.name {
                problems.push(format!(
                    "flows.metrics[{index}]: {:?} is there before; give each metric once",
                    metric.name()
                ));
            }
            if matches!(
                (other, metric.name),
                (MetricName::Http, MetricName::HttpV2) | (MetricName::HttpV2, MetricName::Http)
            ) {
                problems.push(format!(
                    "flows.metrics[{index}]: http and httpV2 have the same names for different things; give one of them"
                ));
            }
        }
    }
    problems
}

impl TryFrom<String> for FlowMetric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<FlowMetric> for String {
    fn from(metric: FlowMetric) -> Self {
        metric.text
    }
}

impl fmt::Display for FlowMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
