//! The thread that writes the access log.
//!
//! Workers never wait for it: what does not fit into its queue is dropped and counted.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use umay_core::model::{self, Log, LogFormat, Privacy};

use super::sink::Sink;
use super::syslog::SyslogTls;
use super::{AccessLog, Form};
use crate::telemetry::metrics::SharedCounter;

/// Bytes of memory that lines may take while they wait to be written: a tenth of a second at full speed.
pub(super) const WAITING: usize = 4 * 1024 * 1024;
/// Batches that may wait: few lines come in each when there is little to do.
pub(super) const QUEUE: usize = 1024;
/// How long the thread lets whole batches gather before it looks again: little beside the time that a line waits in
/// one anyway.
const GATHER: Duration = Duration::from_millis(5);
/// Empty buffers that are kept.
const SPARES: usize = 32;
/// A buffer that has grown beyond this many bytes is given back.
const KEEP: usize = 4 * super::BATCH;

/// The writer of the access log, for the whole process.
#[derive(Debug)]
pub struct AccessWriter {
    queue: SyncSender<Message>,
    pub(super) shared: Arc<Shared>,
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
#[derive(Debug)]
pub(super) struct Shared {
    /// Bytes of memory of the lines that wait.
    pub(super) waiting: AtomicUsize,
    spares: Mutex<Vec<Vec<u8>>>,
    pub(super) dropped: SharedCounter,
    /// What lines look like.
    pub(super) form: Form,
    /// Which are kept.
    pub(super) log: Log,
    /// What they may tell.
    pub(super) privacy: Privacy,
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

    /// Hands so many lines to the writer, or drops them if too much waits.
    pub(super) fn hand_over(&self, queue: &SyncSender<Message>, lines: Vec<u8>, count: u64) {
        let size = lines.capacity();
        let before = self.waiting.fetch_add(size, Relaxed);
        let message = Message::Lines(lines, count);
        let refused = if before.saturating_add(size) > WAITING {
            message
        } else {
            match queue.try_send(message) {
                Ok(()) => return,
                Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => message,
            }
        };
        self.dropped.add(count);
        if let Message::Lines(lines, _) = refused {
            self.recycle(lines);
        }
    }

    /// Takes back a buffer that was handed over.
    fn recycle(&self, buffer: Vec<u8>) {
        self.waiting.fetch_sub(buffer.capacity(), Relaxed);
        self.keep(buffer);
    }

    /// Keeps a buffer for the next batch, if it is as large as that.
    pub(super) fn keep(&self, mut buffer: Vec<u8>) {
        if !(super::BATCH..=KEEP).contains(&buffer.capacity()) {
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
    /// `dropped`. A file is made if need be (mode 0640: it holds personal data) and appended to. `tls` is for a syslog
    /// that it is spoken to.
    pub fn start(
        log: &Log,
        privacy: &Privacy,
        tls: Option<SyslogTls>,
        dropped: SharedCounter,
    ) -> io::Result<Option<Self>> {
        let sink = match &log.access {
            model::AccessLog::Off => return Ok(None),
            model::AccessLog::Stdout => Sink::stream(Box::new(io::stdout())),
            model::AccessLog::File(path) => {
                Sink::file(path, log.rotate, privacy.retention, SystemTime::now())?
            }
            model::AccessLog::Syslog(to) => Sink::syslog(to, tls),
        };
        Self::spawn(sink, log, privacy, dropped).map(Some)
    }

    pub(super) fn spawn(
        sink: Sink,
        log: &Log,
        privacy: &Privacy,
        dropped: SharedCounter,
    ) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let (alive, ended) = sync_channel(0);
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            spares: Mutex::default(),
            dropped,
            form: form(log),
            log: log.clone(),
            privacy: privacy.clone(),
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

/// What lines are to look like.
fn form(log: &Log) -> Form {
    let on_terminal = || log.access == model::AccessLog::Stdout && io::stdout().is_terminal();
    match &log.format {
        LogFormat::Text => Form::Text,
        LogFormat::Auto if on_terminal() => Form::Text,
        LogFormat::Auto | LogFormat::Json => Form::Json,
        LogFormat::Custom(template) => Form::Custom(Arc::new(template.clone())),
    }
}

/// The thread's life.
fn write_all(mut sink: Sink, messages: &Receiver<Message>, shared: &Shared) {
    let mut busy = false;
    loop {
        // A worker that finds the thread waiting has to wake it, and shares the core with it then.
        if busy {
            thread::sleep(GATHER);
        }
        busy = false;
        let mut next = match sink.look_after(SystemTime::now()) {
            Some(wait) => messages.recv_timeout(wait),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        loop {
            match next {
                Ok(Message::Lines(lines, count)) => {
                    busy |= lines.len() >= super::BATCH;
                    shared.dropped.add(sink.write(&lines, count));
                    shared.recycle(lines);
                }
                Ok(Message::Reopen) => sink.reopen(SystemTime::now()),
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            // An end is told by the outer loop as well.
            next = messages.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }
}
