//! The admin socket: `GET /status` over HTTP on a unix socket that only root can open.
//!
//! Owns the socket and the protocol. Never answers from the data path; questions go to the control loop. Start at
//! [`serve`] on the one side and [`ask`] on the other.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

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

/// An answer may have this many bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Somebody asks for the status.
#[derive(Debug)]
pub struct Question(oneshot::Sender<Vec<u8>>);

impl Question {
    /// Answers as JSON; whoever asked may have gone.
    pub fn answer(self, status: &impl Serialize) {
        match serde_json::to_vec(status) {
            Ok(json) => drop(self.0.send(json)),
            Err(error) => tracing::error!(%error, "status"),
        }
    }
}

/// The socket's end: dropping it removes the file.
#[derive(Debug)]
pub struct Served {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "admin socket");
        }
    }
}

/// Answers questions on `path` until dropped. A file that a dead process left there is replaced.
pub fn serve(path: &Path, questions: mpsc::Sender<Question>) -> io::Result<Served> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("admin.socket: {}: {error}", path.display()));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(at)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let text = "another process answers there; stop it first, or give another socket";
        return Err(at(io::Error::new(io::ErrorKind::AddrInUse, text)));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(at)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(at)?;
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, questions.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "admin socket");
                    return;
                }
            }
        }
    });
    Ok(Served { path: path.to_path_buf(), task })
}

async fn converse(stream: UnixStream, questions: mpsc::Sender<Question>) {
    let service = service_fn(|request| reply(request, questions.clone()));
    if let Err(error) = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "admin connection");
    }
}

async fn reply(
    request: Request<Incoming>,
    questions: mpsc::Sender<Question>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/status" || request.method() != Method::GET {
        return Ok(plain(StatusCode::NOT_FOUND, "there is GET /status\n"));
    }
    let (sender, receiver) = oneshot::channel();
    if questions.send(Question(sender)).await.is_err() {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n"));
    }
    Ok(match receiver.await {
        Ok(json) => {
            let mut response = Response::new(Full::from(json));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            response
        }
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n"),
    })
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
