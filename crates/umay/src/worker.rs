//! What one worker owns and lends to every room: its share of metrics and log, its deadlines and
//! buffers, its chance. Nothing here is shared with another thread but by reading.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use umay_core::model::{Http2, Limits, Model, Timeouts};

use crate::conn::{Buffers, DEFAULT_SIZE, Pipes, Timers};
use crate::drain::Drain;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::WorkerMetrics;
use crate::telemetry::spans::Tracer;

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// Its shard of the metrics.
    pub metrics: Arc<WorkerMetrics>,
    /// Its end of the access log.
    pub access: Rc<AccessLog>,
    /// Its end of what is traced.
    pub tracer: Rc<Tracer>,
    /// Deadlines.
    pub timers: Rc<Timers>,
    /// Read buffers.
    pub buffers: Rc<Buffers>,
    /// Pipes.
    pub pipes: Rc<Pipes>,
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

/// What the configuration says to workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Waits.
    pub timeouts: Timeouts,
    /// Caps.
    pub limits: Limits,
    /// How HTTP/2 is spoken.
    pub http2: Http2,
}

impl Settings {
    /// Those of a model.
    pub fn of(model: &Model) -> Self {
        Self {
            timeouts: model.timeouts.clone(),
            limits: model.limits.clone(),
            http2: model.http2.clone(),
        }
    }

    /// Bytes of a read buffer: a head must fit into one whole, with room to see that it does not.
    fn buffer(&self) -> usize {
        DEFAULT_SIZE.max(self.limits.head.saturating_add(1024))
    }
}

impl Worker {
    /// A worker that has nothing to do yet; it may open so many pipes.
    pub fn new(
        index: usize,
        metrics: Arc<WorkerMetrics>,
        access: AccessLog,
        settings: Settings,
        pipes: usize,
    ) -> Rc<Self> {
        Rc::new(Self {
            index,
            metrics,
            access: Rc::new(access),
            tracer: Rc::default(),
            timers: Timers::new(),
            buffers: Buffers::new(settings.buffer()),
            pipes: Rc::new(Pipes::new(pipes)),
            drain: Rc::default(),
            timeouts: settings.timeouts,
            limits: settings.limits,
            http2: settings.http2,
            random: Cell::new(RandomState::new().hash_one(index)),
        })
    }

    /// The same worker with other settings. What has begun goes on with those that it began with.
    pub fn with(&self, settings: Settings) -> Rc<Self> {
        let same = settings.limits.head == self.limits.head;
        Rc::new(Self {
            index: self.index,
            metrics: Arc::clone(&self.metrics),
            access: Rc::clone(&self.access),
            tracer: Rc::clone(&self.tracer),
            timers: Rc::clone(&self.timers),
            buffers: if same {
                Rc::clone(&self.buffers)
            } else {
                Buffers::new(settings.buffer())
            },
            pipes: Rc::clone(&self.pipes),
            drain: Rc::clone(&self.drain),
            timeouts: settings.timeouts,
            limits: settings.limits,
            http2: settings.http2,
            random: Cell::new(self.random()),
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
