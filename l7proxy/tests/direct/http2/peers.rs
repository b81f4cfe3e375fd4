//! A client and a server that speak HTTP/2, on one thread.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{self, ResponseFuture, SendRequest},
    server::{self, SendResponse},
};
use http::{HeaderMap, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{self, JoinHandle, LocalSet},
    time,
};

use crate::{stage::Stage, wire::PATIENCE};

/// Runs a test that has both ends.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, async { time::timeout(PATIENCE, test).await.unwrap() })
}

pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    /// How its connection ends.
    pub(crate) end: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    pub(crate) async fn connect(stage: &Stage) -> Self {
        Self::with(stage, &client::Builder::new()).await
    }

    pub(crate) async fn with(stage: &Stage, builder: &client::Builder) -> Self {
        let stream = TcpStream::connect(stage.front()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        Self { sender, end: task::spawn_local(connection) }
    }

    /// Waits until a stream may be opened.
    pub(crate) async fn send(&mut self, request: Request<()>, ended: bool) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let mut sender = self.sender.clone().ready().await.unwrap();
        sender.send_request(request, ended).unwrap()
    }

    /// A request without a body, and its answer with all of its body.
    pub(crate) async fn ask(&mut self, request: Request<()>) -> Result<Response<String>, h2::Error> {
        let (response, _) = self.send(request, true).await;
        let (head, body) = response.await?.into_parts();
        Ok(Response::from_parts(head, read(body).await?.0))
    }

    pub(crate) fn offers_extended_connect(&self) -> bool {
        self.sender.is_extended_connect_protocol_enabled()
    }

    /// Waits until no stream may be opened any more.
    pub(crate) async fn until_told_to_go_away(&self) {
        while self.sender.clone().ready().await.is_ok() {
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Closes the connection without a word.
    pub(crate) fn leave(self) {
        self.end.abort();
    }
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://api{path}")).body(()).unwrap()
}

pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(format!("http://api{path}")).body(()).unwrap()
}

/// A body to its end, with its trailers.
pub(crate) async fn read(mut body: RecvStream) -> Result<(String, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    Ok((String::from_utf8(bytes).unwrap(), body.trailers().await?))
}

/// More calls than a test leaves waiting.
const QUEUE: usize = 1024;

type Call = (Request<RecvStream>, SendResponse<Bytes>);

/// Serves one connection.
pub(crate) struct Server {
    calls: mpsc::Receiver<Call>,
    commands: mpsc::Sender<Command>,
    pub(crate) end: JoinHandle<()>,
}

enum Command {
    GoAway,
    Close,
}

impl Server {
    /// The next connection that reaches the server.
    pub(crate) async fn accept(stage: &Stage) -> Self {
        Self::with(stage.listener(), &server::Builder::new()).await
    }

    pub(crate) async fn with(listener: TcpListener, builder: &server::Builder) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let (sender, calls) = mpsc::channel(QUEUE);
        let (commands, mut orders) = mpsc::channel(QUEUE);
        let end = task::spawn_local(async move {
            loop {
                tokio::select! {
                    call = connection.accept() => match call {
                        Some(Ok(call)) => assert!(sender.try_send(call).is_ok()),
                        Some(Err(_)) | None => return,
                    },
                    order = orders.recv() => match order {
                        Some(Command::GoAway) => connection.graceful_shutdown(),
                        Some(Command::Close) | None => return,
                    },
                }
            }
        });
        Self { calls, commands, end }
    }

    /// The next request.
    pub(crate) async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    /// Answers the next request with a text that says what it asked for.
    pub(crate) async fn serve(&mut self) {
        let (request, respond) = self.call().await;
        answer(respond, &format!("{} {}", request.method(), request.uri().path()));
    }

    pub(crate) fn go_away(&self) {
        assert!(self.commands.try_send(Command::GoAway).is_ok());
    }

    /// Closes the connection, whatever is open on it.
    pub(crate) fn close(&self) {
        assert!(self.commands.try_send(Command::Close).is_ok());
    }
}

pub(crate) fn answer(mut respond: SendResponse<Bytes>, text: &str) {
    let mut body = respond.send_response(Response::new(()), text.is_empty()).unwrap();
    if !text.is_empty() {
        body.send_data(Bytes::from(text.to_owned()), true).unwrap();
    }
}

/// The code that `result` was reset with.
#[track_caller]
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, h2::Error>) -> Reason {
    let error = result.unwrap_err();
    assert!(error.is_reset(), "{error:?}");
    error.reason().unwrap()
}

/// Long enough for what must not happen to happen; where it cannot be waited for.
pub(crate) async fn quiet() {
    time::sleep(Duration::from_millis(50)).await;
}
