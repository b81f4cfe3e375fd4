//! The admin socket: HTTP on a unix socket that only root can open. `GET /status`, and the way to take over. Beside it, on a TCP
//! address, what Prometheus asks for.
//!
//! Owns the sockets and the protocol. Never answers from the data path; questions go to the control loop. Start at
//! [`serve`] on the one side and [`ask`] on the other, and at [`Address`] for metrics.

use std::{convert::Infallible, io, path::Path};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    metrics::{Family, Source},
    socket_file::{self, SocketFile},
};

mod metrics;
mod take_over;

pub use metrics::{Address, Listening, Scrapes};
pub use take_over::{Predecessor, Refused, Successor};

/// An answer may have this many bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Somebody asks for the status.
#[derive(Debug)]
pub enum Question {
    /// As JSON.
    Status(oneshot::Sender<Vec<u8>>),
    /// As metrics.
    Metrics(oneshot::Sender<Vec<Family>>),
}

impl Question {
    /// Answers; whoever asked may have gone.
    pub fn answer(self, status: &(impl Serialize + Source)) {
        match self {
            Self::Status(asker) => match serde_json::to_vec(status) {
                Ok(json) => drop(asker.send(json)),
                Err(error) => tracing::error!(%error, "status"),
            },
            Self::Metrics(asker) => drop(asker.send(status.families())),
        }
    }
}

/// What comes in by the admin socket.
#[derive(Clone, Debug)]
pub struct Callers {
    /// Who asks for the status.
    pub questions: mpsc::Sender<Question>,
    /// Who takes over.
    pub successors: mpsc::Sender<Successor>,
}

/// The socket's end: dropping it removes the file, unless it is another process' by now.
#[derive(Debug)]
pub struct Served {
    file: SocketFile,
    task: JoinHandle<()>,
}

impl Served {
    /// Whether nobody else has put a file of its own there.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.file.is_in_place()
    }

    /// The file stays, for the process that takes over to replace.
    pub fn leave_file(&mut self) {
        self.file.leave();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers on `path` until dropped. A file that a dead process left there is replaced; that of a living one only when it is
/// `taken` over from. Somebody answers there at any moment in between.
pub fn serve(path: &Path, callers: Callers, taken: bool) -> io::Result<Served> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("admin.socket: {}: {error}", path.display()));
    let (listener, file) = socket_file::bind(path, 0o600, taken).map_err(at)?;
    let listener = UnixListener::from_std(listener).map_err(at)?;
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, callers.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "admin socket");
                    return;
                }
            }
        }
    });
    Ok(Served { file, task })
}

async fn converse(stream: UnixStream, callers: Callers) {
    let service = service_fn(|request| reply(request, callers.clone()));
    let serving = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.with_upgrades().await {
        tracing::debug!(%error, "admin connection");
    }
}

async fn reply(request: Request<Incoming>, callers: Callers) -> Result<Response<Full<Bytes>>, Infallible> {
    match request.uri().path() {
        _ if request.method() != Method::GET => {}
        "/status" => return Ok(answer(&callers.questions).await),
        "/take-over" => return Ok(take_over::agree(request, callers.successors)),
        _ => {}
    }
    Ok(plain(StatusCode::NOT_FOUND, "there is GET /status\n"))
}

async fn answer(questions: &mpsc::Sender<Question>) -> Response<Full<Bytes>> {
    let (sender, receiver) = oneshot::channel();
    if questions.send(Question::Status(sender)).await.is_err() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n");
    }
    match receiver.await {
        Ok(json) => {
            let mut response = Response::new(Full::from(json));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            response
        }
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

/// Asks the process behind `path` for its status.
pub async fn ask(path: &Path) -> io::Result<Vec<u8>> {
    let stream = UnixStream::connect(path).await?;
    let (mut sender, connection) =
        client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/status").header(header::HOST, "l7proxy").body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(io::Error::other)?;
    connection.abort();
    if status != StatusCode::OK {
        return Err(io::Error::other(format!("answered {status}")));
    }
    Ok(body.to_bytes().to_vec())
}
