//! The thread that brings spans to their collector.
//!
//! What workers have handed over is gathered for a while, sent in one message, and sent again for a
//! while if that may help (OTLP, "Failures"); what comes meanwhile waits in the queue, which is bounded.
//! Whatever the collector does, no request is the slower for it.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout_at};
use umay_core::model::Tracing;

use super::answer::{Accepted, Failed};
use super::client::{Client, Signal};
use super::resource::resource;
use crate::telemetry::metrics::{SharedCounter, TraceMetrics};
use crate::telemetry::otlp::{bytes, length_of, prefix};
use crate::telemetry::spans::{Outlet, Spans, Tracer};
use crate::tls::ClientTls;

/// Bytes after which a message is sent without waiting for more: collectors take 4 MiB by default.
const FULL: usize = 512 * 1024;
/// How long a message is tried for before its spans are given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first wait before a message is tried again, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What sends spans, for the whole process.
#[derive(Debug)]
pub struct Exporter {
    tracing: Tracing,
    tls: Option<ClientTls>,
    outlet: Arc<Outlet>,
    /// Told until when what is left may be sent.
    stop: watch::Sender<Option<Instant>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Exporter {
    /// Starts its thread. What becomes of spans is added to `metrics`.
    pub fn start(
        tracing: &Tracing,
        tls: Option<ClientTls>,
        metrics: &Arc<TraceMetrics>,
    ) -> io::Result<Self> {
        let (queue, told) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(None);
        let (alive, ended) = sync_channel(0);
        let outlet = Outlet::new(queue, tracing.queue, Arc::clone(metrics));
        let random = RandomState::new();
        let instance = u128::from(random.hash_one(0)) << 64 | u128::from(random.hash_one(1));
        let sending = Sending {
            client: Client::new(tracing.collector.clone(), tls.clone()),
            resource: resource(tracing, instance),
            interval: tracing.interval,
            told,
            stopped,
            outlet: Arc::clone(&outlet),
            failing: false,
            random,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("umay-traces".to_owned())
            .spawn(move || {
                runtime.block_on(sending.live());
                // A name that is still asked for is not waited for.
                runtime.shutdown_background();
                drop(alive);
            })?;
        Ok(Self {
            tracing: tracing.clone(),
            tls,
            outlet,
            stop,
            ended,
        })
    }

    /// A worker's end.
    pub fn handle(&self) -> Tracer {
        Tracer::new(&self.tracing, Arc::clone(&self.outlet))
    }

    /// True if it does what this configuration says, with the same files.
    pub fn is_for(&self, tracing: &Tracing, tls: Option<&ClientTls>) -> bool {
        let same = match (&self.tls, tls) {
            (Some(own), Some(other)) => own.has_files_of(other),
            (None, None) => true,
            _ => false,
        };
        same && self.tracing == *tracing
    }

    /// Sends what the workers have handed over, as far as that takes no longer than `patience`, and ends the
    /// thread. To be called when the workers' handles are dropped, for a handle hands over its last spans then.
    pub fn stop(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.stop.send_replace(Some(deadline));
        // The thread needs a moment after its deadline to say that it has ended.
        let left = patience + Duration::from_millis(50);
        self.ended.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }
}

/// What the thread has.
struct Sending {
    client: Client,
    resource: Vec<u8>,
    interval: Duration,
    told: mpsc::UnboundedReceiver<Spans>,
    stopped: watch::Receiver<Option<Instant>>,
    outlet: Arc<Outlet>,
    /// The last message was not taken.
    failing: bool,
    random: RandomState,
}

/// What goes into one message.
#[derive(Default)]
struct Load {
    parts: Vec<Spans>,
    bytes: usize,
    count: u64,
}

impl Load {
    fn add(&mut self, spans: Spans) {
        self.bytes += spans.bytes.len();
        self.count += spans.count;
        self.parts.push(spans);
    }
}

impl Sending {
    async fn live(mut self) {
        while self.stopped.borrow().is_none() {
            let first = tokio::select! {
                spans = self.told.recv() => spans,
                _ = self.stopped.changed() => break,
            };
            // Without anybody to tell anything there is nothing to wait for.
            let Some(first) = first else { break };
            let load = self.gather(first).await;
            self.deliver(load).await;
        }
        self.finish().await;
    }

    /// Waits for more, for a while.
    async fn gather(&mut self, first: Spans) -> Load {
        let mut load = Load::default();
        load.add(first);
        let enough = sleep(self.interval);
        let mut enough = std::pin::pin!(enough);
        while load.bytes < FULL {
            tokio::select! {
                spans = self.told.recv() => match spans {
                    Some(spans) => load.add(spans),
                    None => break,
                },
                () = &mut enough => break,
                _ = self.stopped.changed() => break,
            }
        }
        load
    }

    /// Sends what is left, as far as there is time for it.
    async fn finish(&mut self) {
        loop {
            let mut load = Load::default();
            while load.bytes < FULL
                && let Ok(spans) = self.told.try_recv()
            {
                load.add(spans);
            }
            if load.count == 0 {
                return;
            }
            self.deliver(load).await;
        }
    }

    /// When it has to be over, if it has to.
    fn deadline(&self) -> Option<Instant> {
        *self.stopped.borrow()
    }

    /// Sends a message, again and again if need be, and counts what became of it.
    async fn deliver(&mut self, load: Load) {
        let message = message(&self.resource, &load.parts);
        let dropped = &self.outlet.metrics.dropped;
        let (unreachable, refused) = (dropped.unreachable.clone(), dropped.refused.clone());
        let given_up = Instant::now() + PATIENCE;
        let mut wait = FIRST_WAIT;
        loop {
            let failed = match self.try_once(&message, load.count).await {
                Ok(()) => break,
                Err(failed) => failed,
            };
            self.outlet.metrics.failures.add(1);
            let Some(again) = failed.again else {
                self.lost(&refused, load.count, &failed.why);
                break;
            };
            let pause = again.max(self.jittered(wait));
            wait = (wait * 2).min(LONGEST_WAIT);
            let until = Instant::now() + pause;
            let last = self.deadline().unwrap_or(given_up).min(given_up);
            if until >= last || !self.pause(until).await {
                self.lost(&unreachable, load.count, &failed.why);
                break;
            }
        }
        self.outlet.release(load.bytes);
    }

    /// Waits; false if there is no time left for that. An end that is asked for meanwhile ends the wait.
    async fn pause(&mut self, until: Instant) -> bool {
        let was_stopped = self.deadline().is_some();
        tokio::select! {
            () = sleep_until(until.into()) => true,
            _ = self.stopped.changed(), if !was_stopped => {
                self.deadline().is_none_or(|deadline| Instant::now() < deadline)
            }
        }
    }

    /// Sends a message, for no longer than the process lives on. An end may be asked for while it is under way.
    async fn send(&mut self, message: &[u8]) -> Result<Accepted, Failed> {
        let mut stopped = self.stopped.clone();
        let mut sent = std::pin::pin!(self.client.send(Signal::Traces, message));
        if stopped.borrow_and_update().is_none() {
            tokio::select! {
                came = &mut sent => return came,
                _ = stopped.changed() => {}
            }
        }
        let deadline = *stopped.borrow();
        let deadline = deadline.unwrap_or_else(Instant::now);
        let late = |_| Err(Failed::for_now("the process ends"));
        timeout_at(deadline.into(), sent).await.unwrap_or_else(late)
    }

    async fn try_once(&mut self, message: &[u8], count: u64) -> Result<(), Failed> {
        let accepted = self.send(message).await?;
        let rejected = accepted.rejected.min(count);
        let metrics = &self.outlet.metrics;
        metrics.exported.add(count - rejected);
        metrics.dropped.refused.add(rejected);
        if !accepted.message.is_empty() {
            let collector = self.client.place();
            tracing::warn!(%collector, rejected, "the collector of traces says: {}", accepted.message);
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!(collector = %self.client.place(), "spans are exported again");
        }
        Ok(())
    }

    /// Counts spans that are lost. Says so once, until spans are exported again.
    fn lost(&mut self, counter: &SharedCounter, count: u64, why: &str) {
        counter.add(count);
        if !std::mem::replace(&mut self.failing, true) {
            let collector = self.client.place();
            tracing::warn!(%collector, "spans cannot be exported and are dropped: {why}");
        }
    }

    /// Half of a time and a random part of the other half.
    fn jittered(&self, wait: Duration) -> Duration {
        let half = wait / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(self.random.hash_one(Instant::now()) % nanos)
    }
}

/// `ExportTraceServiceRequest`: one resource, one scope, and the spans as they are.
fn message(resource: &[u8], parts: &[Spans]) -> Vec<u8> {
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"umay");
    bytes(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
    let spans: usize = parts.iter().map(|part| part.bytes.len()).sum();
    let scope_spans = length_of(1, scope.len()) + spans;
    let resource_spans = length_of(1, resource.len()) + length_of(2, scope_spans);
    let mut out = Vec::with_capacity(length_of(1, resource_spans));
    prefix(&mut out, 1, resource_spans);
    bytes(&mut out, 1, resource);
    prefix(&mut out, 2, scope_spans);
    bytes(&mut out, 1, &scope);
    for part in parts {
        out.extend_from_slice(&part.bytes);
    }
    out
}
