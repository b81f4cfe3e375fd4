//! Makes the connection to the upstream, in the pod's namespace.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use rules::Direction;
use tokio::net::{TcpSocket, TcpStream};

use crate::{pod_net::PodNetns, redirect::DataMaps};

/// Knows how to reach the upstream of one downstream connection.
#[derive(Debug)]
pub struct Dialer {
    target: SocketAddr,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Direct,
    Pod(Leg),
}

/// The pod that a connection belongs to.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Its namespace: where the socket is made.
    pub netns: Arc<PodNetns>,
    /// Its address: where a leg goes out from unless the client chose another of the pod's.
    pub address: Ipv4Addr,
    /// The kernel side, of this worker.
    pub maps: Rc<RefCell<DataMaps>>,
    /// Which way the connection goes.
    pub direction: Direction,
    /// The true client.
    pub client: SocketAddr,
}

impl Dialer {
    /// Connects from this process's own namespace: for what is not redirected.
    #[must_use]
    pub fn direct(target: SocketAddr) -> Self {
        Self { target, way: Way::Direct }
    }

    /// Connects from the pod's namespace.
    #[must_use]
    pub fn in_pod(target: SocketAddr, leg: Leg) -> Self {
        Self { target, way: Way::Pod(leg) }
    }

    /// Where the connection goes.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// One connection, not retried.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        match &self.way {
            Way::Direct => TcpStream::connect(self.target).await,
            Way::Pod(leg) => leg.connect(self.target).await,
        }
    }
}

impl Leg {
    async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.netns.socket()?;
        self.maps.borrow_mut().mark_own(&socket)?;
        match self.direction {
            Direction::Egress => {
                // The pod has its own choice of source when it has several addresses.
                if self.client.ip() != IpAddr::V4(self.address) && !self.client.ip().is_loopback() {
                    socket.bind(&SocketAddr::new(self.client.ip(), 0).into())?;
                }
                tokio_socket(socket).connect(target).await
            }
            Direction::Ingress => {
                // Bound to the pod's address, not to loopback: a lost announcement must not look like localhost.
                socket.bind(&SocketAddr::new(target.ip(), 0).into())?;
                let socket = tokio_socket(socket);
                let leg = socket.local_addr()?;
                let cookie = self.netns.cookie();
                self.maps.borrow_mut().announce(cookie, leg, target.port(), self.client)?;
                let connected = socket.connect(target).await;
                if connected.is_err() {
                    self.maps.borrow_mut().withdraw(cookie, leg, target.port());
                }
                connected
            }
        }
    }
}

fn tokio_socket(socket: socket2::Socket) -> TcpSocket {
    TcpSocket::from_std_stream(socket.into())
}
