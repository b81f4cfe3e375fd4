//! `GetFlows`: records as they are asked for.
//!
//! Owns what becomes of a request until its stream ends. Records go out encoded, many in a piece; while a piece waits for its
//! reader nothing is read for it. Must never keep the thread: between two pieces, and after a millisecond, others have their
//! turn. Start at [`answer`].

use std::{
    mem,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::Response;
use hubble_api::observer::GetFlowsRequest;
use tokio::{sync::mpsc, task, time};
use tonic::{Status, body::Body};

use super::{
    call::{self, Piece},
    ended,
    lost::Losses,
    observer::Observer,
    window::{Begin, Window},
};
use crate::flow::{Encoder, Filters, Flow, Item, LostRecord, Mask, Reader, Record, Start};

/// Bytes that go out at once: four frames of HTTP/2, which are full (RFC 9113 section 4.2). Each write wakes the reader, which
/// costs as much as some records; a frame of what is left would be one more.
const PIECE: usize = 4 * (16 << 10);
/// The last record goes over it.
const ROOM: usize = PIECE + PIECE / 8;
/// How long a stream may look through records before others have their turn.
const TURN: Duration = Duration::from_millis(1);
/// What comes so soon after the last record waits for more: to wake whoever follows costs as much as many records.
const PAUSE: Duration = Duration::from_millis(200);
/// Records between two looks at the clock.
const BETWEEN_LOOKS: u32 = 16;

/// Begins to answer, or says what is wrong with the request.
pub(super) fn answer(observer: &Arc<Observer>, request: GetFlowsRequest) -> Result<Response<Body>, Status> {
    let window =
        Window::new((request.number, request.first, request.follow), (request.since.as_ref(), request.until.as_ref()))?;
    // The command shows the bare text of this code only.
    let filters =
        Filters::new(&request.whitelist, &request.blacklist, &observer.sources.node).map_err(Status::unknown)?;
    let paths = request.field_mask.map(|mask| mask.paths).filter(|paths| !paths.is_empty());
    let mask = paths.map(|paths| Mask::new(&paths)).transpose().map_err(Status::unknown)?;
    let rings = &observer.sources.rings;
    let newest = *rings.changed().borrow();
    // What comes from now on: also what comes before anybody is asked to read.
    let now = (window.begin == Begin::Now).then(|| rings.reader(Start::Now));
    let stream = Stream {
        observer: Arc::clone(observer),
        newest,
        now,
        last: (!window.follow).then_some(newest),
        left: window.limit.unwrap_or(u64::MAX),
        window,
        filters: Arc::new(filters),
        encoder: Encoder::new(&observer.sources.node, mask),
        losses: Losses::default(),
        out: Vec::new(),
    };
    let (sender, receiver) = mpsc::channel(1);
    task::spawn(async move {
        if let Err(status) = stream.run(&sender).await {
            drop(sender.send(Piece::End(status)).await);
        }
    });
    Ok(call::answer(receiver))
}

/// One request, while it is answered.
struct Stream {
    observer: Arc<Observer>,
    window: Window,
    /// The newest record at the time of the call.
    newest: u64,
    /// From there on.
    now: Option<Reader>,
    /// What comes behind this one came after the request; `None`: it is asked for too.
    last: Option<u64>,
    /// Records that may follow.
    left: u64,
    filters: Arc<Filters>,
    encoder: Encoder,
    losses: Losses,
    /// The next piece.
    out: Vec<u8>,
}

/// Whoever asked is gone.
struct Gone;

impl Stream {
    async fn run(mut self, to: &mpsc::Sender<Piece>) -> Result<(), Status> {
        let Some(mut reader) = self.reader(to).await? else { return Ok(()) };
        let mut changed = self.observer.sources.rings.changed();
        let stop = self.observer.stop.clone();
        loop {
            // Before all is read: what comes meanwhile is read in the next round.
            let is_ending = stop.is_cancelled();
            changed.borrow_and_update();
            match self.read_all(&mut reader, to).await {
                Err(Gone) => return Ok(()),
                Ok(ControlFlow::Break(())) => break,
                Ok(ControlFlow::Continue(())) if !self.window.follow => break,
                Ok(ControlFlow::Continue(())) if is_ending => {
                    self.finish(to).await;
                    return Err(ended());
                }
                Ok(ControlFlow::Continue(())) => {}
            }
            tokio::select! {
                () = to.closed() => return Ok(()),
                () = stop.cancelled() => {}
                () = time::sleep(PAUSE) => {}
            }
            let due = self.losses.next().map(time::Instant::from_std);
            tokio::select! {
                () = to.closed() => return Ok(()),
                changed = changed.changed() => if changed.is_err() { return Err(ended()) },
                () = stop.cancelled() => {}
                () = time::sleep_until(due.unwrap_or_else(time::Instant::now)), if due.is_some() => {}
            }
        }
        self.finish(to).await;
        Ok(())
    }

    /// Where it begins; `None`: whoever asked is gone.
    async fn reader(&mut self, to: &mpsc::Sender<Piece>) -> Result<Option<Reader>, Status> {
        if let Some(reader) = self.now.take() {
            return Ok(Some(reader));
        }
        let rings = &self.observer.sources.rings;
        let start = match self.window.begin {
            Begin::Oldest => Start::Oldest,
            Begin::Now => Start::Now,
            Begin::Since(time) => Start::Since(time),
            Begin::Last(number) => return self.search(number, to).await,
        };
        Ok(Some(rings.reader(start)))
    }

    /// Looks for the last `number` wanted records. On another thread, because it can be long.
    async fn search(&self, number: u64, to: &mpsc::Sender<Piece>) -> Result<Option<Reader>, Status> {
        let rings = Arc::clone(&self.observer.sources.rings);
        let (filters, window, newest) = (Arc::clone(&self.filters), self.window.clone(), self.newest);
        let is_given_up = Arc::new(AtomicBool::new(false));
        let given_up = Arc::clone(&is_given_up);
        let search = task::spawn_blocking(move || {
            rings.latest(number, newest, &|flow| {
                let is_asked_for =
                    || !matches!(flow.record, Record::Lost(_)) && !window.is_after(flow.time) && filters.matches(flow);
                // With everything wanted it ends soon.
                given_up.load(Ordering::Relaxed) || is_asked_for()
            })
        });
        tokio::select! {
            reader = search => match reader {
                Ok(reader) => Ok(Some(reader)),
                Err(error) => Err(Status::internal(error.to_string())),
            },
            () = to.closed() => {
                is_given_up.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    /// All that there is now. Breaks when nothing more is asked for.
    async fn read_all(&mut self, reader: &mut Reader, to: &mpsc::Sender<Piece>) -> Result<ControlFlow<()>, Gone> {
        loop {
            let turn = self.turn(reader);
            if let Some(lost) = self.losses.take(Instant::now()) {
                self.write_lost(&lost);
            }
            self.send(matches!(turn, Turn::Full), to).await?;
            match turn {
                Turn::Over => return Ok(ControlFlow::Break(())),
                Turn::AllRead => return Ok(ControlFlow::Continue(())),
                Turn::Full | Turn::More if to.is_closed() => return Err(Gone),
                Turn::Full | Turn::More => task::yield_now().await,
            }
        }
    }

    fn turn(&mut self, reader: &mut Reader) -> Turn {
        let began = Instant::now();
        let mut read = 0_u32;
        while self.out.len() < PIECE {
            let Some(item) = reader.next() else { return Turn::AllRead };
            if self.take(item).is_break() {
                return Turn::Over;
            }
            read += 1;
            if read.is_multiple_of(BETWEEN_LOOKS) && began.elapsed() >= TURN {
                return Turn::More;
            }
        }
        Turn::Full
    }

    fn take(&mut self, item: Item) -> ControlFlow<()> {
        let flow = match item {
            Item::Flow(flow) => flow,
            Item::Lost(lost) => {
                self.observer.counters.hubble_flows_lost.fetch_add(lost.count, Ordering::Relaxed);
                self.losses.add(lost);
                return ControlFlow::Continue(());
            }
        };
        if self.last.is_some_and(|last| flow.number > last) || self.window.is_after(flow.time) {
            return ControlFlow::Break(());
        }
        if self.window.is_before(flow.time) {
            return ControlFlow::Continue(());
        }
        if let Record::Lost(lost) = &flow.record {
            // Whatever is asked for: what is missing could be it.
            self.losses.add(**lost);
            return ControlFlow::Continue(());
        }
        if !self.filters.matches(&flow) {
            return ControlFlow::Continue(());
        }
        self.write(&flow);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Appends a record to the piece.
    fn write(&mut self, flow: &Flow) {
        if self.out.is_empty() {
            self.out.reserve(ROOM);
        }
        call::frame(&mut self.out, |out| self.encoder.answer(flow, out));
    }

    fn write_lost(&mut self, lost: &LostRecord) {
        call::frame(&mut self.out, |out| self.encoder.answer_lost(lost, out));
    }

    /// Hands over what there is, when what was before was taken; or `whole` pieces of it, and the rest begins the next one.
    async fn send(&mut self, whole: bool, to: &mpsc::Sender<Piece>) -> Result<(), Gone> {
        while self.out.len() >= if whole { PIECE } else { 1 } {
            let mut piece = mem::take(&mut self.out);
            if let Some(rest) = piece.get(PIECE..).filter(|rest| !rest.is_empty()) {
                self.out.reserve(ROOM);
                self.out.extend_from_slice(rest);
            }
            piece.truncate(PIECE);
            to.send(Piece::Messages(piece.into())).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// What is missing is told, however soon after the last time.
    async fn finish(&mut self, to: &mpsc::Sender<Piece>) {
        for lost in self.losses.take_all() {
            self.write_lost(&lost);
        }
        // Whoever is gone needs no more.
        drop(self.send(false, to).await);
    }
}

/// How a turn ended.
enum Turn {
    /// There is more, and a piece of it is full.
    Full,
    /// There is more, and others have waited long enough.
    More,
    /// All that there is was read.
    AllRead,
    /// Nothing more is asked for.
    Over,
}
