//! A lease: the right to use an endpoint once. It counts as in flight until it ends.

use std::rc::Rc;

use umay_core::reason::Reason;

use super::{Endpoint, Failure, Share};
use crate::telemetry::metrics::Gauge;

/// The right to use an endpoint for one request or stream. Its end is told to the upstream.
#[derive(Debug)]
pub struct Lease {
    share: Rc<Share>,
    place: usize,
    outcome: Option<Reason>,
}

impl Lease {
    pub(super) fn new(share: Rc<Share>, place: usize) -> Self {
        let lease = Self {
            share,
            place,
            outcome: None,
        };
        if let Some(gauge) = lease.gauge() {
            gauge.up();
        }
        lease
    }

    /// The endpoint's place in its upstream.
    pub fn place(&self) -> usize {
        self.place
    }

    /// The endpoint.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.share.upstream.endpoints.get(self.place)
    }

    /// The upstream.
    pub fn share(&self) -> &Rc<Share> {
        &self.share
    }

    /// Ends the lease because of this.
    pub fn fail(mut self, reason: Reason) {
        self.outcome = Some(reason);
    }

    fn gauge(&self) -> Option<&Gauge> {
        self.endpoint()?.share(self.share.worker.index)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(gauge) = self.gauge() {
            gauge.down();
        }
        let metrics = &self.share.upstream.metrics;
        metrics.attempted(self.share.worker.index, self.outcome);
    }
}

/// The attempts of one request or stream at the endpoints of an upstream.
#[derive(Debug, Default)]
pub struct Attempts {
    /// How many there were.
    pub count: u32,
    /// The place of the last endpoint.
    pub place: Option<usize>,
    /// Take no pooled connection.
    pub fresh: bool,
    /// Places of the endpoints that could not be reached.
    failed: Vec<usize>,
    /// Why the last of them could not.
    failure: Option<Failure>,
}

impl Attempts {
    /// No attempt yet. `fresh` refuses pooled connections.
    pub fn new(fresh: bool) -> Self {
        Self {
            fresh,
            ..Self::default()
        }
    }

    /// Endpoints that one request is tried on, at most. What five could not do, a sixth will not do
    /// before the client loses patience.
    pub const MOST: usize = 5;

    pub(super) fn excludes(&self, place: usize) -> bool {
        self.failed.len() >= Self::MOST || self.failed.contains(&place)
    }

    /// Why there is no endpoint left.
    pub(super) fn verdict(&mut self) -> Failure {
        let none = || Failure::new(Reason::NoEndpoint, "");
        self.failure.take().unwrap_or_else(none)
    }

    /// The endpoint did not take the request: another gets it, if there is another.
    pub fn refused(&mut self, failure: Failure, others: bool) {
        match self.place {
            Some(place) if others => self.failed(place, failure),
            _ => self.failure = Some(failure),
        }
    }

    pub(super) fn failed(&mut self, place: usize, failure: Failure) {
        self.failed.push(place);
        self.failure = Some(failure);
    }
}
