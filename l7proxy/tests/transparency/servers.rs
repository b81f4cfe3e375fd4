//! The servers: what is named by the path, each of them answers in its own way.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, Stdio},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;

/// Ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Option<Child>,
    _directory: Option<TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/servers")
}

/// Debian's; `cargo xtask test transparency` puts it into `.tools`.
pub(crate) fn nginx() -> Server {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/nginx/usr/sbin/nginx");
    let program = if own.is_file() { own } else { PathBuf::from("nginx") };
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let text = fs::read_to_string(programs().join("nginx.conf")).unwrap();
    let text = text.replace("@DIRECTORY@", directory.path().to_str().unwrap()).replace("@PORT@", &port.to_string());
    let put = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    put("nginx.conf", text.as_bytes());
    put("hello.txt", b"hello");
    put("bytes.txt", &(0..=255).collect::<Vec<u8>>());
    put("large.txt", &vec![b'x'; 1 << 20]);
    let child = Command::new(&program)
        .args(["-e", "stderr", "-p"])
        .arg(directory.path())
        .args(["-c", "nginx.conf"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}: `cargo xtask test transparency` brings it", program.display()));
    let server = Server {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        child: Some(child),
        _directory: Some(directory),
    };
    let waited = Instant::now();
    while TcpStream::connect(server.address).is_err() {
        assert!(waited.elapsed() < Duration::from_secs(20), "nginx does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    server
}

pub(crate) fn node() -> Server {
    spoken(Command::new("node").arg(programs().join("node.mjs")), "Node 18 or newer")
}

pub(crate) fn go() -> Server {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-server-go");
    let built = Command::new("go")
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(programs().join("go"))
        .env("CGO_ENABLED", "0")
        .status();
    assert!(built.unwrap_or_else(|error| panic!("go: {error}: this test needs Go 1.24 or newer")).success());
    spoken(&mut Command::new(program), "")
}

/// A program that says its port.
fn spoken(command: &mut Command, needs: &str) -> Server {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}: this test needs {needs}"));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{command:?} says {line:?}"));
    Server { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), child: Some(child), _directory: None }
}

/// In this process; ends with it.
pub(crate) fn hyper() -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = http1::Builder::new()
                    .auto_date_header(false)
                    .half_close(true)
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                // A connection that a test ends early is its own affair.
                tokio::spawn(async { drop(serving.await) });
            }
        });
    });
    Server { address, child: None, _directory: None }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Frames>, hyper::Error> {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let got = request.into_body().collect().await?;
    let trailers = got.trailers().cloned().unwrap_or_default();
    let length = got.to_bytes().len();
    let body = match name.as_str() {
        "length" | "close" => Frames::whole(b"hello".to_vec()),
        "bytes" => Frames::whole((0..=255).collect()),
        "large" => Frames::whole(vec![b'x'; 1 << 20]),
        "chunked" => Frames::parts(None),
        "trailers" => Frames::parts(Some(("x-sum", "1"))),
        _ => Frames::whole(Vec::new()),
    };
    let is_known = name == "empty" || name == "headers" || !body.is_end_stream();
    let status = name.parse().ok().unwrap_or(if is_known { 200 } else { 404 });
    let mut response = Response::builder().status(status).body(body).unwrap();
    let headers = response.headers_mut();
    let value = HeaderValue::from_static;
    match name.as_str() {
        "close" => drop(headers.insert("connection", value("close"))),
        "trailers" => drop(headers.insert("trailer", value("x-sum"))),
        "headers" => {
            let lines =
                [("x-mixed", "1"), ("set-cookie", "a=b"), ("set-cookie", "c=d"), ("x-mixed", "2"), ("x-empty", "")];
            headers.extend(lines.map(|(name, text)| (HeaderName::from_static(name), value(text))));
            headers.append("x-latin", HeaderValue::from_bytes(b"\xe9\xff").unwrap());
        }
        _ => {
            headers.insert("x-got", HeaderValue::from(length));
            headers.extend(trailers);
        }
    }
    Ok(response)
}

/// A body of these frames.
struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    /// Known beforehand.
    length: Option<u64>,
}

impl Frames {
    fn whole(bytes: Vec<u8>) -> Self {
        let length = Some(u64::try_from(bytes.len()).unwrap());
        let frame = (!bytes.is_empty()).then(|| Frame::data(Bytes::from(bytes)));
        Self { frames: frame.into_iter().collect(), length }
    }

    fn parts(trailer: Option<(&'static str, &'static str)>) -> Self {
        let mut frames: VecDeque<_> = ["hello", " world"].map(|text| Frame::data(Bytes::from(text))).into();
        frames.extend(trailer.map(|(name, value)| {
            let line = (HeaderName::from_static(name), HeaderValue::from_static(value));
            Frame::trailers(HeaderMap::from_iter([line]))
        }));
        Self { frames, length: None }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
