//! Room at endpoints: caps on what is in flight, and the queue of those who wait for it.
//!
//! An upstream without caps has endless room and costs nothing. With caps, whoever finds none waits
//! until something ends, in the order of coming, for no longer than the queue's deadline.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use umay_core::model::UpstreamLimits;
use umay_core::reason::Reason;

use super::endpoint::take;
use super::{Failure, Local, Share};

/// The room that an upstream has.
#[derive(Debug)]
pub(crate) struct Room {
    /// Something is limited at all.
    pub(super) capped: bool,
    queue: u32,
    wait: Duration,
    /// Requests in flight, counted only if capped.
    taken: AtomicU32,
    /// The cap on them.
    limit: AtomicU32,
    waiting: AtomicU32,
    freed: Notify,
    /// The most that were in flight since the keeper has asked.
    peak: AtomicU32,
    /// Requests that were not answered in time, or found no room.
    dropped: AtomicU64,
}

impl Room {
    pub(super) fn new(limits: &UpstreamLimits) -> Self {
        let caps = [
            limits.requests,
            limits.endpoint_requests,
            limits.endpoint_connections,
        ];
        Self {
            capped: limits.adaptive || caps.iter().any(Option::is_some),
            queue: limits.queue,
            wait: limits.queue_timeout,
            taken: AtomicU32::default(),
            limit: AtomicU32::new(limits.requests.unwrap_or(u32::MAX)),
            waiting: AtomicU32::default(),
            freed: Notify::new(),
            peak: AtomicU32::default(),
            dropped: AtomicU64::default(),
        }
    }

    /// Changes the cap on requests in flight.
    pub(crate) fn set_limit(&self, limit: u32) {
        if self.limit.swap(limit, Relaxed) < limit {
            self.freed.notify_waiters();
        }
    }

    /// The most that were in flight, and how many were not answered, since the last time.
    pub(crate) fn take_counts(&self) -> (u32, u64) {
        let peak = self.peak.swap(self.taken.load(Relaxed), Relaxed);
        (peak, self.dropped.swap(0, Relaxed))
    }

    /// A request was not answered in time, or found no room.
    pub(super) fn drop_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// Takes room for one request.
    pub(super) fn take(&self) -> bool {
        let taken = take(&self.taken, self.limit.load(Relaxed));
        if taken {
            self.peak.fetch_max(self.taken.load(Relaxed), Relaxed);
        }
        taken
    }

    /// Requests in flight, if they are counted.
    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// Gives the room of one request back.
    pub(super) fn leave(&self) {
        self.taken.fetch_sub(1, Relaxed);
        self.freed();
    }

    /// Something has ended: the next in the queue may look.
    pub(super) fn freed(&self) {
        if self.waited_for() {
            self.freed.notify_one();
        }
    }

    /// True if somebody waits.
    pub(super) fn waited_for(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }
}

/// The room of one connection to an endpoint, counted only if there is a cap on them.
#[derive(Debug)]
pub(super) struct Berth {
    share: Rc<Share>,
    local: Rc<Local>,
}

impl Berth {
    /// Room for a connection; `None` if there is none left, `Some(None)` if there is no cap.
    pub(super) fn take(share: &Rc<Share>, local: &Rc<Local>) -> Option<Option<Self>> {
        let Some(cap) = share.upstream.model.limits.endpoint_connections else {
            return Some(None);
        };
        local.endpoint.take_connection(cap).then(|| {
            Some(Self {
                share: Rc::clone(share),
                local: Rc::clone(local),
            })
        })
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.local.endpoint.leave_connection();
        self.share.upstream.room.freed();
    }
}

/// One place in the queue.
struct Place<'a>(&'a Share);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let upstream = &self.0.upstream;
        upstream.metrics.healing.waiting.fetch_sub(1, Relaxed);
        upstream.room.waiting.fetch_sub(1, Relaxed);
    }
}

impl Share {
    /// Waits until `pick` finds room, in the queue if that has a place.
    pub(super) async fn queue<T>(&self, mut pick: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        let (room, healing) = (&self.upstream.room, &self.upstream.metrics.healing);
        if !take(&room.waiting, room.queue) {
            room.drop_one();
            let detail = format!("{} wait already", room.queue);
            return Err(Failure::new(Reason::QueueFull, detail));
        }
        let _place = Place(self);
        healing.queued.add(1);
        healing.waiting.fetch_add(1, Relaxed);
        let picked = async {
            loop {
                let mut freed = std::pin::pin!(room.freed.notified());
                // Before the look, so that nothing that ends after it is missed.
                freed.as_mut().enable();
                if let Some(picked) = pick() {
                    return picked;
                }
                freed.await;
            }
        };
        let waited = tokio::time::timeout(room.wait, picked).await;
        waited.map_err(|_| {
            room.drop_one();
            let detail = format!("no room in {:?}", room.wait);
            Failure::new(Reason::QueueTimeout, detail)
        })
    }
}
