//! The thread that brings spans to their collector.
//!
//! What workers have handed over is gathered for a while, sent in one message, and sent again for a
//! while if that may help (OTLP, "Failures"); what comes meanwhile waits in the queue, which is bounded.
//! Whatever the collector does, no request is the slower for it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;
use umay_core::model::Tracing;

use super::answer::Accepted;
use super::client::{Client, Signal};
use super::delivery::Delivery;
use super::resource::{frame, resource};
use super::thread::Thread;
use crate::telemetry::metrics::{SharedCounter, TraceMetrics};
use crate::telemetry::spans::{Outlet, Spans, Tracer};
use crate::tls::ClientTls;

/// Bytes after which a message is sent without waiting for more: collectors take 4 MiB by default.
const FULL: usize = 512 * 1024;
/// How long a message is tried for before its spans are given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What sends spans, for the whole process.
#[derive(Debug)]
pub struct Exporter {
    tracing: Tracing,
    tls: Option<ClientTls>,
    outlet: Arc<Outlet>,
    thread: Thread,
}

impl Exporter {
    /// Starts its thread. What becomes of spans is added to `metrics`.
    pub fn start(
        tracing: &Tracing,
        tls: Option<ClientTls>,
        metrics: &Arc<TraceMetrics>,
    ) -> io::Result<Self> {
        let (queue, told) = mpsc::unbounded_channel();
        let outlet = Outlet::new(queue, tracing.queue, Arc::clone(metrics));
        let client = Client::new(tracing.collector.clone(), tls.clone());
        let resource = resource(&tracing.service_name, &tracing.attributes);
        let (interval, kept) = (tracing.interval, Arc::clone(&outlet));
        let thread = Thread::start("umay-traces", move |stopped| {
            let sending = Sending {
                delivery: Delivery::new(client, Signal::Traces, stopped),
                resource,
                interval,
                told,
                outlet: kept,
                failing: false,
            };
            sending.live()
        })?;
        Ok(Self {
            tracing: tracing.clone(),
            tls,
            outlet,
            thread,
        })
    }

    /// A worker's end.
    pub fn handle(&self) -> Tracer {
        Tracer::new(&self.tracing, Arc::clone(&self.outlet))
    }

    /// True if it does what this configuration says, with the same files.
    pub fn is_for(&self, tracing: &Tracing, tls: Option<&ClientTls>) -> bool {
        same_files(self.tls.as_ref(), tls) && self.tracing == *tracing
    }

    /// Sends what the workers have handed over, as far as that takes no longer than `patience`, and ends the
    /// thread. To be called when the workers' handles are dropped, for a handle hands over its last spans then.
    pub fn stop(self, patience: Duration) -> bool {
        self.thread.stop(patience)
    }
}

/// True if both have the same files, or neither has any.
pub(super) fn same_files(own: Option<&ClientTls>, other: Option<&ClientTls>) -> bool {
    match (own, other) {
        (Some(own), Some(other)) => own.has_files_of(other),
        (None, None) => true,
        _ => false,
    }
}

/// What the thread has.
struct Sending {
    delivery: Delivery,
    resource: Vec<u8>,
    interval: Duration,
    told: mpsc::UnboundedReceiver<Spans>,
    outlet: Arc<Outlet>,
    /// The last message was not taken.
    failing: bool,
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
        while !self.delivery.is_stopped() {
            let first = tokio::select! {
                spans = self.told.recv() => spans,
                () = self.delivery.end() => break,
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
                () = self.delivery.end() => break,
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

    /// Sends a message, again and again if need be, and counts what became of it.
    async fn deliver(&mut self, load: Load) {
        let message = frame(&self.resource, load.parts.iter().map(|part| &*part.bytes));
        let given_up = Instant::now() + PATIENCE;
        let failures = &self.outlet.metrics.failures;
        match self.delivery.deliver(&message, given_up, failures).await {
            Ok(accepted) => self.taken(&accepted, load.count),
            Err(failed) => {
                let dropped = &self.outlet.metrics.dropped;
                let counter = match failed.again {
                    Some(_) => dropped.unreachable.clone(),
                    None => dropped.refused.clone(),
                };
                self.lost(&counter, load.count, &failed.to_string());
            }
        }
        self.outlet.release(load.bytes);
    }

    fn taken(&mut self, accepted: &Accepted, count: u64) {
        let rejected = accepted.rejected.min(count);
        let metrics = &self.outlet.metrics;
        metrics.exported.add(count - rejected);
        metrics.dropped.refused.add(rejected);
        let collector = self.delivery.place();
        if !accepted.message.is_empty() {
            tracing::warn!(%collector, rejected, "the collector of traces says: {}", accepted.message);
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!(%collector, "spans are exported again");
        }
    }

    /// Counts spans that are lost. Says so once, until spans are exported again.
    fn lost(&mut self, counter: &SharedCounter, count: u64, why: &str) {
        counter.add(count);
        if !std::mem::replace(&mut self.failing, true) {
            let collector = self.delivery.place();
            tracing::warn!(%collector, "spans cannot be exported and are dropped: {why}");
        }
    }
}
