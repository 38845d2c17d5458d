//! One worker's part of an endpoint: its connections to it, and what it has learned of it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use umay_core::model::UpstreamLimits;

use super::Endpoint;
use super::multiplex::Multiplexes;
use super::pool::Pool;
use crate::telemetry::access::endpoint_members;
use crate::worker::Worker;

/// One worker's part of an endpoint.
pub struct Local {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// What the access log says of it.
    pub told: Box<[u8]>,
    pub(super) pool: RefCell<Pool>,
    /// The same for HTTP/2.
    pub(super) multiplexes: Multiplexes,
    /// It is no longer one of the upstream's, or is drained: what is open may go on, and nothing is kept for later.
    pub(super) left: Cell<bool>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Local({})", self.endpoint.label)
    }
}

impl Local {
    /// A part that keeps up to `cap` idle connections to an endpoint of this upstream.
    pub(super) fn new(upstream: &str, endpoint: Arc<Endpoint>, cap: usize) -> Self {
        Self {
            told: endpoint_members(upstream, &endpoint.label),
            endpoint,
            pool: RefCell::new(Pool::new(cap)),
            multiplexes: Multiplexes::default(),
            left: Cell::new(false),
        }
    }

    /// The endpoint has left, or is to: idle connections are closed, and others when they are idle.
    pub(super) fn leave(&self) {
        self.left.set(true);
        self.pool.borrow_mut().clear();
    }

    /// Closes what is too old or was closed by the endpoint, and, if their room is `wanted`, all that is idle.
    pub(super) fn sweep(&self, worker: &Worker, wanted: bool) {
        if wanted {
            // Another worker has use for the room that they take.
            self.pool.borrow_mut().clear();
        }
        self.pool.borrow_mut().sweep(&worker.timers);
        self.multiplexes.sweep(worker, self.left.get());
    }

    /// True if there is neither a connection to use nor room for a new one. Room on one that is shared, for so many
    /// `streams`, is of use only to some.
    pub(super) fn is_full(&self, limits: &UpstreamLimits, streams: Option<u32>) -> bool {
        let requests = limits.endpoint_requests;
        if requests.is_some_and(|cap| self.endpoint.is_full(cap)) {
            return true;
        }
        let connections = limits.endpoint_connections;
        connections.is_some_and(|cap| self.endpoint.is_cramped(cap))
            && self.pool.borrow().is_empty()
            && !streams.is_some_and(|streams| self.multiplexes.has_room(streams))
    }

    /// True if no connection is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.pool.borrow().is_empty() && self.multiplexes.is_empty()
    }
}
