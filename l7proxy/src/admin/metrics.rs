//! `GET /metrics`: what Prometheus asks for, on a TCP address, and nothing else.
//!
//! Owns the address and who may hold it how long. Never runs on a data worker; the text is made on a thread beside, one scrape at
//! a time. Start at [`Address::bind`]; a process that takes over binds beside the one that runs, listens when it serves, and
//! the other one stops then: at any time one of both answers.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpStream,
    pin,
    sync::{mpsc, oneshot},
    task::{self, JoinHandle},
    time,
};
use tokio_util::sync::CancellationToken;

use super::{Question, plain};
use crate::metrics::{Counters, Exposition, Family, Histogram, Source, count};

/// Connections at once. For one more the oldest is closed: whoever holds them all does not keep Prometheus out.
const CONNECTIONS: usize = 16;
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;
/// For a head, and for a connection that asks nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what only the control loop knows: it may be busy with a change.
const STATUS: Duration = Duration::from_secs(3);
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An address that is this process' to listen at. Nobody can connect yet.
#[derive(Debug)]
pub struct Address {
    socket: Socket,
    address: SocketAddr,
}

/// What is told at it.
#[derive(Clone, Debug)]
pub struct Scrapes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    questions: mpsc::Sender<Question>,
    exposition: Exposition,
    counters: Arc<Counters>,
    /// One text is made at a time.
    turn: tokio::sync::Mutex<()>,
    answers: Answers,
}

/// The listener's end: dropping it closes it, and each connection after the answer that it waits for.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    closed: CancellationToken,
}

impl Address {
    /// With `beside`, another process of ours may hold it too: the one that is taken over from.
    pub fn bind(address: SocketAddr, beside: bool) -> io::Result<Self> {
        let at = |error: io::Error| {
            let text =
                format!("admin.metrics: {address}: {error}; give an address of this node that nobody listens at");
            io::Error::new(error.kind(), text)
        };
        if !beside {
            // Two processes that both allow it would share the scrapes, and nobody would see it.
            drop(TcpListener::bind(address).map_err(at)?);
        }
        let socket = Self::open(address).map_err(at)?;
        Ok(Self { socket, address })
    }

    fn open(address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    }

    /// Answers from now on, until what is given is dropped. To be called on the control runtime.
    pub fn listen(self, scrapes: Scrapes) -> io::Result<Listening> {
        let at = |error: io::Error| io::Error::new(error.kind(), format!("admin.metrics: {}: {error}", self.address));
        self.socket.listen(BACKLOG).map_err(at)?;
        let listener = tokio::net::TcpListener::from_std(self.socket.into()).map_err(at)?;
        let address = listener.local_addr().map_err(at)?;
        let closed = CancellationToken::new();
        drop(tokio::spawn(accept(listener, scrapes, closed.clone())));
        Ok(Listening { address, closed })
    }
}

impl Listening {
    /// Where.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// Connections that are open, the oldest first.
#[derive(Debug, Default)]
struct Open(VecDeque<JoinHandle<()>>);

impl Open {
    /// Whether the oldest one had to go.
    fn add(&mut self, connection: JoinHandle<()>) -> bool {
        self.0.retain(|connection| !connection.is_finished());
        let oldest = if self.0.len() >= CONNECTIONS { self.0.pop_front() } else { None };
        self.0.push_back(connection);
        oldest.inspect(JoinHandle::abort).is_some()
    }
}

async fn accept(listener: tokio::net::TcpListener, scrapes: Scrapes, closed: CancellationToken) {
    let mut open = Open::default();
    let mut serve = |stream| {
        if open.add(tokio::spawn(converse(stream, scrapes.clone(), closed.clone()))) {
            count(&scrapes.0.counters.metrics_connections_shed);
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = closed.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => serve(stream),
            Err(error) => {
                // Descriptors may be free again.
                tracing::warn!(%error, "metrics");
                time::sleep(PAUSE).await;
            }
        }
    }
    // Who is in the queue would be reset.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, _)) = listener.accept() {
        match stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            Ok(stream) => serve(stream),
            Err(error) => tracing::warn!(%error, "metrics"),
        }
    }
}

async fn converse(stream: TcpStream, scrapes: Scrapes, closed: CancellationToken) {
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        reply(request, scrapes.clone(), closed.clone())
    });
    let mut server = server::conn::http1::Builder::new();
    server.max_buf_size(HEAD).timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = closed.cancelled() => {
            // Who has just come has not been read yet, and would be closed without an answer.
            if asked.load(Ordering::Relaxed) {
                connection.as_mut().graceful_shutdown();
            }
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "metrics connection");
    }
}

async fn reply(
    request: Request<Incoming>,
    scrapes: Scrapes,
    closed: CancellationToken,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let begin = Instant::now();
    let mut response = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => scrapes.answer().await,
        (_, "/metrics") => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "there is GET /metrics\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "there is GET /metrics\n"),
    };
    if closed.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    scrapes.0.answers.add(response.status(), begin.elapsed());
    Ok(response)
}

impl Scrapes {
    /// What `exposition` tells, and what the control loop is asked for by `questions`.
    #[must_use]
    pub fn new(questions: mpsc::Sender<Question>, exposition: Exposition, counters: Arc<Counters>) -> Self {
        let (turn, answers) = (tokio::sync::Mutex::default(), Answers::default());
        Self(Arc::new(Shared { questions, exposition, counters, turn, answers }))
    }

    async fn answer(&self) -> Response<Full<Bytes>> {
        let _turn = self.0.turn.lock().await;
        let mut more = self.status().await;
        more.extend(self.0.answers.families());
        let exposition = self.0.exposition.clone();
        let text = task::spawn_blocking(move || exposition.text(more)).await;
        match text.map_err(io::Error::other).and_then(|text| text.map_err(io::Error::other)) {
            Ok(text) => {
                let mut response = Response::new(Full::from(text));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
                response
            }
            Err(error) => {
                tracing::error!(%error, "metrics");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be told; see the log\n")
            }
        }
    }

    /// What the control loop knows; without it, when it is too busy or ending, that it does not say.
    async fn status(&self) -> Vec<Family> {
        let (sender, receiver) = oneshot::channel();
        let asked = async {
            self.0.questions.send(Question::Metrics(sender)).await.ok()?;
            receiver.await.ok()
        };
        let known = time::timeout(STATUS, asked).await.ok().flatten();
        let help = "Whether the control loop answered this scrape; what `l7proxy status` tells is missing otherwise.";
        let answered = Family::gauge("l7proxy_status_known", help).with(&[], u64::from(known.is_some()));
        known.into_iter().flatten().chain([answered]).collect()
    }
}

/// Answers to scrapes, by status.
#[derive(Debug, Default)]
struct Answers(Mutex<Vec<Answered>>);

type Answered = (StatusCode, Histogram);

impl Answers {
    fn add(&self, status: StatusCode, lasted: Duration) {
        let nanoseconds = u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Four of them at most.
        if let Some((_, histogram)) = known.iter().find(|(known, _)| *known == status) {
            return histogram.observe(nanoseconds);
        }
        let histogram = Histogram::default();
        histogram.observe(nanoseconds);
        known.push((status, histogram));
    }
}

impl Source for Answers {
    fn families(&self) -> Vec<Family> {
        let mut requests = Family::counter(
            "hubble_metrics_http_handler_requests_total",
            "A counter for requests to Hubble metrics handler.",
        );
        let mut durations = Family::histogram(
            "hubble_metrics_http_handler_request_duration_seconds",
            "A histogram of latencies of Hubble metrics handler.",
        );
        for (status, histogram) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            requests.add_count(&[("code", status.as_str())], histogram.count());
            durations.add_histogram(&[("code", status.as_str())], histogram);
        }
        vec![requests, durations]
    }
}

#[cfg(test)]
mod tests;
