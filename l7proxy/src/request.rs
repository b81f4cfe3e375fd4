//! The pipeline: view → permit → forward → record, the same for HTTP/1 and HTTP/2.
//!
//! Owns the order of the steps. Never builds a rule, a socket or a line of a log itself; how a request is carried is not its
//! business. Start at [`Exchange::judge`].

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
};

use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, Version, header, uri::Authority};
use rules::{PathOptions, Permit, RequestView, Verdict};
use tokio::sync::watch;

use crate::{
    flow::{Ends, FlowGuard, HttpInfo, RawHeaders},
    http::{Connection, Refused, Worker, edit},
    metrics::count,
    policy::{Live, Snapshot},
    reject::{self, Limit, Rejection},
    upstream::Dialer,
};

mod under_way;

pub use under_way::Ticket;
use under_way::{Begun, Kept, UnderWay};

/// A request that may be forwarded, and was recorded as such.
#[derive(Debug)]
pub struct Allowed {
    /// Leave to send it.
    pub permit: Permit,
    /// Its target, if that is another than the one that came.
    pub normal: Option<String>,
    /// How its client wants to be told if it fails.
    pub is_grpc: bool,
    /// To be told how it ended.
    pub flow: FlowGuard,
    /// The request is under way as long as it lives.
    pub ticket: Option<Ticket>,
}

/// A request that is refused, and was recorded as such.
#[derive(Debug)]
pub struct Barred {
    /// Why.
    pub rejection: Rejection,
    /// How its client wants to be told.
    pub is_grpc: bool,
    /// To be told what it was answered.
    pub flow: FlowGuard,
}

/// A request whose target is in the normal form.
struct Judged {
    permit: Permit,
    kept: Option<Kept>,
    normal: Option<String>,
}

/// One downstream connection, as its requests see it.
#[derive(Debug)]
pub struct Exchange {
    live: RefCell<Live>,
    ends: EndsCache,
    port: u16,
    under_way: UnderWay,
    worker: Rc<Worker>,
}

impl Exchange {
    /// With the way to the upstream, which is the carriers'.
    #[must_use]
    pub fn new(connection: Connection, worker: Rc<Worker>) -> (Self, Dialer) {
        let Connection { direction, client, original, live, dialer } = connection;
        let ends = EndsCache { direction, client, original, newest: RefCell::new(None) };
        let (live, port, under_way) = (RefCell::new(live), original.port(), UnderWay::default());
        (Self { live, ends, port, under_way, worker }, dialer)
    }

    /// Judges a request and records the verdict: steps 6 and 7 of `ARCHITECTURE.md`. What is allowed becomes what is to be
    /// sent: its target in the normal form, with the headers that the rules want. `refused`: it is not even judged.
    pub fn judge(&self, request: &mut Request<()>, refused: Option<Refused>) -> Result<Allowed, Box<Barred>> {
        let mut live = self.live.borrow_mut();
        let snapshot = live.current();
        let flow = self.begin(request, refused.as_ref(), snapshot);
        let is_grpc = is_grpc(request);
        let judged = match refused {
            Some(refused) => Err(refused.rejection),
            None => self.permit(request, snapshot),
        };
        match judged {
            Ok(Judged { permit, kept, normal }) => {
                if let Some(denial) = permit.audited() {
                    count(&self.worker.counters.requests_audited);
                    flow.audited(denial);
                } else {
                    count(&self.worker.counters.requests_forwarded);
                    flow.forwarded(&permit);
                }
                let ticket = kept.map(|kept| self.under_way.begin(Begun { kept, trace: flow.trace() }));
                Ok(Allowed { permit, normal, is_grpc, flow, ticket })
            }
            Err(rejection) => {
                flow.dropped(&rejection);
                Err(Box::new(Barred { rejection, is_grpc, flow }))
            }
        }
    }

    /// What a client gets instead of an answer of the upstream, and whether nothing more is read from it. `None`: a reset.
    pub fn refuse(&self, rejection: &Rejection, is_grpc: bool, flow: FlowGuard) -> Option<reject::Answer> {
        count(self.counter(rejection));
        let answer = reject::response(rejection, is_grpc);
        match &answer {
            Some((response, _)) => flow.answered(response.status(), self.fields(response.headers())),
            None => flow.failed(rejection),
        }
        answer
    }

    /// The newest rules judge the normal form, and the normal form takes the request's place, with the headers that the
    /// rules want. What is needed to judge it again is kept, if it shall be.
    fn permit(&self, request: &mut Request<()>, snapshot: Option<&Snapshot>) -> Result<Judged, Rejection> {
        let snapshot = snapshot.ok_or(Rejection::NoPolicy)?;
        let target = target(request);
        let view = view(request, &target, self.worker.path)?;
        let permit = self.evaluate(&view, snapshot)?;
        let normal = view.changed().then(|| view.forward_target().into_owned());
        if let Some(normal) = &normal {
            let uri = with_target(request.uri(), normal).ok_or(Rejection::Malformed("target-form"))?;
            *request.uri_mut() = uri;
        }
        let kept = self.worker.changes.ends().then(|| Kept::of(request, permit.asks_headers()));
        edit::apply(permit.edits(), request.headers_mut());
        Ok(Judged { permit, kept, normal })
    }

    fn evaluate(&self, view: &RequestView<'_>, snapshot: &Snapshot) -> Result<Permit, Rejection> {
        match snapshot.policy().evaluate(snapshot.peer.identity(), self.port, view) {
            Verdict::Allow(permit) => Ok(permit),
            Verdict::Deny(denial) => Err(Rejection::Denied(Box::new(denial))),
        }
    }

    /// Policy changed: what is under way and not allowed any more is recorded, and its tickets say so; with `connects`, of
    /// CONNECT alone. Gives the number.
    pub fn policy_changed(&self, connects: bool) -> usize {
        let mut live = self.live.borrow_mut();
        let snapshot = live.current();
        let revision = snapshot.map_or(0, |snapshot| snapshot.revision);
        self.under_way.end(|begun| {
            if connects && !begun.kept.is_connect() {
                return false;
            }
            let judged = self.judge_again(&begun.kept.request(), snapshot);
            judged.inspect_err(|rejection| begun.trace.revoked(&self.worker.flows, rejection, revision)).is_err()
        })
    }

    fn judge_again(&self, request: &Request<()>, snapshot: Option<&Snapshot>) -> Result<(), Rejection> {
        let target = target(request);
        let view = view(request, &target, self.worker.path)?;
        self.evaluate(&view, snapshot.ok_or(Rejection::NoPolicy)?).map(drop)
    }

    /// Each new revision of policy.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.live.borrow().revisions()
    }

    fn counter(&self, rejection: &Rejection) -> &AtomicU64 {
        let counters = &self.worker.counters;
        match rejection {
            Rejection::Denied(_) | Rejection::NoPolicy => &counters.requests_denied,
            Rejection::Malformed(_) => &counters.requests_malformed,
            Rejection::TooLarge(Limit::Head | Limit::RequestLine | Limit::Headers) => &counters.requests_too_large,
            Rejection::TooLarge(Limit::Streams) => &counters.streams_refused,
            Rejection::TooLarge(Limit::Resets | Limit::ControlFrames | Limit::Flood) => &counters.http2_floods,
            Rejection::TooSlow => &counters.heads_too_slow,
            Rejection::GoingAway => &counters.streams_going_away,
            Rejection::Ended => &counters.requests_ended,
            Rejection::Upstream(_) => &counters.upstream_failures,
            Rejection::Client(_) => &counters.clients_failed,
        }
    }

    /// Records a request that was refused before anybody read it; `status`: what it was answered with.
    pub fn unread(&self, rejection: &Rejection, status: Option<StatusCode>) {
        let mut live = self.live.borrow_mut();
        let snapshot = live.current();
        let revision = snapshot.map_or(0, |snapshot| snapshot.revision);
        let info = HttpInfo::unread(self.ends.original);
        let flow = FlowGuard::new(self.worker.flows.clone(), self.ends.at(snapshot), info, revision);
        flow.dropped(rejection);
        count(self.counter(rejection));
        match status {
            Some(status) => flow.answered(status, RawHeaders::default()),
            None => flow.failed(rejection),
        }
    }

    /// Those of an answer of our own.
    fn fields(&self, headers: &HeaderMap) -> RawHeaders {
        self.worker.capture.fields(headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
    }

    fn begin<B>(&self, request: &Request<B>, refused: Option<&Refused>, snapshot: Option<&Snapshot>) -> FlowGuard {
        let (original, capture) = (self.ends.original, &self.worker.capture);
        let info = if let Some(Refused { bytes: Some(bytes), .. }) = refused {
            HttpInfo::of_bytes(bytes, original, capture)
        } else {
            let secret = snapshot.map_or(&[][..], |snapshot| snapshot.policy().secret_headers());
            HttpInfo::of(request, original, capture, secret)
        };
        let revision = snapshot.map_or(0, |snapshot| snapshot.revision);
        FlowGuard::new(self.worker.flows.clone(), self.ends.at(snapshot), info, revision)
    }
}

/// The ends, and the revision that they were made at.
#[derive(Debug)]
struct Known {
    revision: u64,
    ends: Arc<Ends>,
}

/// The ends of a connection as records show them; made anew when the policy's revision changed.
#[derive(Debug)]
struct EndsCache {
    direction: rules::Direction,
    client: std::net::SocketAddr,
    original: std::net::SocketAddr,
    newest: RefCell<Option<Known>>,
}

impl EndsCache {
    fn at(&self, snapshot: Option<&Snapshot>) -> Arc<Ends> {
        let revision = snapshot.map_or(0, |snapshot| snapshot.revision);
        let mut newest = self.newest.borrow_mut();
        if let Some(known) = newest.as_ref().filter(|known| known.revision == revision) {
            return Arc::clone(&known.ends);
        }
        let (own, other) = snapshot
            .map(|snapshot| (Arc::clone(&snapshot.endpoint.peer), Arc::clone(&snapshot.peer)))
            .unwrap_or_default();
        let (source, destination) = match self.direction {
            rules::Direction::Egress => (own, other),
            rules::Direction::Ingress => (other, own),
        };
        let ends = Arc::new(Ends {
            direction: self.direction,
            source: (source, self.client),
            destination: (destination, self.original),
        });
        *newest = Some(Known { revision, ends: Arc::clone(&ends) });
        ends
    }
}

/// What is judged: what stood in the request line (the guard made sure that nothing of it was lost), or `:path`.
fn target<B>(request: &Request<B>) -> std::borrow::Cow<'_, str> {
    let uri = request.uri();
    match uri.path_and_query() {
        Some(path) if uri.scheme().is_none() || request.version() == Version::HTTP_2 => path.as_str().into(),
        None if request.version() == Version::HTTP_2 => "".into(),
        _ => uri.to_string().into(),
    }
}

fn view<'a, B>(request: &'a Request<B>, target: &'a str, options: PathOptions) -> Result<RequestView<'a>, Rejection> {
    let (method, headers) = (request.method().as_str(), request.headers());
    let view = if request.version() == Version::HTTP_2 {
        let authority = request.uri().authority().map(Authority::as_str);
        RequestView::http2(method, authority, target.as_bytes(), headers, &options)
    } else {
        let http10 = request.version() == Version::HTTP_10;
        RequestView::new(method, target.as_bytes(), http10, headers, &options)
    };
    view.map_err(|malformed| Rejection::Malformed(malformed.reason()))
}

/// `target` in the place of the one that was sent; of an HTTP/2 request it is the path alone.
fn with_target(sent: &Uri, target: &str) -> Option<Uri> {
    if sent.authority().is_none() || !target.starts_with('/') {
        return Uri::try_from(target).ok();
    }
    let mut parts = sent.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// By its content type.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|kind| kind.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}
