//! `l7proxy explain`: the same code that judges requests, without sockets.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rules::{Denial, Direction, EndpointPolicy, Identity, L4Verdict, Nearest, RequestView, RuleRef, Verdict};
use serde_json::{Value, json};

use super::{Exit, Output, say, trouble};
use crate::{
    app::{Assembler, path_options},
    config::Config,
    endpoint::Peer,
    source::{Versions, standalone},
};

/// Which request.
#[derive(Debug, Args)]
pub struct Explain {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// `namespace/pod` or an address.
    #[arg(long)]
    from: String,
    /// `namespace/pod` or an address.
    #[arg(long)]
    to: String,
    /// Destination port.
    #[arg(long)]
    port: u16,
    /// `Name: value`; may be given several times.
    #[arg(long = "header")]
    headers: Vec<String>,
    /// `text` or `json`.
    #[arg(long, default_value = "text")]
    output: Output,
    /// e.g. GET
    method: String,
    /// With the query, as a client sends it.
    path: String,
}

/// One end of the request.
struct End {
    name: String,
    peer: Arc<Peer>,
    /// `None`: not a pod, no policy selects it.
    policy: Option<EndpointPolicy>,
}

/// What the policies of one end say in its direction.
struct Side<'e> {
    direction: &'static str,
    pod: &'e str,
    answer: Answer,
}

/// What one side says.
enum Answer {
    NotEnforced,
    Allowed(Option<Arc<RuleRef>>),
    /// It passes, and is recorded as what it would be.
    Audited(Box<Answer>),
    Denied {
        policies: Vec<String>,
        rule: Option<Arc<RuleRef>>,
        nearest: Option<Nearest>,
    },
}

impl Explain {
    pub(super) fn run(&self) -> Exit {
        match self.judge() {
            Ok(exit) => exit,
            Err(error) => trouble(error),
        }
    }

    fn judge(&self) -> Result<Exit, String> {
        let input = standalone::read(&self.config).map_err(|error| error.to_string())?;
        let versions = Versions::default().next(&input.manifests, 1);
        if let Some(problem) = versions.problems().into_iter().next() {
            return Err(problem);
        }
        let headers = self.headers()?;
        let options = path_options(&input.config);
        let http10 = false;
        let view = match RequestView::new(&self.method, self.path.as_bytes(), http10, &headers, &options) {
            Ok(view) => view,
            Err(malformed) => {
                self.print_malformed(malformed);
                return Ok(Exit::Refused);
            }
        };
        let mut assembler = Assembler::default();
        let policies = versions.in_force();
        let world = assembler.assemble(&input.config, &policies, 1).world;
        let mut end = |name: &str| -> Result<End, String> {
            let address = address_of(&input.config, name)?;
            let peer = Arc::clone(world.ipcache.lookup(address));
            let policy = assembler.policy_of(&input.config, &policies, name);
            Ok(End { name: name.to_owned(), peer, policy })
        };
        let (from, to) = (end(&self.from)?, end(&self.to)?);
        let egress = self.side(&from, Direction::Egress, to.peer.identity(), &view);
        let ingress = self.side(&to, Direction::Ingress, from.peer.identity(), &view);
        let denied = matches!(egress, Answer::Denied { .. }) || matches!(ingress, Answer::Denied { .. });
        let egress = Side { direction: "egress", pod: &from.name, answer: egress };
        let ingress = Side { direction: "ingress", pod: &to.name, answer: ingress };
        self.print(&from, &to, &[egress, ingress], view.path(), denied);
        Ok(if denied { Exit::Refused } else { Exit::Done })
    }

    /// Host as curl would send it, unless given.
    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for line in &self.headers {
            let parsed = line.split_once(':').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            let (name, value) =
                parsed.ok_or_else(|| format!("--header {line:?}: not a header; write 'Name: value'"))?;
            headers.append(name, value);
        }
        if !headers.contains_key(header::HOST) {
            let host = self.to.rsplit('/').next().unwrap_or(&self.to);
            let host = if self.port == 80 { host.to_owned() } else { format!("{host}:{}", self.port) };
            let value = HeaderValue::from_str(&host).map_err(|error| format!("--to {}: {error}", self.to))?;
            headers.insert(header::HOST, value);
        }
        Ok(headers)
    }

    fn side(&self, end: &End, direction: Direction, peer: Identity, view: &RequestView<'_>) -> Answer {
        let Some(policy) = end.policy.as_ref().map(|policy| policy.direction(direction)) else {
            return Answer::NotEnforced;
        };
        match policy.l4(peer, TCP, self.port) {
            L4Verdict::NotEnforced => Answer::NotEnforced,
            L4Verdict::Allowed(_) if policy.is_audited(peer, TCP, self.port) => {
                audited(policy.denial_of(peer, TCP.number(), self.port))
            }
            L4Verdict::Allowed(rule) => Answer::Allowed(rule),
            L4Verdict::Denied(_) => denied(policy.denial_of(peer, TCP.number(), self.port)),
            L4Verdict::Redirect => match policy.evaluate(peer, self.port, view) {
                Verdict::Allow(permit) => match permit.audited() {
                    Some(denial) => audited(denial.clone()),
                    None => Answer::Allowed(permit.rule().cloned()),
                },
                Verdict::Deny(denial) => denied(denial),
            },
        }
    }

    fn print(&self, from: &End, to: &End, sides: &[Side<'_>], path: &str, is_denied: bool) {
        let verdict = if is_denied { "DENIED" } else { "ALLOWED" };
        if self.output == Output::Json {
            say(json!({
                "verdict": verdict,
                "from": {"name": from.name, "identity": from.peer.identity},
                "to": {"name": to.name, "identity": to.peer.identity, "port": self.port},
                "method": self.method,
                "path": path,
                "sides": sides.iter().map(Side::json).collect::<Vec<_>>(),
            }));
            return;
        }
        say(format_args!("{} {path}: {} -> {}:{}", self.method, from.name, to.name, self.port));
        for side in sides {
            say(format_args!("  {} of {}: {}", side.direction, side.pod, side.answer.text()));
        }
        say(format_args!("verdict: {verdict}"));
    }

    fn print_malformed(&self, malformed: rules::Malformed) {
        match self.output {
            Output::Json => say(json!({
                "verdict": "MALFORMED", "reason": malformed.reason(), "detail": malformed.to_string(),
            })),
            Output::Text => say(format_args!("verdict: MALFORMED, answered with 400: {malformed}")),
        }
    }
}

const TCP: rules::Protocol = rules::Protocol::Tcp;

fn audited(denial: Denial) -> Answer {
    Answer::Audited(Box::new(denied(denial)))
}

fn denied(denial: Denial) -> Answer {
    let policies = denial.denied_by.iter().map(ToString::to_string).collect();
    Answer::Denied { policies, rule: denial.rule, nearest: denial.nearest }
}

impl Answer {
    /// What it would be if it were enforced.
    fn beneath(&self) -> &Self {
        match self {
            Self::Audited(answer) => answer,
            Self::NotEnforced | Self::Allowed(_) | Self::Denied { .. } => self,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::NotEnforced => "allowed: no policy selects it in this direction".to_owned(),
            Self::Allowed(None) => "allowed".to_owned(),
            Self::Allowed(Some(rule)) => format!("allowed by {} {} ({})", rule.policy, rule.rule, rule.summary),
            Self::Audited(answer) => format!("allowed, and audited: {}", answer.text()),
            Self::Denied { rule: Some(rule), .. } => {
                format!("denied by {} {} ({})", rule.policy, rule.rule, rule.summary)
            }
            Self::Denied { policies, nearest, .. } => {
                let why = format!("denied: no rule allows it; default deny by {}", policies.join(", "));
                match nearest {
                    None => why,
                    Some(nearest) => format!(
                        "{why}; nearest rule {} {} ({}): {} does not match, wanted {}",
                        nearest.rule.policy, nearest.rule.rule, nearest.rule.summary, nearest.field, nearest.expected
                    ),
                }
            }
        }
    }
}

impl Side<'_> {
    fn json(&self) -> Value {
        let (verdict, enforced) = match self.answer {
            Answer::Audited(_) => ("AUDIT", true),
            Answer::NotEnforced => ("ALLOWED", false),
            Answer::Allowed(_) => ("ALLOWED", true),
            Answer::Denied { .. } => ("DENIED", true),
        };
        let (allowed_by, denied_by, deny_rule, nearest) = match self.answer.beneath() {
            Answer::NotEnforced | Answer::Audited(_) => (None, None, None, None),
            Answer::Allowed(by) => (by.as_deref(), None, None, None),
            Answer::Denied { policies, rule, nearest } => (None, Some(policies), rule.as_deref(), nearest.as_ref()),
        };
        let rule =
            |rule: &RuleRef| json!({"policy": rule.policy.to_string(), "rule": rule.rule, "summary": rule.summary});
        json!({
            "direction": self.direction,
            "pod": self.pod,
            "verdict": verdict,
            "enforced": enforced,
            "allowedBy": allowed_by.map(rule),
            "deniedBy": denied_by,
            "denyRule": deny_rule.map(rule),
            "nearest": nearest.map(|nearest| json!({
                "policy": nearest.rule.policy.to_string(),
                "rule": nearest.rule.rule,
                "summary": nearest.rule.summary,
                "field": nearest.field,
                "expected": nearest.expected,
            })),
        })
    }
}

/// The first address of a pod of the configuration, or the address itself.
fn address_of(config: &Config, name: &str) -> Result<IpAddr, String> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let local = config.endpoints.iter().map(|endpoint| (&endpoint.pod, &endpoint.addresses));
    let remote = config.remotes.iter().map(|remote| (&remote.pod, &remote.addresses));
    local
        .chain(remote)
        .find(|(pod, _)| *pod == name)
        .and_then(|(_, addresses)| addresses.first().copied())
        .ok_or_else(|| format!("{name}: no such pod in endpoints or remotes; give namespace/pod or an address"))
}
