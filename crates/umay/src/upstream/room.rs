//! Room at endpoints: caps on what is in flight, and the queue of those who wait for it.
//!
//! An upstream without caps has endless room and costs nothing. With caps, whoever finds none waits in
//! [`super::queue`] until something ends.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use umay_core::model::UpstreamLimits;

use super::endpoint::take;
use super::queue::Queue;
use super::{Endpoint, Local, Share, Upstream};

/// The room that an upstream has.
#[derive(Debug)]
pub(crate) struct Room {
    /// Something is limited at all.
    pub(super) capped: bool,
    /// Those who wait for it.
    pub(super) queue: Queue,
    /// Requests in flight, counted only if capped.
    taken: AtomicU32,
    /// The cap on them.
    limit: AtomicU32,
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
            queue: Queue::new(limits),
            taken: AtomicU32::default(),
            limit: AtomicU32::new(limits.requests.unwrap_or(u32::MAX)),
            peak: AtomicU32::default(),
            dropped: AtomicU64::default(),
        }
    }

    /// Changes the cap on requests in flight.
    pub(crate) fn set_limit(&self, limit: u32) {
        let more = limit.saturating_sub(self.limit.swap(limit, Relaxed));
        self.queue.call(more as usize);
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

    /// True if there is none for one request more.
    pub(super) fn is_full(&self) -> bool {
        self.taken.load(Relaxed) >= self.limit.load(Relaxed)
    }

    /// Gives the room of one request back.
    pub(super) fn leave(&self) {
        self.taken.fetch_sub(1, Relaxed);
        self.queue.call(1);
    }
}

/// The room of one connection to an endpoint, counted only if there is a cap on them.
#[derive(Debug)]
pub(super) struct Berth {
    // Not a worker's part of them: a pool would hold itself by what waits in it.
    upstream: Arc<Upstream>,
    endpoint: Arc<Endpoint>,
}

impl Berth {
    /// Room for a connection; `None` if there is none left, `Some(None)` if there is no cap.
    ///
    /// What waits in the pool is given up if there is no other room: who comes here cannot use it.
    pub(super) fn take(share: &Rc<Share>, local: &Rc<Local>) -> Option<Option<Self>> {
        let Some(cap) = share.upstream.model.limits.endpoint_connections else {
            return Some(None);
        };
        let mut taken = local.endpoint.take_connection(cap);
        while !taken && local.pool.borrow_mut().forget_one() {
            taken = local.endpoint.take_connection(cap);
        }
        taken.then(|| {
            Some(Self {
                upstream: Arc::clone(&share.upstream),
                endpoint: Arc::clone(&local.endpoint),
            })
        })
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.endpoint.leave_connection();
        self.upstream.room.queue.call(1);
    }
}
