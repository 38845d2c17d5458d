//! The thread that writes the access log.
//!
//! Workers never wait for it: what does not fit into its queue is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use umay_core::model;

use super::AccessLog;
use crate::telemetry::metrics::SharedCounter;

/// Batches that may wait to be written, 4 MiB or so: a tenth of a second at full speed.
const QUEUE: usize = 256;
/// Empty buffers that are kept.
const SPARES: usize = 64;
/// A buffer that has grown beyond this many bytes is given back.
const KEEP: usize = 64 * 1024;

/// The writer of the access log, for the whole process.
#[derive(Debug)]
pub struct AccessWriter {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Message {
    /// Whole lines, and how many.
    Lines(Vec<u8>, u64),
    /// Open the file anew.
    Reopen,
    /// Write what came before and end.
    Stop,
}

/// What workers and writer share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    spares: Mutex<Vec<Vec<u8>>>,
    pub(super) dropped: SharedCounter,
}

impl Shared {
    /// An empty buffer. Tries for the lock only, as it is a worker that asks.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let spare = self
            .spares
            .try_lock()
            .ok()
            .and_then(|mut spares| spares.pop());
        spare.unwrap_or_else(|| Vec::with_capacity(super::BATCH + super::BATCH / 4))
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() > KEEP {
            return;
        }
        buffer.clear();
        if let Ok(mut spares) = self.spares.try_lock()
            && spares.len() < SPARES
        {
            spares.push(buffer);
        }
    }
}

impl AccessWriter {
    /// Opens the log and starts its thread; `None` if the log is off. Lines that are lost are added to
    /// `dropped`. A file is made if need be (mode 0640: it holds personal data) and appended to.
    pub fn start(target: &model::AccessLog, dropped: SharedCounter) -> io::Result<Option<Self>> {
        let sink = match target {
            model::AccessLog::Off => return Ok(None),
            model::AccessLog::Stdout => Sink::new(Box::new(io::stdout()), None),
            model::AccessLog::File(path) => Sink::new(Box::new(open(path)?), Some(path.clone())),
        };
        Self::spawn(sink, dropped).map(Some)
    }

    pub(super) fn spawn(sink: Sink, dropped: SharedCounter) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let (alive, ended) = sync_channel(0);
        let shared = Arc::new(Shared {
            dropped,
            ..Shared::default()
        });
        let own = Arc::clone(&shared);
        thread::Builder::new()
            .name("umay-access-log".to_owned())
            .spawn(move || {
                write_all(sink, &messages, &own);
                drop(alive);
            })?;
        Ok(Self {
            queue,
            shared,
            ended,
        })
    }

    /// A worker's end of the log.
    pub fn handle(&self) -> AccessLog {
        AccessLog::new(self.queue.clone(), Arc::clone(&self.shared))
    }

    /// Opens the file anew once all that was logged before is written, after it was renamed by a
    /// rotation. Does nothing for standard output. False if the writer is too far behind to be told.
    pub fn reopen(&self) -> bool {
        self.queue.try_send(Message::Reopen).is_ok()
    }

    /// Writes what the workers have handed over, and ends the thread. Returns false if that takes
    /// longer than `patience`: whoever reads our output does not read it. To be called when the
    /// workers' handles are dropped, for a handle hands over its last lines then.
    pub fn stop(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Stop) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.ended.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }
}

/// The thread's life.
fn write_all(mut sink: Sink, messages: &Receiver<Message>, shared: &Shared) {
    for message in messages {
        match message {
            Message::Lines(lines, count) => {
                if !sink.write(&lines) {
                    shared.dropped.add(count);
                }
                shared.recycle(lines);
            }
            Message::Reopen => sink.reopen(),
            Message::Stop => return,
        }
    }
}

/// Where the lines end up.
pub(super) struct Sink {
    out: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

impl Sink {
    pub(super) fn new(out: Box<dyn Write + Send>, path: Option<PathBuf>) -> Self {
        Self {
            out,
            path,
            torn: false,
        }
    }

    /// Writes whole lines. Says once when writing begins to fail and once when it works again.
    fn write(&mut self, lines: &[u8]) -> bool {
        match self.try_write(lines) {
            Ok(()) => {
                if self.torn {
                    tracing::info!("the access log can be written again");
                }
                self.torn = false;
                true
            }
            Err(error) => {
                if !self.torn {
                    tracing::error!(%error, "the access log cannot be written; its lines are dropped");
                }
                self.torn = true;
                false
            }
        }
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            // The next line must not continue the one that was torn.
            self.out.write_all(b"\n")?;
        }
        self.out.write_all(lines)?;
        self.out.flush()
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else {
            return;
        };
        match open(path) {
            Ok(file) => {
                self.out = Box::new(file);
                self.torn = false;
            }
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "the access log cannot be opened anew; the old file stays in use");
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}
