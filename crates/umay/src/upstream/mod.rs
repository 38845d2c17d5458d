//! Upstreams: which endpoint is next, and a connection to it.
//!
//! An upstream is opened for a request or a stream: that gives a [`Lease`] on an endpoint and a
//! [`Link`] to it, or a [`Ticket`] for one on a connection that is shared. What all workers must
//! agree on (who the endpoints are, how busy they are) is in [`Upstream`]; each worker has a
//! [`Share`] of it with connections of its own, so no lock is ever taken on the way to an endpoint.

mod cargo;
mod connect;
mod endpoint;
mod lease;
mod local;
mod multiplex;
mod pool;
mod queue;
mod retry;
mod room;
mod shared;
mod told;
mod view;

pub use cargo::Cargo;
pub use connect::{Failure, Took};
pub use endpoint::Endpoint;
pub use lease::{Attempts, Lease, Trail, Unreached};
pub use local::Local;
pub use multiplex::{Awaited, Ticket};
pub use pool::Link;
pub use shared::{Member, Roster, Upstream};
pub use told::Rank;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use umay_core::balance::Chance;
use umay_core::quantile::Quantiles;
use umay_core::reason::Reason;

use crate::conn::{Deadline, until};
use crate::tls::Offer;
use crate::worker::Worker;
use connect::Connected;
use multiplex::Turn;
use pool::Life;
use queue::Wait;
use view::{Now, View};

/// One worker's part of all upstreams, in the order of the process's list.
#[derive(Debug)]
pub struct Upstreams {
    shares: Vec<Rc<Share>>,
    /// Those of upstreams that are gone, while something goes on in them.
    former: Rc<RefCell<Vec<Rc<Share>>>>,
}

/// One worker's part of an upstream.
pub struct Share {
    upstream: Arc<Upstream>,
    worker: Rc<Worker>,
    /// Idle connections that this worker keeps to one endpoint.
    cap: usize,
    turn: Cell<usize>,
    view: RefCell<View>,
    /// Latencies since the last time that they were brought to the keeper.
    samples: RefCell<Quantiles>,
    /// The tasks that keep HTTP/2 connections going.
    drivers: Rc<RefCell<JoinSet<()>>>,
}

/// What came of a pick.
enum Picked {
    Lease(Lease),
    /// There is one, but it has no room.
    Full,
    None,
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
        let share = |upstream: &Arc<Upstream>| Share::new(upstream, worker, cap);
        Self {
            shares: upstreams.iter().map(|u| Rc::new(share(u))).collect(),
            former: Rc::default(),
        }
    }

    /// What takes their place with other upstreams or settings: connections to endpoints that stay are kept.
    pub fn succeed(
        &self,
        upstreams: &[Arc<Upstream>],
        worker: &Rc<Worker>,
        workers: usize,
    ) -> Self {
        let cap = worker.limits.pool.div_ceil(workers);
        let mut gone = self.shares.clone();
        let mut share = |upstream: &Arc<Upstream>| {
            // What was opened with other certificates is not to be used with these.
            let is_heir = |old: &Rc<Share>| {
                old.upstream.name == upstream.name && old.upstream.has_tls_of(upstream)
            };
            let mut new = Share::new(upstream, worker, cap);
            if let Some(place) = gone.iter().position(is_heir) {
                let old = gone.swap_remove(place);
                new.drivers = Rc::clone(&old.drivers);
                new.view = RefCell::new(old.view.borrow().successor(upstream.roster()));
            }
            Rc::new(new)
        };
        let shares = upstreams.iter().map(&mut share).collect();
        for old in &gone {
            old.view.borrow().retire(worker);
        }
        self.former.borrow_mut().extend(gone);
        Self {
            shares,
            former: Rc::clone(&self.former),
        }
    }

    /// An upstream by its place.
    pub fn get(&self, place: usize) -> Option<&Rc<Share>> {
        self.shares.get(place)
    }

    /// Closes pooled connections that are too old, were closed by their endpoints, or lead to endpoints that have
    /// left. To be called about once a second.
    pub fn sweep(&self) {
        for share in &self.shares {
            let limits = &share.upstream.model.limits;
            let wanted =
                limits.endpoint_connections.is_some() && share.upstream.room.queue.waited_for();
            share.view.borrow_mut().sweep(share, wanted);
            if share.upstream.wants_samples() {
                let samples = std::mem::take(&mut *share.samples.borrow_mut());
                share.upstream.bring_samples(&samples);
            }
            share.join();
        }
        self.former.borrow_mut().retain(|share| {
            share.view.borrow().retire(&share.worker);
            share.join();
            Rc::strong_count(share) > 1 || !share.drivers.borrow().is_empty()
        });
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({})", self.upstream.name)
    }
}

impl Share {
    fn new(upstream: &Arc<Upstream>, worker: &Rc<Worker>, cap: usize) -> Self {
        Self {
            upstream: Arc::clone(upstream),
            worker: Rc::clone(worker),
            cap,
            turn: Cell::new(worker.index),
            view: RefCell::new(View::new(upstream.roster())),
            samples: RefCell::default(),
            drivers: Rc::default(),
        }
    }

    /// Forgets HTTP/2 connections that have ended.
    fn join(&self) {
        while self.drivers.borrow_mut().try_join_next().is_some() {}
    }

    /// True if there is another endpoint than this one for this cargo.
    pub fn has_others(&self, cargo: Cargo, than: &Rc<Local>) -> bool {
        let view = self.view.borrow();
        let (locals, _) = view.picks(cargo);
        locals.iter().any(|local| !Rc::ptr_eq(local, than))
    }

    /// True if there is an endpoint that these attempts have not failed at, `but` this one, whose answer would be thrown
    /// away for it: that is done only for one that is well.
    fn has_untried(&self, cargo: Cargo, attempts: &Attempts, but: Option<&Rc<Local>>) -> bool {
        let view = self.view.borrow();
        let (locals, picks) = view.picks(cargo);
        let reserve = view.reserve(cargo);
        let reserve = match but {
            Some(_) => reserve.get(..picks.good).unwrap_or(reserve),
            None => reserve,
        };
        let is_but = |local| but.is_some_and(|but| Rc::ptr_eq(but, local));
        locals
            .iter()
            .chain(reserve)
            .any(|local| !attempts.excludes(local) && !is_but(local))
    }

    /// The upstream as all workers share it.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Picks an endpoint and gives a connection to it, pooled or new. One that cannot be reached
    /// costs nothing but time as long as there is another. Whoever drops this before it is ready says in `why` what
    /// for; `None` stands for another endpoint that was faster.
    pub async fn open(
        self: &Rc<Self>,
        cargo: Cargo,
        attempts: &mut Attempts,
        deadline: &Deadline,
        why: &Cell<Option<Reason>>,
    ) -> Result<(Opened, Lease), Failure> {
        if attempts.count == 0 {
            self.upstream.metrics.requested(self.worker.index);
        }
        let mut wait = Wait::default();
        loop {
            // Who was beaten to the last room goes on with the attempt that was counted.
            let again = wait.beaten;
            if attempts.failure.is_some() && !again {
                if !std::mem::take(&mut attempts.allowed) && !self.may_retry(cargo, attempts, None)
                {
                    return Err(attempts.verdict());
                }
                self.back_off(attempts).await;
            }
            let picked = self.pick_in_turn(cargo, attempts, &mut wait).await;
            attempts.queued = wait.took.or(attempts.queued);
            let mut lease = match picked? {
                Picked::Lease(lease) => lease,
                Picked::Full => return Err(attempts.verdict()),
                Picked::None if self.await_endpoints(attempts, deadline).await => continue,
                Picked::None => return Err(attempts.verdict()),
            };
            if attempts.count > 0 && !again {
                self.worker.metrics.retries.inc();
            }
            attempts.count += 1;
            attempts.last = Some(Rc::clone(lease.local()));
            attempts.begins();
            let opening = lease.opening(why);
            let reached = self.reach(cargo, opening.lease(), attempts.fresh, deadline);
            let reached = reached.await;
            drop(opening);
            match reached {
                Ok(opened) => {
                    lease.opened();
                    return Ok((opened, lease));
                }
                // Another worker was faster.
                Err(failure) if failure.reason == Reason::QueueFull => {
                    attempts.count -= 1;
                    wait.beaten = true;
                    lease.fail(failure.reason);
                }
                Err(failure) => {
                    let (local, reason) = (Rc::clone(lease.local()), failure.reason);
                    if reason == Reason::Overloaded {
                        // Out of file descriptors: a client that waits for nothing has one.
                        self.worker.timers.shed(1);
                    }
                    lease.fail(reason);
                    attempts.unreached(&local, reason);
                    attempts.failed(local, failure);
                }
            }
        }
    }

    /// Waits until discovery has found out who the endpoints are, if that is not known yet. True if it
    /// is worth picking again.
    async fn await_endpoints(&self, attempts: &mut Attempts, deadline: &Deadline) -> bool {
        if self.upstream.is_original_destination() {
            return false;
        }
        let published = self.upstream.published.notified();
        if !self.view.borrow().is_of(&self.upstream) {
            // They were published since the pick.
            return true;
        }
        let roster = self.upstream.roster();
        if attempts.count > 0 || roster.known {
            if !roster.problem.is_empty() {
                attempts.because(Failure::new(Reason::EndpointUnresolved, &*roster.problem));
            }
            return false;
        }
        let wait = self.worker.timeouts.connect;
        deadline.set(wait);
        if until(deadline, published).await.is_some() {
            return true;
        }
        let detail = format!("no endpoint was discovered in {wait:?}");
        attempts.because(Failure::new(Reason::EndpointUnresolved, detail));
        false
    }

    /// Gives a connection to the leased endpoint.
    async fn reach(
        self: &Rc<Self>,
        cargo: Cargo,
        lease: &Lease,
        fresh: bool,
        deadline: &Deadline,
    ) -> Result<Opened, Failure> {
        let local = lease.local();
        let scheme = lease.endpoint().address.scheme;
        let offer = cargo.offer(scheme, local.multiplexes.speaks.get() == Some(true));
        if matches!(offer, Offer::Http2 | Offer::Either)
            && local.multiplexes.speaks.get() != Some(false)
        {
            if let Some(ticket) = self.ticket(local) {
                return Ok(Opened::Ticket(ticket));
            }
            // Boxed, as the connecting below: rare beside what the task must remember otherwise.
            let ticket = Box::pin(self.multiplexed(offer, lease, deadline)).await?;
            if let Some(opened) = ticket {
                return Ok(opened);
            }
        }
        if let (Cargo::Request { replayable, .. }, false) = (cargo, fresh)
            && let Some(link) = self.pooled(local, replayable)
        {
            return Ok(Opened::Link(link));
        }
        let offer = match offer {
            Offer::Either | Offer::Http2 => Offer::Http1,
            other => other,
        };
        let connected = Box::pin(self.connect(lease, offer, deadline)).await?;
        Ok(Opened::Link(Self::link(connected)))
    }

    /// A place on an HTTP/2 connection, opened if need be, or a connection whose endpoint prefers
    /// HTTP/1; `None` if that is known already.
    async fn multiplexed(
        self: &Rc<Self>,
        offer: Offer,
        lease: &Lease,
        deadline: &Deadline,
    ) -> Result<Option<Opened>, Failure> {
        let local = lease.local();
        let turn = match self.turn(local, deadline).await? {
            Turn::Ticket(ticket) => return Ok(Some(Opened::Ticket(ticket))),
            Turn::Http1 => return Ok(None),
            Turn::Open(turn) => turn,
        };
        let connected = match self.connect(lease, offer, deadline).await {
            Ok(connected) => connected,
            Err(failure) => {
                turn.failed(&failure);
                return Err(failure);
            }
        };
        let secure = lease.endpoint().address.scheme.is_tls();
        let agreed = connected.conn.io().alpn() == Some(b"h2");
        if secure && offer == Offer::Either && !agreed {
            turn.speaks(false);
            return Ok(Some(Opened::Link(Self::link(connected))));
        }
        match self.begin(connected, local, deadline).await {
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

    fn link(connected: Connected) -> Link {
        let Connected {
            conn,
            took,
            berth,
            life,
        } = connected;
        let mut link = Link::new(conn, berth, life);
        link.connect = Some(took);
        link
    }

    /// Takes room for a request at an endpoint, if that is capped.
    fn take_room(&self, local: &Local) -> bool {
        let cap = self.upstream.model.limits.endpoint_requests;
        cap.is_none_or(|cap| local.endpoint.take_request(cap))
    }

    /// Gives it back.
    fn leave_room(&self, local: &Local) {
        if self.upstream.model.limits.endpoint_requests.is_some() {
            local.endpoint.leave_request();
        }
    }

    fn is_full(&self, local: &Local, cargo: Cargo) -> bool {
        let scheme = local.endpoint.address.scheme;
        let offer = cargo.offer(scheme, local.multiplexes.speaks.get() == Some(true));
        let shares = matches!(offer, Offer::Http2 | Offer::Either);
        let streams = shares.then_some(self.worker.http2.max_streams);
        local.is_full(&self.upstream.model.limits, streams)
    }

    /// Picks, behind those who wait for room already.
    async fn pick_in_turn(
        self: &Rc<Self>,
        cargo: Cargo,
        attempts: &Attempts,
        wait: &mut Wait,
    ) -> Result<Picked, Failure> {
        let room = &self.upstream.room;
        let beaten = std::mem::take(&mut wait.beaten);
        let in_line = room.capped && room.queue.waited_for();
        if !beaten && !in_line {
            let picked = self.pick(cargo, attempts);
            if !matches!(picked, Picked::Full) {
                return Ok(picked);
            }
        }
        let pick = || match self.pick(cargo, attempts) {
            Picked::Full => None,
            picked => Some(picked),
        };
        // Boxed: rare beside what the task must remember otherwise.
        let began = Instant::now();
        let picked = Box::pin(self.queue(&mut wait.until, beaten, pick)).await;
        wait.took = Some(wait.took.unwrap_or_default() + began.elapsed());
        picked
    }

    fn pick(self: &Rc<Self>, cargo: Cargo, attempts: &Attempts) -> Picked {
        let room = &self.upstream.room;
        let held = room.capped;
        if held && room.is_full() {
            return Picked::Full;
        }
        match self.pick_local(cargo, attempts) {
            Ok(local) if !held || room.take() => {
                Picked::Lease(Lease::new(Rc::clone(self), local, held))
            }
            Ok(local) => {
                self.leave_room(&local);
                Picked::Full
            }
            Err(true) => Picked::Full,
            Err(false) => Picked::None,
        }
    }

    /// The next endpoint, with its room taken if that is capped; an error says whether there would be one
    /// if it had room.
    fn pick_local(self: &Rc<Self>, cargo: Cargo, attempts: &Attempts) -> Result<Rc<Local>, bool> {
        /// Looks beyond the first. Whom a balancer never picks (weight 0) is not to be waited for.
        const AGAIN: u32 = 8;
        let mut view = self.view.borrow_mut();
        if self.upstream.is_original_destination() {
            let local = self.original(&mut view, attempts).ok_or(false)?;
            return self.take_room(&local).then_some(local).ok_or(true);
        }
        view.follow(&self.upstream, self.cap);
        let (locals, picks) = view.picks(cargo);
        if let Some(token) = attempts.stuck {
            let mut kept = locals.iter().filter(|l| l.endpoint.token() == token);
            let free = |local: &&Rc<Local>| {
                let full = self.upstream.room.capped && self.is_full(local, cargo);
                !full && !attempts.excludes(local) && self.take_room(local)
            };
            if let Some(local) = kept.next().filter(free) {
                return Ok(Rc::clone(local));
            }
        }
        // Who is tried again takes nobody's turn: else, of two endpoints one of which fails, that one would be the
        // first to be asked every time.
        let turn = match attempts.count {
            0 => self.turn.replace(self.turn.get().wrapping_add(1)),
            _ => self.worker.random() as usize,
        };
        let mut again = 0;
        loop {
            let chance = Chance {
                turn,
                random: self.worker.random(),
                key: attempts.key,
            };
            let field = Now {
                share: self,
                locals,
                attempts,
                cargo,
            };
            let picked = picks.balancer.pick(&field, chance);
            let Some(local) = picked.and_then(|index| locals.get(index)) else {
                let free = |local: &&Rc<Local>| {
                    let full = self.upstream.room.capped && self.is_full(local, cargo);
                    !full && !attempts.excludes(local) && self.take_room(local)
                };
                if attempts.count > 0
                    && let Some(local) = view.reserve(cargo).iter().find(free)
                {
                    return Ok(Rc::clone(local));
                }
                let capped = self.upstream.room.capped;
                let mut left = locals.iter().filter(|local| !attempts.excludes(local));
                if capped && left.clone().any(|local| self.is_full(local, cargo)) {
                    return Err(true);
                }
                // They were full when the balancer looked, and another worker has given room back since.
                if capped && again < AGAIN && left.next().is_some() {
                    again += 1;
                    continue;
                }
                return Err(false);
            };
            // Another worker can have taken the last place since.
            if self.take_room(local) {
                return Ok(Rc::clone(local));
            }
        }
    }

    /// The endpoint where the client was headed, unless it has failed.
    fn original(&self, view: &mut View, attempts: &Attempts) -> Option<Rc<Local>> {
        let at = attempts.original?;
        let upstream = &self.upstream;
        let make = || Rc::new(Local::new(&upstream.name, upstream.original(at), self.cap));
        let local = view.originals.entry(at).or_insert_with(make);
        (!attempts.excludes(local)).then(|| Rc::clone(local))
    }

    fn pooled(self: &Rc<Self>, local: &Rc<Local>, replayable: bool) -> Option<Link> {
        loop {
            let (conn, berth) = local.pool.borrow_mut().take()?;
            let mut link = Link::new(conn, berth, Life::new(self, local));
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
