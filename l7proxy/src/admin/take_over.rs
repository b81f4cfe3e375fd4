//! The conversation between the process that runs and the one that takes over from it.
//!
//! Owns the words, and that a broken conversation is noticed by both. Never decides what is done between them. Start at
//! [`Predecessor::ask`] on the one side and [`Successor`] on the other.
//!
//! It is a connection to the admin socket that is upgraded, and then lines of JSON: *stop changing things* and *stopped*, then
//! *taken*. Whoever dies closes it, and the other one knows what that means where it is.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::{
    body::Incoming,
    client,
    upgrade::{self, Upgraded},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::mpsc,
    time,
};

use super::{MAX_ANSWER, plain};
use crate::redirect::SHARED_LAYOUT;

/// Of the words below.
const PROTOCOL: &str = "l7proxy-take-over";
/// Of the maps that both processes use.
const LAYOUT: &str = "l7proxy-layout";
/// Bytes of a line, at most.
const MAX_LINE: u64 = 16 << 20;
/// The process that runs answers in between two changes; one takes this long at most.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    /// The successor (its process id) wants to begin: change nothing more.
    Stop { pid: u32 },
    /// Nothing is changed any more, and anybody may have the claim to the pins. These pods are enrolled.
    Stopped { pods: Vec<String> },
    /// The kernel sends what is new to the successor.
    Taken,
    /// Understood.
    Over,
}

/// Why a process does not take over. One line: what, and what to do.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// The process that runs, as the one that takes over sees it.
#[derive(Debug)]
pub struct Predecessor {
    socket: PathBuf,
    talk: Talk,
}

impl Predecessor {
    /// Asks the process behind the admin socket whether it would hand over; nothing happens yet.
    pub async fn ask(socket: &Path) -> Result<Self, Refused> {
        let at = |what: &dyn fmt::Display| {
            Refused(format!(
                "{}: {what}; stop the running process first, then start without --take-over",
                socket.display()
            ))
        };
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| at(&format_args!("the process that uses redirect.pins does not answer here: {error}")))?;
        let answer = upgrade(stream).await.map_err(|error| at(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = answer.status();
            let body =
                Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map(http_body_util::Collected::to_bytes);
            let text = String::from_utf8_lossy(&body.unwrap_or_default()).trim().to_owned();
            let old = "it is of a version that cannot hand over";
            return Err(at(&if status == StatusCode::CONFLICT { text } else { old.to_owned() }));
        }
        let upgraded = upgrade::on(answer).await.map_err(|error| at(&error))?;
        Ok(Self { socket: socket.to_path_buf(), talk: Talk::new(upgraded) })
    }

    /// From now on it changes nothing in the kernel. Says which pods it has enrolled.
    pub async fn stop_changing(&mut self, pid: u32) -> Result<Vec<String>, Refused> {
        let answer = async {
            self.talk.say(&Word::Stop { pid }).await?;
            self.talk.hear().await
        };
        match time::timeout(PATIENCE, answer).await {
            Ok(Ok(Word::Stopped { pods })) => Ok(pods),
            Ok(Ok(_)) => Err(self.refused(&"an answer to another question")),
            Ok(Err(error)) => Err(self.refused(&error)),
            Err(_) => Err(self.refused(&"no answer within a minute")),
        }
    }

    /// It is replaced: it lets what is in flight finish, and ends. It may have died meanwhile, which comes to the same.
    pub async fn taken(mut self) {
        let told = async {
            self.talk.say(&Word::Taken).await?;
            self.talk.hear().await
        };
        match time::timeout(PATIENCE, told).await {
            Ok(Ok(Word::Over)) => {}
            Ok(Ok(word)) => tracing::warn!(?word, "the process before answered to another question"),
            Ok(Err(error)) => tracing::warn!(%error, "the process before ended before it handed over"),
            Err(_) => tracing::warn!("the process before does not say that it knows that it is replaced"),
        }
    }

    fn refused(&self, what: &dyn fmt::Display) -> Refused {
        Refused(format!("{}: the running process did not hand over: {what}; try again", self.socket.display()))
    }
}

async fn upgrade(stream: UnixStream) -> io::Result<Response<Incoming>> {
    let (mut sender, connection) =
        client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    drop(tokio::spawn(connection.with_upgrades()));
    let request = Request::get("/take-over")
        .header(header::HOST, "l7proxy")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .header(LAYOUT, SHARED_LAYOUT);
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

/// The process that takes over, as the one that runs sees it.
#[derive(Debug)]
pub struct Successor {
    talk: Talk,
    /// Its process id.
    pub pid: u32,
}

impl Successor {
    /// Nothing is changed any more.
    pub async fn stopped(&mut self, pods: Vec<String>) -> io::Result<()> {
        self.talk.say(&Word::Stopped { pods }).await
    }

    /// Ready when it took over, with `true`, or when it ended before.
    pub async fn has_taken(&mut self) -> bool {
        match self.talk.hear().await {
            Ok(Word::Taken) => true,
            Ok(word) => {
                tracing::warn!(?word, "the process that takes over said something else");
                false
            }
            Err(error) => {
                tracing::debug!(%error, "take-over");
                false
            }
        }
    }

    /// It is known here too.
    pub async fn over(mut self) {
        if let Err(error) = self.talk.say(&Word::Over).await {
            tracing::debug!(%error, "take-over");
        }
    }
}

/// Answers who wants to take over. What is agreed on arrives in `successors`.
pub(super) fn agree(request: Request<Incoming>, successors: mpsc::Sender<Successor>) -> Response<Full<Bytes>> {
    let layout = SHARED_LAYOUT.to_string();
    if named(request.headers(), header::UPGRADE.as_str()) != Some(PROTOCOL) {
        return plain(StatusCode::BAD_REQUEST, "there is an upgrade here, and nothing else\n");
    }
    if named(request.headers(), LAYOUT) != Some(&layout) {
        let text = "it keeps what it knows of open connections in another form than the version that is started: they would \
                    be lost\n";
        return plain(StatusCode::CONFLICT, text);
    }
    drop(tokio::spawn(async move {
        match upgrade::on(request).await {
            Ok(upgraded) => begin(Talk::new(upgraded), successors).await,
            Err(error) => tracing::debug!(%error, "take-over"),
        }
    }));
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}

/// Whoever only asked is forgotten; whoever begins is handed on.
async fn begin(mut talk: Talk, successors: mpsc::Sender<Successor>) {
    match talk.hear().await {
        Ok(Word::Stop { pid }) => {
            if successors.send(Successor { talk, pid }).await.is_err() {
                tracing::debug!(pid, "take-over: this process is ending");
            }
        }
        Ok(word) => tracing::warn!(?word, "take-over: a word out of turn"),
        Err(error) => tracing::debug!(%error, "take-over"),
    }
}

fn named<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Lines, one word each.
#[derive(Debug)]
struct Talk(BufReader<TokioIo<Upgraded>>);

impl Talk {
    fn new(upgraded: Upgraded) -> Self {
        Self(BufReader::new(TokioIo::new(upgraded)))
    }

    async fn say(&mut self, word: &Word) -> io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.0.write_all(&line).await?;
        self.0.flush().await
    }

    async fn hear(&mut self) -> io::Result<Word> {
        hear(pin!(&mut self.0)).await
    }
}

async fn hear(from: impl AsyncRead + AsyncBufReadExt + Unpin) -> io::Result<Word> {
    let mut line = String::new();
    from.take(MAX_LINE).read_line(&mut line).await?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests;
