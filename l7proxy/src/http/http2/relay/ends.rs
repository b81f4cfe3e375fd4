//! The end of a connection: what is recorded, what each side is told, and how its socket is closed.
//!
//! Start at [`Relay::finish`].

use std::{future::poll_fn, io, pin::Pin, time::Duration};

use tokio::{io::AsyncWrite, net::TcpStream, time};

use super::{End, Relay};
use crate::{
    http::{
        Worker,
        http2::{
            frames::{self, Code},
            leg::Leg,
        },
        linger::Linger,
    },
    reject::{ClientFailure, Rejection},
    sys,
};

/// How long a side may take to hear the last words.
const ENDING: Duration = Duration::from_secs(1);

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// The last words must arrive.
    Orderly,
    /// As it is without us when the other end fails: with a reset.
    Reset,
    /// The other end closes it, and if it takes too long, we do.
    Left,
    /// It is over already.
    Over,
}

impl Relay {
    /// Ends both connections.
    pub(in crate::http::http2) async fn finish(mut self, end: End) {
        let (client, upstream) = self.close_all(&end);
        let Self { client: client_leg, upstream: upstream_leg, worker, .. } = self;
        let upstream_leg = upstream_leg.map(|leg| *leg);
        let closing = async {
            if let Some(leg) = upstream_leg {
                close(leg, upstream, &worker).await;
            }
        };
        tokio::join!(close(client_leg, client, &worker), closing);
    }

    /// Records what is not over, and writes the last words.
    fn close_all(&mut self, end: &End) -> (Closing, Closing) {
        let failure = match end {
            End::Upstream(failure) => Rejection::Upstream(*failure),
            End::Client | End::Shed(..) | End::Over => Rejection::Client(ClientFailure::Left),
        };
        for id in self.streams.ids(|_| true) {
            let Some(mut stream) = self.close(id, true) else { continue };
            if let (true, Some(upstream)) = (stream.is_forwarded, &mut self.upstream) {
                upstream.reset(id, Code::CANCEL);
            }
            self.line.record(&mut stream, &failure);
        }
        if let End::Shed(rejection, code) = end {
            self.line.exchange.unread(rejection, None);
            frames::write_goaway(self.streams.newest, *code, &[], self.client.out.buffer());
        } else if self.client.open_block().is_some() {
            let is_known = self.goodbye.last.is_some();
            let rejection = if is_known { Rejection::GoingAway } else { Rejection::Client(ClientFailure::Left) };
            self.line.exchange.unread(&rejection, None);
        }
        if let Some(upstream) = &mut self.upstream {
            frames::write_goaway(0, Code::NO_ERROR, &[], upstream.out.buffer());
        }
        let is_left = self.goodbye.upstream.is_some();
        match end {
            End::Client | End::Shed(..) => (Closing::Orderly, Closing::Orderly),
            End::Upstream(_) if self.goodbye.is_failure => (Closing::Orderly, Closing::Over),
            End::Upstream(_) => (Closing::Reset, Closing::Over),
            End::Over => {
                if self.goodbye.last.is_none() {
                    frames::write_goaway(self.streams.newest, Code::NO_ERROR, &[], self.client.out.buffer());
                }
                (Closing::Orderly, if is_left { Closing::Left } else { Closing::Orderly })
            }
        }
    }
}

async fn close(mut leg: Leg, closing: Closing, worker: &Worker) {
    let Some(mut stream) = leg.stream.take() else { return };
    let done = match closing {
        Closing::Over => return,
        Closing::Reset => {
            // As much as goes at once.
            let said = leg.out.try_flush(&stream);
            sys::abort_on_close(&stream).and(said)
        }
        Closing::Orderly | Closing::Left => match time::timeout(ENDING, leg.flush(&mut stream)).await {
            Ok(Ok(())) => {
                drop(leg.out);
                linger(&mut stream, closing, leg.is_over, worker).await
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
    };
    if let Err(error) = done {
        tracing::debug!(%error, "the end of a connection");
    }
}

async fn linger(stream: &mut TcpStream, closing: Closing, is_over: bool, worker: &Worker) -> io::Result<()> {
    if closing == Closing::Orderly {
        poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx)).await?;
    }
    if !is_over {
        let mut linger = Linger::begin();
        poll_fn(|cx| {
            let mut scratch = worker.scratch.take();
            let polled = linger.poll(stream, cx, &mut scratch);
            worker.scratch.give_back(scratch);
            polled
        })
        .await;
    }
    Ok(())
}
