//! An HTTP/1 connection: one request after the other.
//!
//! Owns what HTTP/1 needs around the pipeline: interim answers, leave to send, switching protocols, the connection's end.
//! Start at [`serve`].

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use rules::Permit;
use tokio::{net::TcpStream, task};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Connection, Worker,
    body::{RequestBody, ResponseBody, Source},
    changes::{Changed, Changes, Due},
    guard::{Control, Guard, Refused},
    interim,
    serve::First,
    upgrade::{Protocol, asked, forget_http2, tunnel},
};
use crate::{
    metrics::count,
    reject::{ClientFailure, Rejection, UpstreamFailure},
    request::{Aborted, Carrier, Exchange, Revoked, Ticket},
    upstream::Upstream,
};

/// Serves requests until the client, the upstream or the process ends.
pub(super) async fn serve(stream: TcpStream, first: First, connection: Connection, worker: Rc<Worker>) {
    let control = Control::default();
    let gone = CancellationToken::new();
    let (exchange, dialer) = Exchange::new(connection, Rc::clone(&worker));
    let mut guard = Guard::new(stream, control.clone(), worker.limits);
    if let Err(error) = guard.begin(first.taken, first.since) {
        return tracing::debug!(%error, "connection");
    }
    let line = Rc::new(Line {
        exchange,
        upstream: RefCell::new(Some(Upstream::new(dialer, control.clone(), gone.clone()))),
        control: control.clone(),
        worker: Rc::clone(&worker),
        requests: Cell::new(0),
        tunnel: RefCell::new(None),
        revoked: Rc::default(),
        ticket: RefCell::new(None),
    });
    let who: Weak<dyn Changed> = Rc::<Line>::downgrade(&line);
    let _told = Changes::add(&worker, who, line.exchange.revisions());
    let revoked = Rc::clone(&line.revoked);
    if revoked.or(run(guard, line, gone, Rc::clone(&worker))).await.is_none() {
        count(&worker.counters.requests_ended);
    }
}

async fn run(guard: Guard, line: Rc<Line>, gone: CancellationToken, worker: Rc<Worker>) {
    let service = service_fn(|request| Rc::clone(&line).answer(request));
    let serving = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_headers(worker.limits.headers + 1)
        .serve_connection(TokioIo::new(guard), service)
        .with_upgrades();
    tokio::pin!(serving);
    let mut ending = false;
    let result = loop {
        tokio::select! {
            biased;
            result = serving.as_mut() => break result,
            () = worker.drain.draining(), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
            // An upstream that closes an idle connection closes the client's: as it would be without us.
            () = gone.cancelled(), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection");
        // Half an answer must not look like a whole one.
        line.control.reset();
    }
    let tunnel = line.tunnel.borrow_mut().take();
    if let Some(tunnel) = tunnel
        && let Err(error) = tunnel.await
    {
        tracing::debug!(%error, "tunnel");
    }
}

/// What the requests of a connection share. The HTTP library serves one of them at a time.
#[derive(Debug)]
struct Line {
    exchange: Exchange,
    /// Out while a request uses it.
    upstream: RefCell<Option<Upstream>>,
    control: Control,
    worker: Rc<Worker>,
    /// Requests so far.
    requests: Cell<u64>,
    /// What the connection became, if it did.
    tunnel: RefCell<Option<AbortOnDropHandle<()>>>,
    /// Tells that the newest request, or the tunnel, is not allowed any more.
    revoked: Rc<Revoked>,
    /// The newest request's.
    ticket: RefCell<Option<Ticket>>,
}

impl Changed for Line {
    fn policy_changed(&self, due: Due) {
        // What is answered is over; its ticket waits for the next request.
        let is_due = match due {
            Due::Tunnels => self.control.is_tunnel(),
            Due::All => self.control.is_busy(self.requests.get()),
        };
        if is_due && self.exchange.policy_changed(false) > 0 {
            self.control.revoke();
        }
    }
}

impl Line {
    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<ResponseBody>, Aborted> {
        let index = self.requests.replace(self.requests.get() + 1);
        let asked = asked(request.method(), request.headers());
        let waits = expects_continue(&request);
        let mut turn = Turn { line: &self, index, asked, waits, close: false };
        let mut response = self.exchange.handle(request, &mut turn).await?;
        if self.worker.drain.is_retiring() && !asked.is_granted(response.status()) {
            // The client's next connection goes to the next process. Closed while it is idle, a request that is on its way
            // would be lost.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// One request of a connection.
struct Turn<'l> {
    line: &'l Line,
    index: u64,
    /// What it asks to switch to.
    asked: Protocol,
    /// Its client waits for leave to send the body.
    waits: bool,
    /// The connection must end with the answer.
    close: bool,
}

impl Carrier for Turn<'_> {
    type Body = Incoming;
    type Answer = ResponseBody;

    fn refused(&mut self, _request: &Request<Incoming>) -> Option<Refused> {
        self.line.control.begin(self.index)
    }

    async fn forward(
        &mut self,
        request: Request<Incoming>,
        permit: Permit,
    ) -> Result<Response<ResponseBody>, Rejection> {
        let answer = self.send(request, permit).await;
        let status = answer.as_ref().map(Response::status);
        self.decided(status.is_ok_and(|status| self.asked.is_granted(status)));
        answer
    }

    /// It is read so that the connection stays usable, but not without bound.
    fn discard(&mut self, mut body: Incoming) {
        let worker = Rc::clone(&self.line.worker);
        if body.is_end_stream() || self.waits {
            // To read from a client that waits for leave would give it. Nobody knows whether it sends now: end there.
            self.close = self.waits && !body.is_end_stream();
        } else {
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
        }
        self.decided(false);
    }

    fn answer(&mut self, mut response: Response<&'static str>, close: bool) -> Response<ResponseBody> {
        if close || self.close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|text| ResponseBody::new(Source::Text(text), &self.line.control))
    }

    fn reset(&mut self, _rejection: &Rejection) {
        self.line.control.reset();
    }

    fn revoked(&self) -> Rc<Revoked> {
        Rc::clone(&self.line.revoked)
    }

    fn begun(&mut self, ticket: Ticket) {
        // The one before it is over.
        drop(self.line.ticket.take());
        self.line.ticket.replace(Some(ticket));
    }
}

impl Turn<'_> {
    /// It is known what the final answer is, and whether the protocol is switched.
    fn decided(&self, switched: bool) {
        self.line.control.final_answer();
        if self.asked != Protocol::None {
            self.line.control.switched(switched);
        }
    }

    /// Headers, extensions (their names' case, the reason phrase) and bodies stay unchanged.
    async fn send(&self, mut request: Request<Incoming>, permit: Permit) -> Result<Response<ResponseBody>, Rejection> {
        if self.asked == Protocol::Http2 {
            forget_http2(request.headers_mut());
        }
        let client = upgrade::on(&mut request);
        let leave = self.waits.then(CancellationToken::new);
        let control = &self.line.control;
        let mut request = request.map(|body| match &leave {
            Some(leave) => RequestBody::after(body, control, leave.clone()),
            None => RequestBody::new(body, control),
        });
        if let Some(leave) = &leave {
            control.expect_body(self.index, leave.clone());
        }
        if request.version() != Version::HTTP_10 {
            interim::pass_on(&mut request, control.clone(), leave.clone());
        }
        let taken = self.line.upstream.borrow_mut().take();
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
        let (status, granted) = (response.status(), self.asked.is_granted(response.status()));
        // Unasked, what would follow is nothing that anybody judged. A tunnel with 204 is one to some and none to others, the
        // library among them.
        let is_none_to_others = granted && status == StatusCode::NO_CONTENT;
        if is_none_to_others || (status == StatusCode::SWITCHING_PROTOCOLS && !granted) {
            upstream.close();
            return Err(Rejection::Upstream(UpstreamFailure::Protocol));
        }
        if granted {
            count(&self.line.worker.counters.upgrades);
            let tunnel = tunnel(client, upgrade::on(&mut response));
            self.line.tunnel.replace(Some(AbortOnDropHandle::new(task::spawn_local(tunnel))));
        }
        self.line.upstream.replace(Some(upstream));
        let leave = leave.map(CancellationToken::drop_guard);
        let names_length = response.headers().contains_key(header::CONTENT_LENGTH);
        Ok(response.map(|body| ResponseBody::new(Source::Upstream(body, leave), control).under(names_length)))
    }
}

fn expects_continue<B>(request: &Request<B>) -> bool {
    let expect = request.headers().get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
