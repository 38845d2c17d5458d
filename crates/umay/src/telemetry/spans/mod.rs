//! Spans: what is told of requests to a collector of traces.
//!
//! A worker writes each span that is recorded into a batch of its own, as the collector will read it,
//! and hands full batches to whoever sends them. It never waits: what does not fit into the queue is
//! dropped and counted.

mod span;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc::UnboundedSender;
use umay_core::message::Fields;
use umay_core::model::Tracing;
use umay_core::trace::{Received, Sampler, Trace};

use super::metrics::TraceMetrics;

pub use span::{Asked, AttemptSpan, RequestSpan, StreamSpan};

/// Bytes after which a batch is handed over, unless the queue is small. To hand one over wakes who sends it, which
/// costs more than to write twenty spans.
const BATCH: usize = 128 * 1024;

/// Whole spans, each as a field of `ScopeSpans`.
#[derive(Debug)]
pub struct Spans {
    /// The spans.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub count: u64,
}

/// The way to whoever sends spans, as all workers share it.
#[derive(Debug)]
pub struct Outlet {
    queue: UnboundedSender<Spans>,
    /// Bytes that wait.
    waiting: AtomicUsize,
    most: usize,
    /// What becomes of spans.
    pub metrics: Arc<TraceMetrics>,
}

impl Outlet {
    /// A way of which so many bytes may wait to be sent.
    pub fn new(
        queue: UnboundedSender<Spans>,
        most: usize,
        metrics: Arc<TraceMetrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue,
            waiting: AtomicUsize::new(0),
            most,
            metrics,
        })
    }

    /// Bytes after which a batch is handed over: a few have to fit into the queue.
    fn batch(&self) -> usize {
        BATCH.min(self.most / 4)
    }

    /// So many bytes do not wait any more.
    pub fn release(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Relaxed);
    }

    fn take(&self, spans: Spans) {
        let (length, count) = (spans.bytes.len(), spans.count);
        let before = self.waiting.fetch_add(length, Relaxed);
        if before.saturating_add(length) > self.most || self.queue.send(spans).is_err() {
            self.release(length);
            self.metrics.dropped.queue_full.add(count);
        }
    }
}

/// A worker's end. Never waits; not to be shared between threads.
#[derive(Debug, Default)]
pub struct Tracer(RefCell<Option<Active>>);

#[derive(Debug)]
struct Active {
    sampler: Sampler,
    streams: bool,
    batch: Vec<u8>,
    count: u64,
    outlet: Arc<Outlet>,
}

impl Tracer {
    /// Records what this configuration says, and hands it over there.
    pub fn new(tracing: &Tracing, outlet: Arc<Outlet>) -> Self {
        Self(RefCell::new(Some(Active {
            sampler: tracing.sampler,
            streams: tracing.streams,
            batch: Vec::new(),
            count: 0,
            outlet,
        })))
    }

    /// Traces as this other one does from now on. What has been gathered goes to where it was meant for.
    pub fn replace(&self, other: Self) {
        self.0.replace(other.0.into_inner());
    }

    /// A request's part in a trace, by the fields that came with it; `None` if nothing is traced. `trusted`
    /// says that its sender's word counts, `random` gives 64 fresh random bits.
    #[inline]
    pub fn begin(&self, fields: &Fields, trusted: bool, random: impl Fn() -> u64) -> Option<Trace> {
        let active = self.0.borrow();
        let active = active.as_ref()?;
        Some(decide(&active.sampler, fields, trusted, random))
    }

    /// The same for a raw stream, if those are traced.
    pub fn begin_stream(&self, random: impl Fn() -> u64) -> Option<Trace> {
        let active = self.0.borrow();
        let active = active.as_ref().filter(|active| active.streams)?;
        let trace = decide(&active.sampler, &Fields::default(), false, random);
        trace.sampled.then_some(trace)
    }

    /// Records a request.
    pub fn request(&self, span: &RequestSpan<'_>) {
        self.record(|out| span.write(out));
    }

    /// Records an attempt.
    pub fn attempt(&self, request: &RequestSpan<'_>, span: &AttemptSpan<'_>) {
        self.record(|out| span.write(request, out));
    }

    /// Records a raw stream.
    pub fn stream(&self, span: &StreamSpan<'_>) {
        self.record(|out| span.write(out));
    }

    fn record(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(active) = &mut *self.0.borrow_mut() {
            write(&mut active.batch);
            active.count += 1;
            if active.batch.len() >= active.outlet.batch() {
                active.hand_over();
            }
        }
    }

    /// Hands over what has been gathered. To be called about once a second.
    pub fn flush(&self) {
        if let Some(active) = &mut *self.0.borrow_mut() {
            active.hand_over();
        }
    }
}

#[inline(never)]
fn decide(sampler: &Sampler, fields: &Fields, trusted: bool, random: impl Fn() -> u64) -> Trace {
    let received = Received::of(fields, &sampler.propagators);
    let random = [random(), random(), random(), random()];
    sampler.decide(&received, trusted, random)
}

impl Active {
    fn hand_over(&mut self) {
        if self.count > 0 {
            // The next one will be about as large.
            let next = Vec::with_capacity(self.batch.len());
            let bytes = std::mem::replace(&mut self.batch, next);
            let count = std::mem::take(&mut self.count);
            self.outlet.take(Spans { bytes, count });
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.hand_over();
    }
}
