//! From many threads to one writer. Denials have a queue of their own: allows cannot push them out.
//!
//! Each thread that makes many records has a [`Lane`], which it shares with the writer alone. Both hold its lock for as long
//! as it takes to move a few words: one record in, or all of them out.

use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use super::{
    FileConfig, Flow, LostRecord, LostSource, Metrics, Namespaces, NodeNames, Record, Redaction, Rings, Verdict,
    export::{Export, Selection},
    file::Rotating,
    order::Order,
};
use crate::metrics::{Counters, RequestCounts, count};

/// Records of one kind that may wait: of all data workers, and of everybody else.
const ROOM: usize = 65_536;
/// How long a record may wait for others.
const FLUSH: Duration = Duration::from_millis(10);
/// Records that a list which is empty keeps room for.
const KEPT: usize = 4096;

/// Where records go.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// A file with rotation.
    pub file: Option<FileConfig>,
    /// Which records it gets.
    pub selection: Selection,
    /// All of them to standard output.
    pub stdout: bool,
    /// What this node is called.
    pub names: NodeNames,
    /// Which values of header fields are not to be seen.
    pub redaction: Redaction,
    /// Who reads them in memory.
    pub readers: Option<Readers>,
}

/// What is kept in memory of records, to be read there.
#[derive(Clone, Debug)]
pub struct Readers {
    /// Records.
    pub rings: Arc<Rings>,
    /// Their namespaces.
    pub namespaces: Arc<Namespaces>,
}

/// Takes records; never waits.
#[derive(Clone, Debug)]
pub struct Sink(Arc<Lane>);

/// The way of one thread's records.
#[derive(Debug)]
struct Lane {
    waiting: Arc<Waiting>,
    /// Records of one kind that may wait in it.
    room: usize,
    /// Rung when there is something where nothing was. Without any the writer ends.
    bell: SyncSender<()>,
    counters: Arc<Counters>,
    /// Of this thread alone.
    requests: Arc<RequestCounts>,
    all: Arc<Lanes>,
}

type Lanes = Mutex<Vec<Arc<Waiting>>>;
type Waiting = Mutex<Kinds>;

/// Records by kind, each in the order in which they were made.
#[derive(Debug, Default)]
struct Kinds {
    allows: Vec<Record>,
    denies: Vec<Record>,
    /// Nobody takes them any more.
    closed: bool,
}

/// Writes records, on a thread of its own.
#[derive(Debug)]
pub struct Writer {
    lanes: Arc<Lanes>,
    bell: Receiver<()>,
    order: Order,
    output: Output,
    readers: Option<Readers>,
    /// Losses that were told, and when.
    told: (u64, SystemTime),
    /// What was taken out of the lanes; each gets back what is empty.
    taken: Vec<Kinds>,
    /// The same in the order of time.
    sorted: Vec<Record>,
    metrics: Option<Metrics>,
}

#[derive(Debug)]
struct Output {
    file: Option<(Export, Rotating)>,
    stdout: Option<Export>,
    counters: Arc<Counters>,
}

/// Both ends. The file is opened here, so that a wrong path is told at once.
pub fn pipeline(config: Config, counters: Arc<Counters>) -> io::Result<(Sink, Writer)> {
    let (ring, bell) = sync_channel(1);
    let open = |file| io::Result::Ok((Export::new(&config.selection, &config.names)?, Rotating::open(file)?));
    let file = config.file.map(open).transpose()?;
    let all = || Export::new(&Selection::default(), &config.names);
    let stdout = config.stdout.then(all).transpose()?;
    let lanes = Arc::new(Lanes::default());
    let sink = Sink::new(ROOM, ring, Arc::clone(&counters), Arc::clone(&lanes));
    let output = Output { file, stdout, counters };
    let order = Order::new(config.redaction);
    let (told, taken, sorted) = ((0, now()), Vec::new(), Vec::new());
    let readers = config.readers;
    Ok((sink, Writer { lanes, bell, order, output, readers, told, taken, sorted, metrics: None }))
}

impl Sink {
    fn new(room: usize, bell: SyncSender<()>, counters: Arc<Counters>, all: Arc<Lanes>) -> Self {
        let waiting = Arc::<Waiting>::default();
        lock(&all).push(Arc::clone(&waiting));
        let requests = counters.requests.counts();
        Self(Arc::new(Lane { waiting, room, bell, counters, requests, all }))
    }

    /// For a thread of its own, one of so many that share the room.
    #[must_use]
    pub fn lane(&self, of: usize) -> Self {
        let Lane { bell, counters, all, .. } = &*self.0;
        Self::new(ROOM / of.max(1), bell.clone(), Arc::clone(counters), Arc::clone(all))
    }

    /// Where this thread counts its requests.
    pub(super) fn requests(&self) -> &RequestCounts {
        &self.0.requests
    }

    /// Hands a record over, or counts it as lost.
    pub fn emit(&self, record: Record) {
        let is_denial = match &record {
            Record::Request(http) => !matches!(http.verdict, Verdict::Forwarded(_)),
            Record::Response(http) => matches!(http.verdict, Verdict::Dropped { .. }),
            Record::Connection(_) | Record::Lost(_) => false,
            Record::Drop(_) => true,
        };
        let mut waiting = lock(&self.0.waiting);
        let Kinds { allows, denies, closed } = &mut *waiting;
        let was_empty = allows.is_empty() && denies.is_empty();
        let list = if is_denial { denies } else { allows };
        if list.len() < self.0.room && !*closed {
            list.push(record);
            drop(waiting);
            if was_empty {
                self.ring();
            }
            return;
        }
        drop(waiting);
        let counters = &self.0.counters;
        count(if is_denial { &counters.records_lost_dropped } else { &counters.records_lost_forwarded });
    }

    /// Counts denials that never became records; the file says so.
    pub fn lost(&self, denials: u64) {
        if denials > 0 {
            self.0.counters.records_lost_dropped.fetch_add(denials, Ordering::Relaxed);
            self.ring();
        }
    }

    fn ring(&self) {
        // When it was rung before, the writer has yet to look.
        self.0.bell.try_send(()).ok();
    }
}

impl Writer {
    /// With metrics of what it writes.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Until every sink is gone and everything is written.
    ///
    /// Between looks it sleeps: who hands a record to a thread that waits for it has to wake it, which costs as much as the
    /// request.
    pub fn run(mut self) {
        while self.bell.recv().is_ok() {
            thread::sleep(FLUSH);
            self.flush();
        }
        self.flush();
    }

    /// Writes all that waits.
    fn flush(&mut self) {
        self.take();
        let Self { order, output, readers, sorted, metrics, .. } = self;
        let mut kept = Vec::with_capacity(if readers.is_some() { sorted.len() } else { 0 });
        for record in sorted.drain(..) {
            let flow = order.flow(record);
            if let Some(metrics) = metrics {
                metrics.count(&flow.record);
            }
            output.add(&flow);
            if readers.is_some() {
                kept.push(flow);
            }
        }
        if let Some(Readers { rings, namespaces }) = readers {
            namespaces.note(&kept);
            rings.append(kept);
        }
        self.output.write();
        self.sorted.shrink_to(KEPT);
    }

    /// Everything out of the lanes, in order, and what is missing.
    fn take(&mut self) {
        let Self { lanes, taken, sorted, .. } = self;
        let lanes = lock(lanes);
        taken.resize_with(lanes.len(), Kinds::default);
        for (lane, taken) in lanes.iter().zip(&mut *taken) {
            let mut lane = lock(lane);
            mem::swap(&mut lane.allows, &mut taken.allows);
            mem::swap(&mut lane.denies, &mut taken.denies);
        }
        drop(lanes);
        for list in taken.iter_mut().flat_map(|kinds| [&mut kinds.allows, &mut kinds.denies]) {
            sorted.append(list);
            list.shrink_to(KEPT);
        }
        // Lanes and kinds have no order among them; readers expect that of time.
        sorted.sort_by_key(Record::time);
        sorted.extend(self.output.lost(&mut self.told).map(|lost| Record::Lost(Box::new(lost))));
    }
}

impl Drop for Writer {
    /// What comes after it is counted as lost.
    fn drop(&mut self) {
        for lane in lock(&self.lanes).iter() {
            lock(lane).closed = true;
        }
    }
}

impl Output {
    /// What was lost since it was told.
    fn lost(&self, (before, since): &mut (u64, SystemTime)) -> Option<LostRecord> {
        let Counters { records_lost_dropped, records_lost_forwarded, .. } = &*self.counters;
        let total = records_lost_dropped.load(Ordering::Relaxed) + records_lost_forwarded.load(Ordering::Relaxed);
        let count = total.checked_sub(*before).filter(|count| *count > 0)?;
        let (first, last) = (*since, now());
        (*before, *since) = (total, last);
        Some(LostRecord { source: LostSource::ObserverEventsQueue, count, first, last })
    }

    fn add(&mut self, flow: &Flow) {
        let exports = self.file.iter_mut().map(|(export, _)| export).chain(&mut self.stdout);
        let mut is_due = false;
        for export in exports {
            is_due |= export.add(flow);
        }
        if is_due {
            self.write();
        }
    }

    fn write(&mut self) {
        let to_file = self.file.as_mut().and_then(|(export, file)| export.write(|lines| file.append(lines)));
        let to_stdout =
            self.stdout.as_mut().and_then(|export| export.write(|lines| io::stdout().lock().write_all(lines)));
        for error in [to_file, to_stdout].into_iter().flatten().filter_map(Result::err) {
            count(&self.counters.records_write_errors);
            tracing::error!(%error, "records were not written");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "when records were lost, nobody else knows")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
