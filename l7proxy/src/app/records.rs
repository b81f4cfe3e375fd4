//! What records are to be like, of the configuration.

use std::sync::Arc;

use super::api::Api;
use crate::{
    config::{Config, FlowFilter, Flows, FlowsFile, Redact},
    flow::{self, Capture, FileConfig, NodeNames, Redaction, Selection},
};

/// Names of header fields whose values usually are secrets.
const SECRET: [&str; 6] = ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key", "x-auth-token"];

pub(super) fn flow_config(config: &Config, api: &Api) -> flow::Config {
    flow::Config {
        file: config.flows.file.as_ref().map(|file| FileConfig {
            path: file.path.clone(),
            max_size_mb: file.max_size_mb,
            max_backups: file.max_backups,
        }),
        selection: config.flows.file.as_ref().map(selection).unwrap_or_default(),
        stdout: config.flows.stdout,
        names: names(config),
        redaction: redaction(&config.flows.redact),
        readers: api.sources().map(|sources| flow::Readers {
            rings: Arc::clone(&sources.rings),
            namespaces: Arc::clone(&sources.namespaces),
        }),
    }
}

fn selection(file: &FlowsFile) -> Selection {
    let filters = |of: &[FlowFilter]| of.iter().cloned().map(Into::into).collect();
    Selection { allow: filters(&file.allow), deny: filters(&file.deny), fields: file.field_mask.clone() }
}

/// What this node is called.
pub(super) fn names(config: &Config) -> NodeNames {
    NodeNames {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        labels: config.node_labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
    }
}

/// What of messages is kept for them.
pub(super) fn capture(flows: &Flows) -> Capture {
    Capture::new(flows.headers, !flows.redact.url_query)
}

fn redaction(redact: &Redact) -> Redaction {
    match (&redact.headers.allow, &redact.headers.deny) {
        (Some(allow), _) => Redaction::AllBut(allow.clone()),
        (None, Some(deny)) => Redaction::Of(deny.clone()),
        (None, None) => Redaction::Of(SECRET.map(str::to_owned).to_vec()),
    }
}
