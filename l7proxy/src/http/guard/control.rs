//! What the pipeline, the upstream and the guard of one connection tell each other.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio_util::sync::CancellationToken;

use crate::reject::{ClientFailure, Rejection};

/// Bytes of interim answers that wait for a client that does not read: then the upstream is not read either.
const MAX_INTERIM: usize = 64 << 10;

/// Shared by everything that serves one connection.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    refused: Option<Refused>,
    failure: Option<ClientFailure>,
    reset: bool,
    switch: Switch,
    /// Answers that are over.
    answered: u64,
    /// A part of an answer is still to come: to end now would make it look whole.
    answering: bool,
    /// The guard's, while it waits for something of the above.
    reader: Option<Waker>,
    /// A client waits for leave to send its body.
    leave: Option<Leave>,
    /// Interim answers that were not written yet.
    interim: Vec<u8>,
    /// The final answer is on its way: nothing interim may follow.
    is_final: bool,
    /// The guard's, to be told of interim answers.
    writer: Option<Waker>,
    request: InFlight,
    /// After this many requests the client stopped sending.
    finished: Option<u64>,
    /// The upstream's, to be told of that, and that there is room for interim answers.
    upstream: Option<Waker>,
}

/// Whether the protocol is switched.
#[derive(Clone, Copy, Debug, Default)]
enum Switch {
    #[default]
    No,
    /// The guard, which waits for this, was not told yet.
    Decided(bool),
    /// What follows is no HTTP.
    Done,
}

/// How far the newest request is on its way to the upstream.
#[derive(Debug, Default)]
struct InFlight {
    index: u64,
    /// The HTTP library has all of it.
    sent: bool,
    /// Something was written since it began.
    written: bool,
    /// Not all of it is out: to end now would cut it off.
    going: bool,
}

/// Leave to send a body (`Expect: 100-continue`).
#[derive(Clone, Debug)]
pub(super) struct Leave {
    index: u64,
    given: CancellationToken,
}

impl Leave {
    /// Whether the request is the newest of `requests`.
    pub(super) fn is_of_newest(&self, requests: u64) -> bool {
        self.index + 1 == requests
    }

    pub(super) fn give(&self) {
        self.given.cancel();
    }
}

/// A request that is refused before anybody asks the rules.
#[derive(Debug)]
pub struct Refused {
    index: u64,
    /// Why.
    pub rejection: Rejection,
    /// How it began, for the record, if something else took its place.
    pub bytes: Option<Vec<u8>>,
}

impl Refused {
    /// A request that is there as it was sent.
    #[must_use]
    pub fn whole(rejection: Rejection) -> Self {
        Self { index: 0, rejection, bytes: None }
    }
}

impl Control {
    /// Request number `index` (from 0) begins; gives the refusal if it is the one that was replaced.
    #[must_use]
    pub fn begin(&self, index: u64) -> Option<Refused> {
        let mut shared = self.lock();
        shared.is_final = false;
        shared.request = InFlight { index, ..InFlight::default() };
        shared.refused.take_if(|refused| refused.index == index)
    }

    /// Whether the client failed in the middle of a body, and how.
    #[must_use]
    pub fn client_failure(&self) -> Option<ClientFailure> {
        self.lock().failure
    }

    /// Whether the client stopped sending.
    #[must_use]
    pub fn is_client_finished(&self) -> bool {
        self.lock().finished.is_some()
    }

    /// The request goes to the upstream.
    pub(in crate::http) fn going(&self) {
        self.lock().request.going = true;
    }

    /// The HTTP library has all of the request.
    pub(in crate::http) fn sent(&self) {
        self.lock().request.sent = true;
    }

    /// The HTTP library wants no more of the request, whether it has all of it or not.
    pub(in crate::http) fn let_go(&self) {
        let mut shared = self.lock();
        if !shared.request.sent {
            shared.gone();
        }
    }

    /// Everything that was written to the upstream is out.
    pub fn flushed(&self) {
        let mut shared = self.lock();
        if shared.request.sent && shared.request.written {
            shared.gone();
        }
    }

    /// Nothing more goes to the upstream.
    pub fn upstream_over(&self) {
        self.lock().gone();
    }

    /// Something was written to the upstream.
    pub fn written(&self) {
        self.lock().request.written = true;
    }

    /// To be asked when everything is written: ready when nothing more will be, because the client stopped sending and
    /// its last request is out, and waits for its answer. (When it is answered the whole connection ends.)
    pub fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        let mut shared = self.lock();
        let InFlight { index, sent, written, .. } = shared.request;
        let is_over = shared.answered > index;
        if sent && written && !is_over && shared.finished == Some(index + 1) {
            return Poll::Ready(());
        }
        shared.wait_upstream(cx)
    }

    /// Ready when there is room for interim answers.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut shared = self.lock();
        if shared.interim.len() < MAX_INTERIM { Poll::Ready(()) } else { shared.wait_upstream(cx) }
    }

    /// The client's body ended before its end.
    pub fn client_left(&self) {
        self.lock().failure.get_or_insert(ClientFailure::Left);
    }

    /// Both connections shall end with a reset: what is under way is not allowed any more.
    pub(in crate::http) fn revoke(&self) {
        let mut shared = self.lock();
        shared.failure.get_or_insert(ClientFailure::Left);
        shared.reset = true;
    }

    /// Whether one of `requests`, or a tunnel, is under way.
    pub(in crate::http) fn is_busy(&self, requests: u64) -> bool {
        let shared = self.lock();
        shared.answered < requests || matches!(shared.switch, Switch::Decided(true) | Switch::Done)
    }

    /// The connection shall end with a reset.
    pub fn reset(&self) {
        self.lock().reset = true;
    }

    /// Answers what the guard waits for after a request that asks to switch protocols.
    pub fn switched(&self, switched: bool) {
        let mut shared = self.lock();
        shared.switch = Switch::Decided(switched);
        shared.wake_reader();
    }

    /// Whether the protocol was switched.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        matches!(self.lock().switch, Switch::Decided(true) | Switch::Done)
    }

    /// The client of request number `index` waits; `given` is cancelled at the latest when bytes of its body arrive.
    pub fn expect_body(&self, index: u64, given: CancellationToken) {
        self.lock().leave = Some(Leave { index, given });
    }

    /// An interim answer, to be written before the final one.
    pub fn interim(&self, bytes: &[u8]) {
        let mut shared = self.lock();
        shared.interim.extend_from_slice(bytes);
        if let Some(waker) = shared.writer.take() {
            waker.wake();
        }
    }

    /// The final answer is on its way.
    pub fn final_answer(&self) {
        let mut shared = self.lock();
        shared.is_final = true;
        shared.leave = None;
    }

    /// Whether a part of the answer is still to come.
    pub(in crate::http) fn set_answering(&self, answering: bool) {
        self.lock().answering = answering;
    }

    /// An answer is over: it was written, or never will be.
    pub(in crate::http) fn answered(&self) {
        let mut shared = self.lock();
        shared.answered += 1;
        shared.wake_reader();
    }

    pub(super) fn refuse(&self, index: u64, rejection: Rejection, bytes: Vec<u8>) {
        self.lock().refused = Some(Refused { index, rejection, bytes: Some(bytes) });
    }

    pub(super) fn finished(&self, requests: u64) {
        let mut shared = self.lock();
        shared.finished = Some(requests);
        shared.wake_upstream();
    }

    pub(super) fn broken(&self) {
        let mut shared = self.lock();
        shared.failure = Some(ClientFailure::Framing);
        shared.reset = true;
    }

    /// Whether closing now must not look orderly.
    pub(super) fn must_reset(&self) -> bool {
        let shared = self.lock();
        shared.reset || shared.answering
    }

    /// Ready when it is known whether the protocol was switched.
    pub(super) fn poll_switched(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut shared = self.lock();
        let Switch::Decided(switched) = shared.switch else { return shared.wait_reader(cx) };
        shared.switch = if switched { Switch::Done } else { Switch::No };
        Poll::Ready(switched)
    }

    /// Ready when `requests` answers are over, and the last request is at the upstream whole.
    pub(super) fn poll_answered(&self, requests: u64, cx: &Context<'_>) -> Poll<()> {
        let mut shared = self.lock();
        if shared.answered >= requests && !shared.request.going { Poll::Ready(()) } else { shared.wait_reader(cx) }
    }

    /// Who waits for leave to send, and what was told in the meantime, if there is `room` for it; `cx` is woken when there
    /// is more.
    pub(super) fn flushing(&self, cx: &Context<'_>, room: bool) -> Flushing {
        let mut shared = self.lock();
        if shared.writer.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            shared.writer = Some(cx.waker().clone());
        }
        if shared.is_final {
            shared.interim.clear();
        }
        let interim = if room { shared.take_interim() } else { Vec::new() };
        Flushing { leave: shared.leave.clone(), interim }
    }

    /// Interim answers that must come before what is written next.
    pub(super) fn take_interim(&self) -> Vec<u8> {
        self.lock().take_interim()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a flush has to do besides.
pub(super) struct Flushing {
    pub(super) leave: Option<Leave>,
    pub(super) interim: Vec<u8>,
}

impl Shared {
    fn wait_reader<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wait_upstream(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.upstream.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            self.upstream = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake_upstream(&mut self) {
        if let Some(waker) = self.upstream.take() {
            waker.wake();
        }
    }

    fn take_interim(&mut self) -> Vec<u8> {
        if self.interim.len() >= MAX_INTERIM {
            self.wake_upstream();
        }
        std::mem::take(&mut self.interim)
    }

    fn gone(&mut self) {
        self.request.going = false;
        self.wake_reader();
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}
