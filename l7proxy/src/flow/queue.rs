//! From many threads to one writer. Denials have a queue of their own: allows cannot push them out.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use super::{FileConfig, Record, Verdict, file::Files, json::Formatter};
use crate::metrics::{Counters, count};

/// Records of one kind that may wait.
const ROOM: usize = 65_536;
/// How long records may wait in the writer's buffer.
const FLUSH: Duration = Duration::from_millis(20);
/// Bytes after which the writer's buffer is written.
const BUFFER: usize = 256 << 10;

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
            Record::Response(_) => false,
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
}

impl Writer {
    /// Until every sink is gone and everything is written.
    pub fn run(mut self) {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            let message = if buffer.is_empty() {
                self.allows.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.allows.recv_timeout(FLUSH)
            };
            while let Ok(record) = self.denies.try_recv() {
                self.formatter.record(&record, &mut buffer);
            }
            match message {
                Ok(Some(record)) => self.formatter.record(&record, &mut buffer),
                Ok(None) => {}
                Err(RecvTimeoutError::Timeout) => self.flush(&mut buffer),
                Err(RecvTimeoutError::Disconnected) => return self.flush(&mut buffer),
            }
            if buffer.len() >= BUFFER {
                self.flush(&mut buffer);
            }
        }
    }

    fn flush(&mut self, buffer: &mut Vec<u8>) {
        let lost = self.counters.records_lost_dropped.load(Ordering::Relaxed)
            + self.counters.records_lost_forwarded.load(Ordering::Relaxed);
        if lost > self.told {
            self.formatter.lost(lost - self.told, buffer);
            self.told = lost;
        }
        for error in self.files.write(buffer) {
            count(&self.counters.records_write_errors);
            tracing::error!(%error, "records were not written");
        }
        buffer.clear();
    }
}
