//! Upstreams: which endpoint is next, and a connection to it.
//!
//! An upstream is opened for a request or a stream: that gives a [`Lease`] on an endpoint and a
//! [`Link`] to it, or a [`Ticket`] for one on a connection that is shared. What all workers must
//! agree on (who the endpoints are, how busy they are) is in [`Upstream`]; each worker has a
//! [`Share`] of it with connections of its own, so no lock is ever taken on the way to an endpoint.

mod connect;
mod endpoint;
mod lease;
mod multiplex;
mod pool;

pub use connect::Failure;
pub use endpoint::{Endpoint, Upstream};
pub use lease::{Attempts, Lease};
pub use multiplex::{Awaited, Ticket};
pub use pool::Link;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use umay_core::balance::{Chance, Field};
use umay_core::model::Scheme;
use umay_core::reason::Reason;

use crate::conn::{Conn, Deadline};
use crate::tls::Offer;
use crate::worker::Worker;
use multiplex::{Multiplexes, Turn};
use pool::Pool;
use tokio::task::JoinSet;

/// One worker's part of all upstreams, in the order of the process's list.
#[derive(Debug)]
pub struct Upstreams(Vec<Rc<Share>>);

/// One worker's part of an upstream.
pub struct Share {
    upstream: Arc<Upstream>,
    worker: Rc<Worker>,
    turn: Cell<usize>,
    /// By the endpoint's place.
    pools: Vec<RefCell<Pool>>,
    /// The same for HTTP/2.
    multiplexes: Vec<Multiplexes>,
    /// The tasks that keep HTTP/2 connections going.
    drivers: RefCell<JoinSet<()>>,
}

/// What is to be carried to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// Bytes, both ways.
    Bytes,
    /// A request.
    Request {
        /// The client spoke HTTP/2 without being offered it, or it is a call of gRPC: endpoints
        /// without a scheme are spoken to in HTTP/2.
        http2: bool,
        /// It asks for another protocol, which only a connection of its own can change to.
        upgrade: bool,
        /// It can be sent again if a pooled connection turns out to be dead; if not, the kernel is
        /// asked whether it is alive.
        replayable: bool,
    },
}

impl Cargo {
    fn serves(self, scheme: Scheme) -> bool {
        match self {
            Self::Bytes => scheme.serves_tcp(),
            Self::Request { .. } => scheme.serves_http(),
        }
    }

    /// What an endpoint of this scheme is offered; `speaks_http2` if it has shown that it does.
    fn offer(self, scheme: Scheme, speaks_http2: bool) -> Offer {
        match (self, scheme) {
            (Self::Bytes, _) => Offer::Nothing,
            (_, Scheme::H2 | Scheme::H2c) => Offer::Http2,
            (
                Self::Request {
                    http2,
                    upgrade: false,
                    ..
                },
                Scheme::Detected,
            ) if http2 || speaks_http2 => Offer::Either,
            (Self::Request { upgrade: false, .. }, Scheme::Https) => Offer::Either,
            (Self::Request { .. }, _) => Offer::Http1,
        }
    }
}

/// What was opened.
pub enum Opened {
    /// A connection, or a stream.
    Link(Link),
    /// A place on a connection of HTTP/2, for when the head is ready.
    Ticket(Ticket),
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
                multiplexes: upstream
                    .endpoints
                    .iter()
                    .map(|_| Multiplexes::default())
                    .collect(),
                drivers: RefCell::default(),
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
            for multiplexes in &share.multiplexes {
                multiplexes.sweep(&share.worker);
            }
            while share.drivers.borrow_mut().try_join_next().is_some() {}
        }
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({})", self.upstream.name)
    }
}

impl Share {
    /// True if there is another endpoint than the one at `place` for this cargo.
    pub fn has_others(&self, cargo: Cargo, place: usize) -> bool {
        let endpoints = self.upstream.endpoints.iter().enumerate();
        let mut serving = endpoints.filter(|(_, e)| cargo.serves(e.address.scheme));
        serving.any(|(at, _)| at != place)
    }

    /// The upstream as all workers share it.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Picks an endpoint and gives a connection to it, pooled or new. One that cannot be reached
    /// costs nothing but time as long as there is another.
    pub async fn open(
        self: &Rc<Self>,
        cargo: Cargo,
        attempts: &mut Attempts,
        deadline: &Deadline,
    ) -> Result<(Opened, Lease), Failure> {
        loop {
            let Some(lease) = self.pick(cargo, attempts) else {
                return Err(attempts.verdict());
            };
            if attempts.count > 0 {
                self.worker.metrics.retries.inc();
            }
            attempts.count += 1;
            attempts.place = Some(lease.place());
            match self.reach(cargo, &lease, attempts.fresh, deadline).await {
                Ok(opened) => return Ok((opened, lease)),
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

    /// Gives a connection to the leased endpoint.
    async fn reach(
        self: &Rc<Self>,
        cargo: Cargo,
        lease: &Lease,
        fresh: bool,
        deadline: &Deadline,
    ) -> Result<Opened, Failure> {
        let place = lease.place();
        let scheme = lease
            .endpoint()
            .map_or(Scheme::Detected, |e| e.address.scheme);
        let offer = cargo.offer(scheme, self.speaks(place) == Some(true));
        if matches!(offer, Offer::Http2 | Offer::Either) && self.speaks(place) != Some(false) {
            if let Some(ticket) = self.ticket(place) {
                return Ok(Opened::Ticket(ticket));
            }
            // Boxed, as the connecting below: rare beside what the task must remember otherwise.
            let ticket = Box::pin(self.multiplexed(offer, lease, deadline)).await?;
            if let Some(opened) = ticket {
                return Ok(opened);
            }
        }
        if let (Cargo::Request { replayable, .. }, false) = (cargo, fresh)
            && let Some(link) = self.pooled(place, replayable)
        {
            return Ok(Opened::Link(link));
        }
        let offer = match offer {
            Offer::Either | Offer::Http2 => Offer::Http1,
            other => other,
        };
        let (conn, took) = Box::pin(self.connect(lease, offer, deadline)).await?;
        Ok(Opened::Link(self.link(conn, place, took)))
    }

    /// A place on an HTTP/2 connection, opened if need be, or a connection whose endpoint prefers
    /// HTTP/1; `None` if that is known already.
    async fn multiplexed(
        self: &Rc<Self>,
        offer: Offer,
        lease: &Lease,
        deadline: &Deadline,
    ) -> Result<Option<Opened>, Failure> {
        let place = lease.place();
        let turn = match self.turn(place, deadline).await? {
            Turn::Ticket(ticket) => return Ok(Some(Opened::Ticket(ticket))),
            Turn::Http1 => return Ok(None),
            Turn::Open(turn) => turn,
        };
        let (conn, took) = match self.connect(lease, offer, deadline).await {
            Ok(connected) => connected,
            Err(failure) => {
                turn.failed(&failure);
                return Err(failure);
            }
        };
        let secure = lease.endpoint().is_some_and(|e| e.address.scheme.is_tls());
        let agreed = conn.io().alpn() == Some(b"h2");
        if secure && offer == Offer::Either && !agreed {
            turn.speaks(false);
            return Ok(Some(Opened::Link(self.link(conn, place, took))));
        }
        match self.begin(conn, place, took, deadline).await {
            Ok(ticket) => {
                turn.speaks(true);
                Ok(Some(Opened::Ticket(ticket)))
            }
            // In the clear there is no other way to find out.
            Err(_) if !secure && offer == Offer::Either => {
                turn.speaks(false);
                Ok(None)
            }
            Err(failure) => {
                turn.failed(&failure);
                Err(failure)
            }
        }
    }

    /// Whether the endpoint has shown that it speaks HTTP/2, or that it does not.
    fn speaks(&self, place: usize) -> Option<bool> {
        self.multiplexes.get(place)?.speaks.get()
    }

    fn link(self: &Rc<Self>, conn: Conn, place: usize, took: std::time::Duration) -> Link {
        let mut link = Link::new(conn, Rc::clone(self), place);
        link.connect = Some(took);
        link
    }

    fn pick(self: &Rc<Self>, cargo: Cargo, attempts: &Attempts) -> Option<Lease> {
        let endpoints = &self.upstream.endpoints;
        let get = |i: usize| endpoints.get(i);
        let excluded =
            |i| attempts.excludes(i) || !get(i).is_some_and(|e| cargo.serves(e.address.scheme));
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let field = Now {
            endpoints,
            excluded,
        };
        let chance = Chance {
            turn,
            random: self.worker.random(),
            key: None,
        };
        let place = self.upstream.balancer.pick(&field, chance)?;
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

/// The endpoints as a balancer sees them.
struct Now<'a, F> {
    endpoints: &'a [Endpoint],
    excluded: F,
}

impl<F: Fn(usize) -> bool> Field for Now<'_, F> {
    fn is_out(&self, index: usize) -> bool {
        (self.excluded)(index)
    }

    fn in_flight(&self, index: usize) -> u64 {
        self.endpoints.get(index).map_or(0, Endpoint::in_flight)
    }

    fn latency(&self, _: usize) -> f64 {
        0.0
    }

    fn ramp(&self, _: usize) -> f64 {
        1.0
    }
}
