//! A lease: the right to use an endpoint once. It counts as in flight until it ends, and how it ends is
//! what balancing and healing know of the endpoint.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use umay_core::reason::Reason;

use super::{Endpoint, Failure, Local, Share};

/// The right to use an endpoint for one request or stream. Its end is told to the upstream.
#[derive(Debug)]
pub struct Lease {
    share: Rc<Share>,
    local: Rc<Local>,
    outcome: Outcome,
    /// It has room that is counted.
    held: bool,
}

/// How the use of an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// As it should.
    Well,
    /// For this reason; whose fault that is follows from it.
    Failed(Reason),
    /// Nobody wants it any more.
    Cancelled,
    /// For this reason, which says nothing of the endpoint.
    Excused(Reason),
    /// It answered that it cannot.
    Unavailable,
}

impl Lease {
    /// A lease; `held` says that room was taken for it.
    pub(super) fn new(share: Rc<Share>, local: Rc<Local>, held: bool) -> Self {
        if let Some(shard) = local.endpoint.metrics.own(share.worker.index) {
            shard.in_flight.up();
            shard.picks.inc();
        }
        Self {
            share,
            local,
            outcome: Outcome::Well,
            held,
        }
    }

    /// The worker's part of the endpoint.
    pub fn local(&self) -> &Rc<Local> {
        &self.local
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.local.endpoint
    }

    /// The upstream.
    pub fn share(&self) -> &Rc<Share> {
        &self.share
    }

    /// The endpoint has begun to answer, so long after the request was sent, or even before; what it says is that it
    /// is `unavailable`, or not.
    pub fn answered(&mut self, unavailable: bool, took: Option<Duration>) {
        if unavailable {
            self.outcome = Outcome::Unavailable;
        }
        let Some(took) = took else {
            return;
        };
        let now = self.share.worker.timers.now();
        self.endpoint().took(took, unavailable, now);
        if self.share.upstream.wants_samples() {
            self.share.samples.borrow_mut().record(took);
        }
    }

    /// The endpoint wants no requests for so long.
    pub fn rest(&self, wait: Duration) {
        let upstream = &self.share.upstream;
        let now = upstream.now();
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if self.endpoint().rest(now.saturating_add(wait), now) {
            upstream.metrics.healing.rests.add(1);
            upstream.attention.notify_one();
        }
    }

    /// Ends the lease because another endpoint has answered first; this one had the request for so long. That is no
    /// failure, but those that are picked by latency must know, or a hung one would seem idle.
    pub fn overtaken(self, waited: Option<Duration>) {
        if let Some(waited) = waited {
            let now = self.share.worker.timers.now();
            self.endpoint().took(waited, false, now);
        }
        self.cancel();
    }

    /// Ends the lease without a word about the endpoint.
    pub fn cancel(mut self) {
        self.outcome = Outcome::Cancelled;
    }

    /// The same, for this reason.
    pub fn excuse(mut self, reason: Reason) {
        self.outcome = Outcome::Excused(reason);
    }

    /// To be kept while the way to the endpoint is being opened: a lease that is dropped meanwhile was not used well, but
    /// given up, for what `why` says then (`None`: another endpoint was faster).
    pub(super) fn opening<'l>(&'l mut self, why: &'l Cell<Option<Reason>>) -> Opening<'l> {
        Opening { lease: self, why }
    }

    /// The way to the endpoint is open.
    pub(super) fn opened(&mut self) {
        self.outcome = Outcome::Well;
    }

    /// Ends the lease because of this.
    pub fn fail(mut self, reason: Reason) {
        self.outcome = Outcome::Failed(reason);
    }
}

/// A lease that is worth nothing yet, see [`Lease::opening`].
#[derive(Debug)]
pub(super) struct Opening<'l> {
    lease: &'l mut Lease,
    why: &'l Cell<Option<Reason>>,
}

impl Opening<'_> {
    /// The lease.
    pub(super) fn lease(&self) -> &Lease {
        self.lease
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let why = self.why.get();
        self.lease.outcome = why.map_or(Outcome::Cancelled, Outcome::Excused);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (endpoint, upstream) = (&self.local.endpoint, &self.share.upstream);
        let worker = self.share.worker.index;
        let (reason, bad) = match self.outcome {
            Outcome::Well => (None, Some(false)),
            Outcome::Cancelled => (None, None),
            Outcome::Excused(reason) => (Some(reason), None),
            Outcome::Unavailable => (None, Some(true)),
            Outcome::Failed(reason) => (Some(reason), is_bad(reason)),
        };
        if let Some(shard) = endpoint.metrics.own(worker) {
            shard.in_flight.down();
            match bad {
                Some(true) => shard.failed.inc(),
                Some(false) => shard.ok.inc(),
                None => {}
            }
        }
        match bad {
            Some(true) => {
                if endpoint.did_badly() == upstream.model.outlier.consecutive {
                    upstream.attention.notify_one();
                }
                if reason.is_some() {
                    let now = self.share.worker.timers.now();
                    endpoint.took(Duration::ZERO, true, now);
                }
            }
            Some(false) => endpoint.did_well(),
            None => {}
        }
        upstream.metrics.attempted(worker, reason);
        if self.held {
            self.share.leave_room(&self.local);
            upstream.room.leave();
            if reason == Some(Reason::UpstreamTimeout) {
                upstream.room.drop_one();
            }
        }
    }
}

/// Whether a failure speaks against the endpoint; `None` if it says nothing of it.
fn is_bad(reason: Reason) -> Option<bool> {
    match reason {
        Reason::ConnectRefused
        | Reason::ConnectTimeout
        | Reason::ConnectFailed
        | Reason::EndpointUnresolved
        | Reason::UpstreamTlsExpired
        | Reason::UpstreamTlsNotYetValid
        | Reason::UpstreamTlsWrongName
        | Reason::UpstreamTlsUnknownIssuer
        | Reason::UpstreamTlsSelfSigned
        | Reason::UpstreamTlsRevoked
        | Reason::UpstreamTlsBadCertificate
        | Reason::UpstreamTlsFailed
        | Reason::UpstreamClosed
        | Reason::UpstreamReset
        | Reason::UpstreamMalformed
        | Reason::UpstreamTimeout
        | Reason::UpstreamStalled
        | Reason::UpstreamCut
        | Reason::UpstreamBodyMalformed => Some(true),
        _ => None,
    }
}

/// What is kept of attempts for who tells of them.
#[derive(Debug, Default)]
pub struct Trail {
    /// When the last one began.
    pub began: Option<Instant>,
    /// Endpoints that could not be reached, until they are taken out.
    pub unreached: Vec<Unreached>,
}

/// An endpoint that could not be reached.
#[derive(Debug)]
pub struct Unreached {
    /// The endpoint.
    pub local: Rc<Local>,
    /// When it was picked.
    pub began: Instant,
    /// When it was given up.
    pub ended: Instant,
    /// Why.
    pub reason: Reason,
}

/// The attempts of one request or stream at the endpoints of an upstream.
#[derive(Debug, Default)]
pub struct Attempts {
    /// How many there were.
    pub count: u32,
    /// The last endpoint.
    pub last: Option<Rc<Local>>,
    /// Take no pooled connection.
    pub fresh: bool,
    /// What has to go to the same endpoint has the same key.
    pub key: Option<u64>,
    /// The token of the endpoint that the client is kept at.
    pub stuck: Option<u64>,
    /// Where the client was headed, for upstreams that go there.
    pub original: Option<std::net::SocketAddr>,
    /// How long the last wait for room was, if there was one.
    pub queued: Option<std::time::Duration>,
    /// The next attempt is within the budget already, or needs none.
    pub allowed: bool,
    /// What is kept of attempts for who wants to tell of them.
    pub trail: Option<Box<Trail>>,
    /// Endpoints that could not be reached.
    failed: Vec<Rc<Local>>,
    /// Why the last of them could not.
    pub(super) failure: Option<Failure>,
}

impl Attempts {
    /// No attempt yet. `fresh` refuses pooled connections.
    pub fn new(fresh: bool) -> Self {
        Self {
            fresh,
            ..Self::default()
        }
    }

    /// Notes when an attempt begins, if there is a trail.
    pub(super) fn begins(&mut self) {
        if let Some(trail) = &mut self.trail {
            trail.began = Some(Instant::now());
        }
    }

    /// Leaves a trail of an endpoint that could not be reached.
    pub(super) fn unreached(&mut self, local: &Rc<Local>, reason: Reason) {
        if let Some(trail) = &mut self.trail
            && let Some(began) = trail.began
        {
            trail.unreached.push(Unreached {
                local: Rc::clone(local),
                began,
                ended: Instant::now(),
                reason,
            });
        }
    }

    pub(super) fn excludes(&self, local: &Rc<Local>) -> bool {
        self.failed.iter().any(|f| Rc::ptr_eq(f, local))
    }

    /// Why there is no endpoint left.
    pub(super) fn verdict(&mut self) -> Failure {
        let none = || Failure::new(Reason::NoEndpoint, "");
        self.failure.take().unwrap_or_else(none)
    }

    /// The endpoint did not take the request: another gets it, if there is another.
    pub fn refused(&mut self, failure: Failure, others: bool) {
        match self.last.clone() {
            Some(local) if others => self.failed(local, failure),
            _ => self.failure = Some(failure),
        }
    }

    /// There is no endpoint, for this reason.
    pub(super) fn because(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    pub(super) fn failed(&mut self, local: Rc<Local>, failure: Failure) {
        self.failed.push(local);
        self.failure = Some(failure);
    }
}
