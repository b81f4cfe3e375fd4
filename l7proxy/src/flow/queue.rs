//! From many threads to one writer. Denials have a queue of their own: allows cannot push them out.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{FileConfig, Record, Verdict, file::Files, json::Formatter};
use crate::metrics::{Counters, count};

/// Records of one kind that may wait.
const ROOM: usize = 65_536;
/// How long a record may wait for others.
const FLUSH: Duration = Duration::from_millis(10);
/// Records that are written in one go.
const BATCH: usize = 1024;
/// Bytes of lines that are written at once.
const PIECE: usize = 128 << 10;

/// Where records go.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// A file with rotation.
    pub file: Option<FileConfig>,
    /// Standard output.
    pub stdout: bool,
    /// Name of this node.
    pub node: String,
    /// Name of the cluster.
    pub cluster: String,
}

/// What travels on the queue of allows; `None`: there is something on the other queue.
type Message = Option<Box<Record>>;

/// Takes records; never waits.
#[derive(Clone, Debug)]
pub struct Sink {
    allows: SyncSender<Message>,
    denies: SyncSender<Box<Record>>,
    counters: Arc<Counters>,
}

/// Writes records, on a thread of its own.
#[derive(Debug)]
pub struct Writer {
    allows: Receiver<Message>,
    denies: Receiver<Box<Record>>,
    counters: Arc<Counters>,
    files: Files,
    formatter: Formatter,
    /// Losses that were told.
    told: u64,
}

/// Both ends. The file is opened here, so that a wrong path is told at once.
pub fn pipeline(config: Config, counters: Arc<Counters>) -> io::Result<(Sink, Writer)> {
    let (allow, allows) = sync_channel(ROOM);
    let (deny, denies) = sync_channel(ROOM);
    let files = Files::open(config.file, config.stdout)?;
    let formatter = Formatter::new(&config.cluster, &config.node)?;
    let sink = Sink { allows: allow, denies: deny, counters: Arc::clone(&counters) };
    Ok((sink, Writer { allows, denies, counters, files, formatter, told: 0 }))
}

impl Sink {
    /// Hands a record over, or counts it as lost.
    pub fn emit(&self, record: Record) {
        let is_denial = match &record {
            Record::Request(http) => !matches!(http.verdict, Verdict::Forwarded(_)),
            Record::Response(http) => matches!(http.verdict, Verdict::Dropped { .. }),
            Record::Connection(_) => false,
            Record::Drop(_) => true,
        };
        if is_denial {
            if self.denies.try_send(Box::new(record)).is_err() {
                count(&self.counters.records_lost_dropped);
            }
            // When there is no room the writer is awake anyway.
            drop(self.allows.try_send(None));
        } else if self.allows.try_send(Some(Box::new(record))).is_err() {
            count(&self.counters.records_lost_forwarded);
        }
    }

    /// Counts denials that never became records; the file says so.
    pub fn lost(&self, denials: u64) {
        if denials > 0 {
            self.counters.records_lost_dropped.fetch_add(denials, Ordering::Relaxed);
            // When there is no room the writer is awake anyway.
            drop(self.allows.try_send(None));
        }
    }
}

impl Writer {
    /// Until every sink is gone and everything is written.
    ///
    /// While records come it sleeps between looks: who hands a record to a thread that waits for it has to wake it, which
    /// costs as much as the request.
    pub fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut lines = Vec::new();
        while let Ok(first) = self.allows.recv() {
            let mut message = Some(first);
            while let Some(first) = message {
                thread::sleep(FLUSH);
                batch.extend(first);
                message = self.gather(&mut batch, &mut lines);
            }
        }
        self.flush(&mut batch, &mut lines);
    }

    /// Writes all that is there; gives what came meanwhile.
    #[expect(clippy::vec_box, reason = "the boxes come from the queue as they are")]
    fn gather(&mut self, batch: &mut Vec<Box<Record>>, lines: &mut Vec<u8>) -> Option<Message> {
        // Bounded: others go on handing over.
        for _ in 0..ROOM {
            let Ok(message) = self.allows.try_recv() else { break };
            batch.extend(message);
            if batch.len() >= BATCH {
                self.flush(batch, lines);
            }
        }
        self.flush(batch, lines);
        self.allows.try_recv().ok()
    }

    /// Writes `batch`, and all denials that wait.
    #[expect(clippy::vec_box, reason = "the boxes come from the queue as they are")]
    fn flush(&mut self, batch: &mut Vec<Box<Record>>, lines: &mut Vec<u8>) {
        batch.extend(self.denies.try_iter());
        // Two queues have no order; readers expect that of time.
        batch.sort_by_key(|record| record.time());
        for record in batch.drain(..) {
            self.formatter.record(&record, lines);
            if lines.len() >= PIECE {
                self.write(lines);
            }
        }
        let lost = self.counters.records_lost_dropped.load(Ordering::Relaxed)
            + self.counters.records_lost_forwarded.load(Ordering::Relaxed);
        if lost > self.told {
            self.formatter.lost(lost - self.told, lines);
            self.told = lost;
        }
        self.write(lines);
    }

    fn write(&mut self, lines: &mut Vec<u8>) {
        for error in self.files.write(lines) {
            count(&self.counters.records_write_errors);
            tracing::error!(%error, "records were not written");
        }
        lines.clear();
    }
}
