//! What one worker owns and lends to every room: its share of metrics and log, its deadlines and
//! buffers, its chance. Nothing here is shared with another thread but by reading.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use umay_core::model::{Http2, Limits, Timeouts};

use crate::conn::{Buffers, DEFAULT_SIZE, Pipes, Timers};
use crate::drain::Drain;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::WorkerMetrics;

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// Its shard of the metrics.
    pub metrics: Arc<WorkerMetrics>,
    /// Its end of the access log.
    pub access: AccessLog,
    /// Deadlines.
    pub timers: Rc<Timers>,
    /// Read buffers.
    pub buffers: Rc<Buffers>,
    /// Pipes.
    pub pipes: Pipes,
    /// The end of its life.
    pub drain: Rc<Drain>,
    /// Waits, by configuration.
    pub timeouts: Timeouts,
    /// Caps, by configuration.
    pub limits: Limits,
    /// How HTTP/2 is spoken.
    pub http2: Http2,
    random: Cell<u64>,
}

impl Worker {
    /// A worker that has nothing to do yet; it may open so many pipes.
    pub fn new(
        index: usize,
        metrics: Arc<WorkerMetrics>,
        access: AccessLog,
        timeouts: Timeouts,
        limits: Limits,
        http2: Http2,
        pipes: usize,
    ) -> Rc<Self> {
        // A head must fit into a buffer whole, with room to see that it does not.
        let size = DEFAULT_SIZE.max(limits.head.saturating_add(1024));
        Rc::new(Self {
            index,
            metrics,
            access,
            timers: Timers::new(),
            buffers: Buffers::new(size),
            pipes: Pipes::new(pipes),
            drain: Rc::default(),
            timeouts,
            limits,
            http2,
            random: Cell::new(RandomState::new().hash_one(index)),
        })
    }

    /// 64 random bits (SplitMix64, seeded by the system). For balancing and request ids, not for
    /// secrets.
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The same, 128 bits.
    pub fn random_128(&self) -> u128 {
        u128::from(self.random()) << 64 | u128::from(self.random())
    }
}
