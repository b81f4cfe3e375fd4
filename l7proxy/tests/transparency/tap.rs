//! Between the data plane and a server: carries bytes on as they are, ends included, and keeps what the server received.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct Tap {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<u8>>,
    open: AtomicUsize,
    is_over: AtomicBool,
}

impl Tap {
    pub(crate) fn new(listener: TcpListener, server: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        listener.set_nonblocking(true).unwrap();
        let of_thread = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            while !of_thread.is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => of_thread.carry(client, server),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { shared, accepting: Some(accepting) }
    }

    /// What the server received since the last call; waits for the end of the connections.
    pub(crate) fn received(&self) -> Vec<u8> {
        let waited = Instant::now();
        while self.shared.open.load(Ordering::SeqCst) > 0 {
            assert!(waited.elapsed() < Duration::from_secs(20), "a connection to the server does not end");
            thread::sleep(Duration::from_millis(1));
        }
        std::mem::take(&mut self.shared.received.lock().unwrap())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let joined = self.accepting.take().map(JoinHandle::join);
        assert!(joined.is_none_or(|joined| joined.is_ok()) || thread::panicking());
    }
}

impl Shared {
    fn carry(self: &Arc<Self>, client: TcpStream, server: SocketAddr) {
        self.open.fetch_add(1, Ordering::SeqCst);
        client.set_nonblocking(false).unwrap();
        let server = TcpStream::connect(server).unwrap();
        let shared = Arc::clone(self);
        thread::spawn(move || {
            thread::scope(|scope| {
                scope.spawn(|| pass(&server, &client, |_| {}));
                pass(&client, &server, |bytes| shared.received.lock().unwrap().extend_from_slice(bytes));
            });
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// An end is passed on as an end, a reset as a reset.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return drop(to.shutdown(Shutdown::Write)),
            Ok(length) => {
                seen(&buffer[..length]);
                if to.write_all(&buffer[..length]).is_err() {
                    return reset(from);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return reset(to),
        }
    }
}

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    // The other direction's thread ends; dropped by both, the socket ends with a reset.
    stream.shutdown(Shutdown::Read).ok();
}
