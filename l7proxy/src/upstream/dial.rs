//! Makes the connection to the upstream, in the pod's namespace.

use std::{io, net::SocketAddr};

use tokio::net::TcpStream;

/// Knows how to reach the upstream of one downstream connection.
#[derive(Debug)]
pub struct Dialer {
    target: SocketAddr,
}

impl Dialer {
    /// Connects from this process's own namespace: for tests and for what is not redirected.
    #[must_use]
    pub fn direct(target: SocketAddr) -> Self {
        Self { target }
    }

    /// One connection, not retried.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.target).await
    }
}
