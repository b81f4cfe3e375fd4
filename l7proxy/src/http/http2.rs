//! An HTTP/2 connection by prior knowledge: many requests at once, all to one upstream connection of their own.
//!
//! A relay of frames, not a server and a client: a stream has the same number on both sides, what one side gives of its window
//! the other is told, and what one side resets or takes back the other hears. Heads are unpacked, judged and packed again;
//! bodies are passed on as they come. Never speaks HTTP/1 to an upstream. Start at [`serve`].

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::{Rc, Weak},
    task::{Context, Waker},
};

use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{
    Connection, Worker,
    changes::{Changed, Changes, Due},
    serve::{First, PREFACE},
};
use crate::{metrics::count, reject::Rejection, request::Exchange};

mod floods;
mod frames;
mod head;
mod hpack;
mod leg;
mod pace;
mod relay;
mod settings;
mod streams;

pub use frames::{Code, Frames, Piece};
pub use hpack::{Broken, Decoder, Encoder, Field};
pub(super) use leg::Spare;
use relay::Relay;
use streams::Stream;

/// What the streams of a connection share, and changes of policy know.
#[derive(Debug)]
struct Line {
    exchange: Exchange,
    worker: Rc<Worker>,
    /// Something that is under way is not allowed any more.
    changed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Changed for Line {
    fn policy_changed(&self, due: Due) {
        if self.exchange.policy_changed(due == Due::Tunnels) > 0 {
            self.changed.set(true);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Line {
    /// Wakes whoever asks when something changed.
    fn follow(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn has_changed(&self) -> bool {
        self.changed.take()
    }

    /// A request that was allowed has ended before its end.
    fn record(&self, stream: &mut Stream, rejection: &Rejection) {
        if let Some(flow) = stream.flow.take() {
            // Its client is told by a reset.
            let _none = self.exchange.refuse(rejection, false, *flow);
        } else if matches!(rejection, Rejection::Ended) {
            count(&self.worker.counters.requests_ended);
        }
    }
}

/// Serves streams until the client, the upstream or the process ends.
pub(super) async fn serve(mut stream: TcpStream, first: First, connection: Connection, worker: Rc<Worker>) {
    // All of it is there: it was looked at.
    if first.taken.is_empty()
        && let Err(error) = stream.read_exact(&mut [0; PREFACE.len()]).await
    {
        return tracing::debug!(%error, "connection");
    }
    let (exchange, dialer) = Exchange::new(connection, Rc::clone(&worker));
    let (changed, waker) = (Cell::new(false), RefCell::new(None));
    let line = Rc::new(Line { exchange, worker: Rc::clone(&worker), changed, waker });
    let who: Weak<dyn Changed> = Rc::<Line>::downgrade(&line);
    let _told = Changes::add(&worker, who, line.exchange.revisions());
    let mut relay = Relay::new(line, Rc::clone(&worker), dialer, stream);
    let end = {
        let mut leaving = pin!(worker.drain.leaving());
        let mut is_leaving = false;
        poll_fn(|cx| {
            if !is_leaving && leaving.as_mut().poll(cx).is_ready() {
                is_leaving = true;
                relay.go_away();
            }
            relay.poll(cx)
        })
        .await
    };
    // Boxed: the room is for a moment only.
    Box::pin(relay.finish(end)).await;
}
