//! An HTTP/1 connection: one request after the other, passed on as they came.
//!
//! No HTTP library stands between the two sockets: a library writes messages anew, holds what it reads, and cost more than all
//! else (`ARCHITECTURE.md`). Owns the connection's life; its bytes are `http1/relay.rs`, where messages end is
//! `http1/scan.rs` (requests, strictly) and `http1/answer.rs`. Start at [`serve`].

use std::{
    cell::Cell,
    future::poll_fn,
    rc::{Rc, Weak},
    task::Poll,
};

use tokio::net::TcpStream;

use super::{
    Connection, Worker,
    changes::{Changed, Changes, Due},
    serve::First,
};
use crate::{metrics::count, request::Exchange};

mod answer;
mod chunk;
mod head;
mod own;
mod relay;
mod revoked;
mod rewrite;
mod scan;
mod side;
mod upgrade;

use relay::Relay;
use revoked::Revoked;
pub use scan::{Found, Outcome, Scanner};

/// Serves requests until the client, the upstream or the process ends.
pub(super) async fn serve(stream: TcpStream, first: First, connection: Connection, worker: Rc<Worker>) {
    let (exchange, dialer) = Exchange::new(connection, Rc::clone(&worker));
    let line = Rc::new(Line {
        exchange,
        worker,
        revoked: Revoked::default(),
        state: Cell::default(),
        leaves: Cell::default(),
    });
    let who: Weak<dyn Changed> = Rc::<Line>::downgrade(&line);
    let _told = Changes::add(&line.worker, who, line.exchange.revisions());
    line.leaves.set(line.worker.drain.is_draining());
    let mut relay = Relay::new(Rc::clone(&line), stream, dialer, first.taken, first.since);
    let ended = poll_fn(|cx| match line.revoked.poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => relay.poll(cx).map(Some),
    });
    if ended.await.is_none() {
        count(&line.worker.counters.requests_ended);
    }
}

/// What a connection's requests share, and what others may know of it.
#[derive(Debug)]
struct Line {
    exchange: Exchange,
    worker: Rc<Worker>,
    /// Tells that the newest request, or the tunnel, is not allowed any more.
    revoked: Revoked,
    state: Cell<State>,
    /// Nothing new is begun.
    leaves: Cell<bool>,
}

/// What is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    /// A request is not answered.
    Busy,
    /// Anything: the protocol was switched.
    Tunnel,
}

impl Line {
    fn is_tunnel(&self) -> bool {
        self.state.get() == State::Tunnel
    }
}

impl Changed for Line {
    fn policy_changed(&self, due: Due) {
        let is_due = match due {
            Due::Tunnels => self.is_tunnel(),
            Due::All => self.state.get() != State::Idle,
        };
        if is_due && self.exchange.policy_changed(false) > 0 {
            self.revoked.set();
        }
    }

    fn leave(&self) {
        self.leaves.set(true);
        self.revoked.wake();
    }
}

#[cfg(test)]
mod tests;
