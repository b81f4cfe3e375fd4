//! `l7proxy explain`: the same code that judges requests, without sockets.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rules::{Direction, EndpointPolicy, RequestView};
use serde_json::{Value, json};

use super::{
    Exit, Output,
    judge::{self, Answer, Scene},
    say, trouble, with,
};
use crate::{
    app::path_options,
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
    policy: Option<Arc<EndpointPolicy>>,
}

/// What the policies of one end say in its direction.
struct Side<'e> {
    direction: &'static str,
    pod: &'e str,
    answer: Answer,
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
        let versions = Versions::default().next(&input.manifests, 1).with_secrets(input.config.secrets.as_deref());
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
        let mut scene = Scene::new(input.config, versions.in_force());
        let (from, to) = (end(&mut scene, &self.from)?, end(&mut scene, &self.to)?);
        let side = |own: &End, direction, other: &End| {
            judge::request(own.policy.as_deref(), direction, other.peer.identity(), self.port, &view)
        };
        let egress = side(&from, Direction::Egress, &to);
        let ingress = side(&to, Direction::Ingress, &from);
        let denied = egress.is_denied() || ingress.is_denied();
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

fn end(scene: &mut Scene, name: &str) -> Result<End, String> {
    let peer = scene.peer(name)?;
    let policy = scene.policy_of(&peer);
    Ok(End { name: name.to_owned(), peer, policy })
}

impl Side<'_> {
    fn json(&self) -> Value {
        with(with(self.answer.json(), "direction", self.direction.into()), "pod", self.pod.into())
    }
}
