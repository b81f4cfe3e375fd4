//! A socket that says what came and how it ended. Reads give up after [`PATIENCE`], so that no test hangs.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    /// Read, but not asked for yet.
    ahead: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// With little room for what comes.
    pub(crate) fn connect_small(address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::new(socket.into())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    /// The same socket, for another thread.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.stream.try_clone().unwrap())
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// As [`Self::send`], for bytes that the other side may not want any more.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub(crate) fn set_patience_ms(&self, milliseconds: u64) {
        self.stream.set_write_timeout(Some(Duration::from_millis(milliseconds))).unwrap();
    }

    pub(crate) fn set_read_patience_ms(&self, milliseconds: u64) {
        self.stream.set_read_timeout(Some(Duration::from_millis(milliseconds))).unwrap();
    }

    /// As [`Self::exactly`]; nothing when it does not come in time.
    pub(crate) fn try_exactly(&mut self, length: usize) -> Option<String> {
        while self.ahead.len() < length {
            self.more().ok().filter(|more| *more)?;
        }
        Some(self.take(length))
    }

    /// Nothing more is sent from here.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection with a reset.
    pub(crate) fn abort(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Up to and with `end`.
    #[track_caller]
    pub(crate) fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.ahead, end.as_bytes()) {
                return self.take(at + end.len());
            }
            assert!(self.more().unwrap(), "ended before {end:?}: {:?}", String::from_utf8_lossy(&self.ahead));
        }
    }

    /// A head with its empty line.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        self.until("\r\n\r\n")
    }

    #[track_caller]
    pub(crate) fn exactly(&mut self, length: usize) -> String {
        while self.ahead.len() < length {
            assert!(self.more().unwrap(), "ended before {length} bytes: {:?}", String::from_utf8_lossy(&self.ahead));
        }
        self.take(length)
    }

    #[track_caller]
    pub(crate) fn exactly_bytes(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(self.more().unwrap(), "ended before {length} bytes: {:?}", self.ahead);
        }
        self.ahead.drain(..length).collect()
    }

    /// Everything to the end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (String, End) {
        let end = loop {
            match self.more() {
                Ok(true) => {}
                Ok(false) => break End::Closed,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break End::Reset,
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.ahead)),
            }
        };
        (self.take(self.ahead.len()), end)
    }

    /// Everything to the end, as bytes.
    #[track_caller]
    pub(crate) fn rest_bytes(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            match self.more() {
                Ok(true) => {}
                Ok(false) => break End::Closed,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break End::Reset,
                Err(error) => panic!("{error} after {:?}", self.ahead),
            }
        };
        (std::mem::take(&mut self.ahead), end)
    }

    /// Reads and forgets `length` bytes.
    #[track_caller]
    pub(crate) fn skip(&mut self, mut length: usize) {
        let mut buffer = vec![0; 64 << 10];
        let ahead = self.ahead.len().min(length);
        self.ahead.drain(..ahead);
        length -= ahead;
        while length > 0 {
            let most = buffer.len().min(length);
            let read = self.stream.read(&mut buffer[..most]).unwrap();
            assert!(read > 0, "ended {length} bytes too early");
            length -= read;
        }
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let length = self.stream.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..length]);
        Ok(length > 0)
    }

    fn take(&mut self, length: usize) -> String {
        let bytes: Vec<u8> = self.ahead.drain(..length).collect();
        // Bytes that are no UTF-8 as Latin-1: nothing gets lost.
        String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
    }
}
