//! Makes the connection to the upstream, in the pod's namespace.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use tokio::net::{TcpSocket, TcpStream};

use crate::{
    pod_net::{Family, PodNetns},
    redirect::DataMaps,
    sys,
};

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
    /// The kernel side, of this worker.
    pub maps: Rc<RefCell<DataMaps>>,
    /// Which end of the connection the pod is.
    pub side: Side,
}

/// What the other end is to see as its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The pod connects: from this address of its own, or from the one that the way there has.
    Client(Option<IpAddr>),
    /// The pod is connected to, by this client.
    Server(SocketAddr),
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
        let socket = self.netns.socket(Family::of(target.ip()))?;
        self.maps.borrow_mut().mark_own(&socket)?;
        match self.side {
            Side::Client(source) => {
                if let Some(source) = source.filter(|source| !source.is_loopback()) {
                    sys::bind_address(&socket, source)?;
                }
                tokio_socket(socket).connect(target).await
            }
            Side::Server(client) => {
                // Not bound: it comes from the pod's address that it goes to, and shares local ports with whatever the
                // application connects to.
                sys::leave_no_time_wait(&socket)?;
                self.maps.borrow_mut().stand_for(&socket, client)?;
                let stream = tokio_socket(socket).connect(target).await?;
                self.maps.borrow().must_be_announced(&stream)?;
                Ok(stream)
            }
        }
    }
}

fn tokio_socket(socket: socket2::Socket) -> TcpSocket {
    TcpSocket::from_std_stream(socket.into())
}
