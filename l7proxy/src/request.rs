//! The pipeline: view → permit → forward → record.
//!
//! Owns the order of the steps. Never builds a rule, a socket or a line of a log itself. Start at [`Exchange::handle`].

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade};
use rules::{Permit, RequestView, Verdict};
use tokio::task;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    flow::{Ends, FlowGuard, HttpInfo},
    http::{
        Connection, Control, Refused, Worker,
        body::{RequestBody, ResponseBody, Source},
        edit, interim,
        upgrade::{Protocol, asked, forget_http2, tunnel},
    },
    metrics::count,
    policy::{Live, Snapshot},
    reject::{self, ClientFailure, Rejection, UpstreamFailure},
    upstream::Upstream,
};

/// A request ends with a reset: there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Aborted(&'static str);

/// One downstream connection, as its requests see it. The HTTP library serves one request of it at a time.
#[derive(Debug)]
pub struct Exchange {
    live: RefCell<Live>,
    /// Out while a request uses it.
    upstream: RefCell<Option<Upstream>>,
    ends: EndsCache,
    port: u16,
    control: Control,
    worker: Rc<Worker>,
    /// Requests so far.
    requests: Cell<u64>,
    tunnel: RefCell<Option<AbortOnDropHandle<()>>>,
}

impl Exchange {
    /// `gone` is cancelled when the upstream's connection is over.
    #[must_use]
    pub fn new(connection: Connection, control: Control, worker: Rc<Worker>, gone: CancellationToken) -> Self {
        let Connection { direction, client, original, live, dialer } = connection;
        Self {
            live: RefCell::new(live),
            upstream: RefCell::new(Some(Upstream::new(dialer, control.clone(), gone))),
            ends: EndsCache { direction, client, original, newest: RefCell::new(None) },
            port: original.port(),
            control,
            worker,
            requests: Cell::new(0),
            tunnel: RefCell::new(None),
        }
    }

    /// From a request to its answer: steps 6 to 10 of `ARCHITECTURE.md`.
    pub async fn handle(&self, mut request: Request<Incoming>) -> Result<Response<ResponseBody>, Aborted> {
        let index = self.requests.replace(self.requests.get() + 1);
        let snapshot = self.live.borrow_mut().current().cloned();
        let refused = self.control.begin(index);
        let mut flow = self.begin(&request, refused.as_ref(), snapshot.as_ref());
        let is_grpc = is_grpc(&request);
        let asked = asked(request.headers());
        let mut close = false;
        let judged = match refused {
            Some(refused) => Err(refused.rejection),
            None => self.judge(&mut request, snapshot.as_ref()),
        };
        let outcome = match judged {
            Ok(permit) => {
                if let Some(denial) = permit.audited() {
                    count(&self.worker.counters.requests_audited);
                    flow.audited(denial);
                } else {
                    count(&self.worker.counters.requests_forwarded);
                    flow.forwarded(&permit);
                }
                self.forward(request, index, asked, permit).await
            }
            Err(rejection) => {
                flow.dropped(&rejection);
                close = self.discard(request);
                Err(rejection)
            }
        };
        self.control.final_answer();
        if asked != Protocol::None {
            let status = outcome.as_ref().map(Response::status);
            self.control.switched(status.is_ok_and(|status| status == StatusCode::SWITCHING_PROTOCOLS));
        }
        match outcome {
            Ok(response) => {
                flow.answered(response.status());
                Ok(response)
            }
            Err(rejection) => self.refuse(&rejection, is_grpc, close, flow),
        }
    }

    /// The tunnel that the connection became, if it did.
    #[must_use]
    pub fn take_tunnel(&self) -> Option<AbortOnDropHandle<()>> {
        self.tunnel.borrow_mut().take()
    }

    /// The newest rules judge the normal form, and the normal form takes the request's place, with the headers that the
    /// rules want.
    fn judge(&self, request: &mut Request<Incoming>, snapshot: Option<&Snapshot>) -> Result<Permit, Rejection> {
        let snapshot = snapshot.ok_or(Rejection::NoPolicy)?;
        let target = target(request.uri());
        let http10 = request.version() == Version::HTTP_10;
        let view = RequestView::new(
            request.method().as_str(),
            target.as_bytes(),
            http10,
            request.headers(),
            &self.worker.path,
        )
        .map_err(|malformed| Rejection::Malformed(malformed.reason()))?;
        let permit = match snapshot.policy().evaluate(snapshot.peer.identity(), self.port, &view) {
            Verdict::Allow(permit) => permit,
            Verdict::Deny(denial) => return Err(Rejection::Denied(Box::new(denial))),
        };
        if view.changed() {
            let normal = Uri::try_from(view.forward_target().as_ref());
            *request.uri_mut() = normal.map_err(|_| Rejection::Malformed("target-form"))?;
        }
        edit::apply(permit.edits(), request.headers_mut());
        Ok(permit)
    }

    /// To this client's own upstream; headers, extensions (their names' case, the reason phrase) and bodies unchanged.
    async fn forward(
        &self,
        mut request: Request<Incoming>,
        index: u64,
        asked: Protocol,
        permit: Permit,
    ) -> Result<Response<ResponseBody>, Rejection> {
        if asked == Protocol::Http2 {
            forget_http2(request.headers_mut());
        }
        let client = upgrade::on(&mut request);
        let leave = expects_continue(&request).then(CancellationToken::new);
        let control = &self.control;
        let mut request = request.map(|body| match &leave {
            Some(leave) => RequestBody::after(body, control, leave.clone()),
            None => RequestBody::new(body, control),
        });
        if let Some(leave) = &leave {
            control.expect_body(index, leave.clone());
        }
        if request.version() != Version::HTTP_10 {
            interim::pass_on(&mut request, control.clone(), leave.clone());
        }
        let taken = self.upstream.borrow_mut().take();
        let mut upstream = taken.ok_or(Rejection::Upstream(UpstreamFailure::Closed))?;
        let answer = upstream.send(request, permit).await;
        let mut response = match answer {
            Ok(response) => response,
            Err(failure) => {
                let left = control.is_client_finished().then_some(ClientFailure::Left);
                let own = control.client_failure().or(left.filter(|_| failure == UpstreamFailure::Closed));
                return Err(own.map_or(Rejection::Upstream(failure), Rejection::Client));
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if asked != Protocol::Other {
                // Unasked: what would follow is nothing that anybody judged.
                upstream.close();
                return Err(Rejection::Upstream(UpstreamFailure::Protocol));
            }
            count(&self.worker.counters.upgrades);
            let tunnel = tunnel(client, upgrade::on(&mut response));
            self.tunnel.replace(Some(AbortOnDropHandle::new(task::spawn_local(tunnel))));
        }
        self.upstream.replace(Some(upstream));
        let leave = leave.map(CancellationToken::drop_guard);
        Ok(response.map(|body| ResponseBody::new(Source::Upstream(body, leave), &self.control)))
    }

    /// What is left of a denied request's body is read so that the connection stays usable, but not without bound.
    /// Says whether the connection must end with the answer.
    fn discard(&self, request: Request<Incoming>) -> bool {
        let waits = expects_continue(&request);
        let worker = Rc::clone(&self.worker);
        let mut body = request.into_body();
        if body.is_end_stream() || waits {
            // To read from a client that waits for leave would give it. Nobody knows whether it sends now: end there.
            return waits && !body.is_end_stream();
        }
        task::spawn_local(async move {
            let mut left = worker.limits.denied_body_bytes;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, bytes::Bytes::len);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return count(&worker.counters.denied_bodies_cut),
                }
            }
        });
        false
    }

    fn refuse(
        &self,
        rejection: &Rejection,
        is_grpc: bool,
        close: bool,
        flow: FlowGuard,
    ) -> Result<Response<ResponseBody>, Aborted> {
        let counters = &self.worker.counters;
        count(match rejection {
            Rejection::Denied(_) | Rejection::NoPolicy => &counters.requests_denied,
            Rejection::Malformed(_) => &counters.requests_malformed,
            Rejection::TooLarge(_) => &counters.requests_too_large,
            Rejection::TooSlow => &counters.heads_too_slow,
            Rejection::Upstream(_) => &counters.upstream_failures,
            Rejection::Client(_) => &counters.clients_failed,
        });
        let answer = |text| ResponseBody::new(Source::Text(text), &self.control);
        if let Some(mut response) = reject::response(rejection, is_grpc, answer) {
            if close {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            flow.answered(response.status());
            return Ok(response);
        }
        flow.failed(rejection);
        self.control.reset();
        Err(Aborted(rejection.reason()))
    }

    fn begin(&self, request: &Request<Incoming>, refused: Option<&Refused>, snapshot: Option<&Snapshot>) -> FlowGuard {
        let info = match refused {
            Some(refused) => HttpInfo::of_bytes(&refused.bytes, self.ends.original),
            None => HttpInfo::of(request, self.ends.original),
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

/// What stood in the request line. (The guard made sure that nothing of it was lost.)
fn target(uri: &Uri) -> std::borrow::Cow<'_, str> {
    match uri.path_and_query() {
        Some(path) if uri.scheme().is_none() => path.as_str().into(),
        _ => uri.to_string().into(),
    }
}

fn expects_continue<B>(request: &Request<B>) -> bool {
    let expect = request.headers().get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|kind| kind.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}
