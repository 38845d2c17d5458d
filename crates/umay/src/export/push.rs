//! The thread that pushes metrics to their collector, at intervals.
//!
//! What is pushed is cumulative, so a push that is lost is made up for by the next: it is tried again only until then,
//! and nothing queues. Collecting reads the cells that workers write, as a scrape of `/metrics` does; whatever the
//! collector does, no request is the slower for it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::time::{MissedTickBehavior, interval_at};
use umay_core::model::Push;

use super::answer::{Accepted, Failed};
use super::client::{Client, Signal};
use super::delivery::Delivery;
use super::resource::{frame, resource};
use super::spans::same_files;
use super::thread::{Stopped, Thread};
use crate::telemetry::metrics::{Points, Registry, Starts};
use crate::tls::ClientTls;

/// What pushes metrics, for the whole process.
#[derive(Debug)]
pub struct Pusher {
    push: Push,
    tls: Option<ClientTls>,
    starts: Arc<Mutex<Starts>>,
    thread: Thread,
}

impl Pusher {
    /// Starts its thread. If it takes the place of another, `former`, series count since when they did there.
    pub fn start(
        push: &Push,
        tls: Option<ClientTls>,
        registry: &Arc<Registry>,
        former: Option<&Self>,
    ) -> io::Result<Self> {
        let starts = former.map(|former| Arc::clone(&former.starts));
        let starts = starts.unwrap_or_default();
        let client = Client::new(push.collector.clone(), tls.clone());
        let (kept, registry, own) = (Arc::clone(&starts), Arc::clone(registry), push.clone());
        let thread = Thread::start("umay-metrics", move |stopped| {
            let pushing = Pushing::new(client, stopped, registry, kept, own);
            pushing.live()
        })?;
        Ok(Self {
            push: push.clone(),
            tls,
            starts,
            thread,
        })
    }

    /// True if it does what this configuration says, with the same files.
    pub fn is_for(&self, push: &Push, tls: Option<&ClientTls>) -> bool {
        same_files(self.tls.as_ref(), tls) && self.push == *push
    }

    /// Pushes once more, as far as that takes no longer than `patience`, and ends the thread.
    pub fn stop(self, patience: std::time::Duration) -> bool {
        self.thread.stop(patience)
    }
}

/// What the thread has.
struct Pushing {
    delivery: Delivery,
    registry: Arc<Registry>,
    starts: Arc<Mutex<Starts>>,
    push: Push,
    resource: Vec<u8>,
    /// When the last push began that was taken: exemplars from before it are known.
    told: SystemTime,
    /// The last push was not taken.
    failing: bool,
    /// What the collector has said last.
    said: String,
}

impl Pushing {
    fn new(
        client: Client,
        stopped: Stopped,
        registry: Arc<Registry>,
        starts: Arc<Mutex<Starts>>,
        push: Push,
    ) -> Self {
        Self {
            delivery: Delivery::new(client, Signal::Metrics, stopped),
            registry,
            starts,
            resource: resource(&push.service_name, &push.attributes),
            push,
            told: UNIX_EPOCH,
            failing: false,
            said: String::new(),
        }
    }

    async fn live(mut self) {
        let interval = self.push.interval;
        // Those that were started together do not push together.
        let first = Instant::now() + self.delivery.jittered(interval);
        let mut ticks = interval_at(first.into(), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !self.delivery.is_stopped() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.delivery.end() => break,
            }
            let next = Instant::now() + interval;
            self.push(next).await;
        }
        // Nobody may be left who waits for it.
        if let Some(deadline) = self.delivery.deadline() {
            self.push(deadline).await;
        }
    }

    /// Tells all, once. It is tried until the next time.
    async fn push(&mut self, next: Instant) {
        let began = SystemTime::now();
        let mut failure = None;
        for part in self.collect() {
            let message = frame(&self.resource, std::iter::once(&*part.bytes));
            let failures = &self.registry.pushes.failures;
            match self.delivery.deliver(&message, next, failures).await {
                Ok(accepted) => self.taken(accepted, part.count),
                Err(failed) => {
                    let is_gone = failed.again.is_some();
                    failure.get_or_insert(failed);
                    // The others would be too late as well.
                    if is_gone {
                        break;
                    }
                }
            }
        }
        match failure {
            Some(failed) => self.failed(&failed),
            None => self.succeeded(began),
        }
    }

    fn collect(&self) -> Vec<Points> {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.collect(&self.registry, self.push.histograms, self.told)
    }

    /// Says what a collector says, once.
    fn taken(&mut self, accepted: Accepted, count: u64) {
        let rejected = accepted.rejected.min(count);
        self.registry.pushes.refused.add(rejected);
        if !accepted.message.is_empty() && accepted.message != self.said {
            let collector = self.delivery.place();
            let said = &accepted.message;
            tracing::warn!(%collector, rejected, "the collector of metrics says: {said}");
        }
        self.said = accepted.message;
    }

    fn succeeded(&mut self, began: SystemTime) {
        self.registry.pushes.taken.add(1);
        self.told = began;
        if std::mem::take(&mut self.failing) {
            tracing::info!(collector = %self.delivery.place(), "metrics are pushed again");
        }
    }

    /// Says so once, until they are pushed again.
    fn failed(&mut self, failed: &Failed) {
        self.registry.pushes.failed.add(1);
        if !std::mem::replace(&mut self.failing, true) {
            let collector = self.delivery.place();
            tracing::warn!(%collector, "metrics cannot be pushed: {failed}");
        }
    }
}
