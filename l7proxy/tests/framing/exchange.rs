//! One connection through the data plane: what is sent at once, what each side gets, and how it ends.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{stage::Stage, table::shown};

/// The shortest answer, as it is passed on.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is done, and what is awaited.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    /// What the client sends at once.
    pub(crate) send: &'a [u8],
    /// And later.
    pub(crate) then: Option<Later<'a>>,
    /// What reaches the server, and what it answers to each.
    pub(crate) server: Vec<Served<'a>>,
    /// Final answers that the client waits for before it stops sending.
    pub(crate) answers: usize,
    /// Or bytes.
    pub(crate) bytes: usize,
    /// The client does not stop sending: the connection ends without that.
    pub(crate) closes: bool,
    /// After its last answer the server closes.
    pub(crate) server_closes: bool,
}

/// When something is sent, and what.
pub(crate) type Later<'a> = (When, &'a [u8]);

/// What reaches the server, and what it answers.
pub(crate) type Served<'a> = (&'a [u8], &'a [u8]);

/// When the client goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The server has the first message.
    Reached,
    /// The client has this many bytes.
    Got(usize),
}

/// How a side's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
    /// It did not.
    Open,
    /// There was none.
    None,
}

/// What a side got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

impl Got {
    pub(crate) fn shown(&self) -> String {
        format!("{:?} \"{}\"", self.end, shown(&self.bytes))
    }
}

/// Both sides of one connection.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) server: Got,
    pub(crate) client: Got,
}

/// Carries a plan out.
pub(crate) fn run(stage: &Stage, plan: &Plan<'_>) -> Seen {
    let is_over = AtomicBool::new(false);
    let (reached, arrived) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&stage.upstream, plan, &reached, &is_over));
        let mut client = TcpStream::connect(stage.front).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_nodelay(true).unwrap();
        // What is refused early may be cut off; what is missing is seen below.
        client.write_all(plan.send).ok();
        let mut got = Got { bytes: Vec::new(), end: End::Open };
        if let Some((when, bytes)) = plan.then {
            match when {
                When::Reached => drop(arrived.recv_timeout(PATIENCE).ok()),
                When::Got(length) => while got.bytes.len() < length && read(&mut client, &mut got) {},
            }
            client.write_all(bytes).ok();
        }
        while (answers(&got.bytes) < plan.answers || got.bytes.len() < plan.bytes) && read(&mut client, &mut got) {}
        if !plan.closes {
            client.shutdown(Shutdown::Write).ok();
        }
        while got.end == End::Open && read(&mut client, &mut got) {}
        is_over.store(true, Ordering::Relaxed);
        drop(client);
        Seen { server: server.join().unwrap(), client: got }
    })
}

fn serve(listener: &TcpListener, plan: &Plan<'_>, reached: &std::sync::mpsc::Sender<()>, is_over: &AtomicBool) -> Got {
    let mut got = Got { bytes: Vec::new(), end: End::Open };
    listener.set_nonblocking(true).unwrap();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !is_over.load(Ordering::Relaxed) => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return Got { end: End::None, ..got },
        }
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut length = 0;
    for (request, answer) in &plan.server {
        length += request.len();
        while got.bytes.len() < length && read(&mut stream, &mut got) {}
        if got.bytes.len() < length {
            return got;
        }
        reached.send(()).ok();
        // A client that is gone is seen at the end.
        stream.write_all(answer).ok();
    }
    if plan.server_closes {
        stream.shutdown(Shutdown::Write).ok();
    }
    while read(&mut stream, &mut got) {}
    got
}

/// Reads once; says whether there may be more.
fn read(stream: &mut TcpStream, got: &mut Got) -> bool {
    let mut buffer = [0; 16 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => got.end = End::Closed,
        Ok(length) => {
            got.bytes.extend_from_slice(&buffer[..length]);
            return true;
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => return true,
        Err(error) if is_reset(&error) => got.end = End::Reset,
        Err(_) => {}
    }
    false
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Final answers whose heads are complete.
fn answers(bytes: &[u8]) -> usize {
    let count = |part: &[u8]| memchr::memmem::find_iter(bytes, part).count();
    count(b"\r\n\r\n") - count(b"HTTP/1.1 100 Continue\r\n\r\n")
}

/// Runs `check` on all of `items`, on a few threads, which mostly wait; gives what it said of each that is not as expected.
pub(crate) fn each<T: Sync>(items: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let next = Mutex::new(items.iter());
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap().next() else { return };
                    if let Err(text) = check(item) {
                        wrong.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}
