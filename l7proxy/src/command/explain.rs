//! `l7proxy explain`: the same code that judges connections and requests, without sockets.
//!
//! Owns the question. Must never give another answer than the running process would. Start at [`Explain::run`]; what is
//! told of the answer is in `report`.

use std::path::PathBuf;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rules::{Direction, PathOptions, RequestView};

use self::report::{Asked, End, Report};
use super::{
    Exit, Output,
    judge::{Answer, Scene, Side},
    say, trouble,
};
use crate::{
    http::edit,
    source::{Versions, standalone},
};

mod report;

/// What is asked about.
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
    port: Option<u16>,
    /// Of a connection, datagram or message, which is judged when there is no METHOD and PATH.
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
    /// Type of an ICMP message, in place of a port: 8 asks for an echo, or 128 in version 6.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<u8>,
    /// `Name: value`; may be given several times.
    #[arg(long = "header", requires = "method")]
    headers: Vec<String>,
    /// Tells every rule that was tried, not only the nearest.
    #[arg(long)]
    all: bool,
    /// `text` or `json`.
    #[arg(long, default_value = "text")]
    output: Output,
    /// e.g. GET
    #[arg(requires = "path")]
    method: Option<String>,
    /// With the query, as a client sends it.
    path: Option<String>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    #[value(name = "icmpv6")]
    Icmp6,
}

/// A request as its client sends it.
struct Request<'e> {
    method: &'e str,
    target: &'e str,
    headers: HeaderMap,
}

impl Explain {
    pub(super) fn run(&self) -> Exit {
        match self.judge() {
            Ok(exit) => exit,
            Err(error) => trouble(error),
        }
    }

    fn judge(&self) -> Result<Exit, String> {
        let number = self.number()?;
        let request = self.request(number)?;
        let input = standalone::read(&self.config).map_err(|error| error.to_string())?;
        let versions = Versions::default().next(&input.manifests, 1).with_secrets(input.config.secrets.as_deref());
        if !versions.problems().is_empty() {
            return Err(versions.problems().join("\n"));
        }
        let mut scene = Scene::new(input.config, &versions);
        let (from, to) = (End::of(&scene, &self.from)?, End::of(&scene, &self.to)?);
        let sides = [
            scene.side(&from.peer, Direction::Egress, to.peer.identity()),
            scene.side(&to.peer, Direction::Ingress, from.peer.identity()),
        ];
        let options = scene.config().proxy.path.options();
        let asked = Asked { from, to, number, protocol: self.protocol.into(), all: self.all };
        let mut report = Report::new(asked, scene.places());
        match request {
            Some(request) => ask(request, &sides, number, options, &mut report),
            None => {
                for side in &sides {
                    report.add(side, side.connection(self.protocol.into(), number), None);
                }
            }
        }
        match self.output {
            Output::Json => say(report.json()),
            Output::Text => say(report.text()),
        }
        Ok(if report.is_denied() { Exit::Refused } else { Exit::Done })
    }

    /// The destination port; of ICMP, the type.
    fn number(&self) -> Result<u16, String> {
        let protocol = rules::Protocol::from(self.protocol);
        match (protocol.has_types(), self.port, self.kind) {
            (false, Some(port), None) => Ok(port),
            (true, None, Some(kind)) => Ok(kind.into()),
            (false, None, _) => Err(format!("--port: is missing; {protocol} needs one")),
            (true, _, None) => Err(format!("--type: is missing; {protocol} needs one in place of --port")),
            (false, Some(_), Some(_)) => {
                Err(format!("--type: {protocol} has none; leave it out, or give --protocol icmp"))
            }
            (true, Some(_), Some(_)) => Err(format!("--port: {protocol} has none; leave it out")),
        }
    }

    /// `None`: the connection is asked about.
    fn request(&self, port: u16) -> Result<Option<Request<'_>>, String> {
        let (Some(method), Some(target)) = (&self.method, &self.path) else { return Ok(None) };
        if self.protocol != Protocol::Tcp {
            return Err("--protocol: requests are judged over tcp only; leave METHOD and PATH out".to_owned());
        }
        Ok(Some(Request { method, target, headers: self.headers(port)? }))
    }

    /// Host as curl would send it, unless given.
    fn headers(&self, port: u16) -> Result<HeaderMap, String> {
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
            let host = if port == 80 { host.to_owned() } else { format!("{host}:{port}") };
            let value = HeaderValue::from_str(&host).map_err(|error| format!("--to {}: {error}", self.to))?;
            headers.insert(header::HOST, value);
        }
        Ok(headers)
    }
}

/// What one proxy forwards is what the next one judges.
fn ask(request: Request<'_>, sides: &[Side], port: u16, options: PathOptions, report: &mut Report<'_>) {
    let Request { method, target, mut headers } = request;
    report.of_request(method, target);
    let mut target = target.to_owned();
    for side in sides {
        let connection = side.connection(rules::Protocol::Tcp, port);
        if !matches!(connection, Answer::Judged) {
            report.add(side, connection, None);
            continue;
        }
        let sent = headers.clone();
        let http10 = false;
        let view = match RequestView::new(method, target.as_bytes(), http10, &sent, &options) {
            Ok(view) => view,
            Err(malformed) => return report.malformed(malformed),
        };
        let (answer, edits) = side.request(port, &view);
        report.of_request(method, view.path());
        report.add(side, answer, Some(&view));
        edit::apply(&edits, &mut headers);
        target = view.forward_target().into_owned();
    }
}

impl From<Protocol> for rules::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Sctp => Self::Sctp,
            Protocol::Icmp => Self::Icmp,
            Protocol::Icmp6 => Self::Icmp6,
        }
    }
}
