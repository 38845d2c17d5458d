//! Upstreams: which endpoint is next, and a connection to it.
//!
//! An upstream is opened for a request or a stream: that gives a [`Lease`] on an endpoint and a [`Link`] to it. What all workers must agree on (who the
//! endpoints are, how busy they are) is in [`Upstream`]; each worker has a [`Share`] of it with
//! connections of its own, so no lock is ever taken on the way to an endpoint.

mod connect;
mod endpoint;
mod lease;
mod pool;

pub use connect::Failure;
pub use endpoint::{Endpoint, Upstream};
pub use lease::{Attempts, Lease};
pub use pool::Link;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use umay_core::balance;
use umay_core::model::Scheme;
use umay_core::reason::Reason;

use crate::conn::Deadline;
use crate::worker::Worker;
use pool::Pool;

/// One worker's part of all upstreams, in the order of the process's list.
#[derive(Debug)]
pub struct Upstreams(Vec<Rc<Share>>);

/// One worker's part of an upstream.
#[derive(Debug)]
pub struct Share {
    upstream: Arc<Upstream>,
    worker: Rc<Worker>,
    turn: Cell<usize>,
    /// By the endpoint's place.
    pools: Vec<RefCell<Pool>>,
}

impl Upstreams {
    /// The parts of this worker, of `workers` in all.
    pub fn new(upstreams: &[Arc<Upstream>], worker: &Rc<Worker>, workers: usize) -> Self {
        // The cap is the whole process's; connections spread evenly enough over workers.
        let cap = worker.limits.pool.div_ceil(workers);
        let share = |upstream: &Arc<Upstream>| {
            Rc::new(Share {
                upstream: Arc::clone(upstream),
                worker: Rc::clone(worker),
                turn: Cell::new(worker.index),
                pools: upstream
                    .endpoints
                    .iter()
                    .map(|_| RefCell::new(Pool::new(cap)))
                    .collect(),
            })
        };
        Self(upstreams.iter().map(share).collect())
    }

    /// An upstream by its place.
    pub fn get(&self, place: usize) -> Option<&Rc<Share>> {
        self.0.get(place)
    }

    /// Closes pooled connections that are too old or were closed by their endpoints. To be called
    /// about once a second.
    pub fn sweep(&self) {
        for share in &self.0 {
            for pool in &share.pools {
                pool.borrow_mut().sweep(&share.worker.timers);
            }
        }
    }
}

impl Share {
    /// The upstream as all workers share it.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Picks an endpoint and gives a connection to it, pooled or new. One that cannot be reached
    /// costs nothing but time as long as there is another.
    ///
    /// `replayable` says that what is sent can be sent again if a pooled connection turns out to be
    /// dead; if not, the kernel is asked whether it is alive.
    pub async fn open(
        self: &Rc<Self>,
        serves: fn(Scheme) -> bool,
        replayable: bool,
        attempts: &mut Attempts,
        deadline: &Deadline,
    ) -> Result<(Link, Lease), Failure> {
        loop {
            let Some(lease) = self.pick(serves, attempts) else {
                return Err(attempts.verdict());
            };
            if attempts.count > 0 {
                self.worker.metrics.retries.inc();
            }
            attempts.count += 1;
            attempts.place = Some(lease.place());
            if !attempts.fresh
                && let Some(link) = self.pooled(lease.place(), replayable)
            {
                return Ok((link, lease));
            }
            // Boxed: connecting is rare beside what the task must remember at other times.
            match Box::pin(self.connect(&lease, deadline)).await {
                Ok(link) => return Ok((link, lease)),
                Err(failure) => {
                    let (place, reason) = (lease.place(), failure.reason);
                    if reason == Reason::Overloaded {
                        // Out of file descriptors: a client that waits for nothing has one.
                        self.worker.timers.shed(1);
                    }
                    lease.fail(reason);
                    attempts.failed(place, failure);
                }
            }
        }
    }

    fn pick(self: &Rc<Self>, serves: fn(Scheme) -> bool, attempts: &Attempts) -> Option<Lease> {
        let endpoints = &self.upstream.endpoints;
        let get = |i: usize| endpoints.get(i);
        let excluded =
            |i| attempts.excludes(i) || !get(i).is_some_and(|e| serves(e.address.scheme));
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let place = balance::pick(
            self.upstream.balance,
            endpoints.len(),
            excluded,
            |i| get(i).map_or(0, Endpoint::in_flight),
            turn,
            self.worker.random(),
        )?;
        Some(Lease::new(Rc::clone(self), place))
    }

    fn pooled(self: &Rc<Self>, place: usize, replayable: bool) -> Option<Link> {
        let pool = self.pools.get(place)?;
        loop {
            let conn = pool.borrow_mut().take()?;
            let mut link = Link::new(conn, Rc::clone(self), place);
            let alive = if replayable {
                link.conn.is_quiet()
            } else {
                link.conn.is_surely_quiet()
            };
            if alive {
                link.reused = true;
                self.worker.metrics.pool.reused.inc();
                return Some(link);
            }
        }
    }
}
