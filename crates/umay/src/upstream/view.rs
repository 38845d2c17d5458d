//! A roster as one worker sees it: with its own part of each endpoint.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use umay_core::balance::Field;
use umay_core::roster::Standing;

use super::shared::Picks;
use super::{Attempts, Cargo, Endpoint, Local, Roster, Share, Upstream};
use crate::worker::Worker;

/// A roster as a worker sees it, with its own part of each endpoint.
pub(super) struct View {
    /// The roster's generation; 0 is none.
    generation: u64,
    roster: Arc<Roster>,
    /// In the order of the roster's picks.
    requests: Vec<Rc<Local>>,
    streams: Vec<Rc<Local>>,
    /// Likewise, of what is in reserve.
    more_requests: Vec<Rc<Local>>,
    more_streams: Vec<Rc<Local>>,
    all: Vec<Rc<Local>>,
    /// Endpoints that have left, while a connection to them is open.
    leaving: Vec<Rc<Local>>,
    /// Endpoints that were made for where a client was headed.
    pub(super) originals: HashMap<SocketAddr, Rc<Local>>,
}

impl View {
    pub(super) fn new(roster: Arc<Roster>) -> Self {
        Self {
            generation: 0,
            roster,
            requests: Vec::new(),
            streams: Vec::new(),
            more_requests: Vec::new(),
            more_streams: Vec::new(),
            all: Vec::new(),
            leaving: Vec::new(),
            originals: HashMap::new(),
        }
    }

    /// A view of another roster that has the same parts of endpoints that are in both.
    pub(super) fn successor(&self, roster: Arc<Roster>) -> Self {
        Self {
            all: self.all.clone(),
            leaving: self.leaving.clone(),
            originals: self.originals.clone(),
            ..Self::new(roster)
        }
    }

    /// Takes over the roster if it is a new one. Connections to endpoints that stay are kept.
    pub(super) fn follow(&mut self, upstream: &Upstream, cap: usize) {
        // First the number: a roster that comes between is seen again the next time.
        let generation = upstream.generation();
        if self.generation == generation {
            return;
        }
        self.generation = generation;
        self.roster = upstream.roster();
        let old = std::mem::take(&mut self.all).into_iter();
        let mut old: HashMap<_, _> = old
            .map(|local| (Arc::as_ptr(&local.endpoint), local))
            .collect();
        let mut known = HashMap::new();
        for member in &self.roster.members {
            let endpoint = &member.endpoint;
            let local = old.remove(&Arc::as_ptr(endpoint));
            let make = || Rc::new(Local::new(&upstream.name, Arc::clone(endpoint), cap));
            let local = local.unwrap_or_else(make);
            if member.standing == Standing::Draining {
                local.leave();
            } else {
                local.left.set(false);
            }
            known.insert(Arc::as_ptr(endpoint), Rc::clone(&local));
            self.all.push(local);
        }
        for local in old.into_values() {
            local.leave();
            self.leaving.push(local);
        }
        let locals = |endpoints: &[Arc<Endpoint>]| {
            let known = endpoints
                .iter()
                .map(|endpoint| known.get(&Arc::as_ptr(endpoint)));
            known.flatten().cloned().collect()
        };
        self.requests = locals(&self.roster.requests.endpoints);
        self.streams = locals(&self.roster.streams.endpoints);
        self.more_requests = locals(&self.roster.requests.reserve);
        self.more_streams = locals(&self.roster.streams.reserve);
    }

    /// True if it is that of the upstream's latest roster.
    pub(super) fn is_of(&self, upstream: &Upstream) -> bool {
        self.generation == upstream.generation()
    }

    /// Those that may be picked for this cargo.
    pub(super) fn picks(&self, cargo: Cargo) -> (&[Rc<Local>], &Picks) {
        match cargo {
            Cargo::Bytes => (&self.streams, &self.roster.streams),
            Cargo::Request { .. } => (&self.requests, &self.roster.requests),
        }
    }

    /// Those that are in reserve for it.
    pub(super) fn reserve(&self, cargo: Cargo) -> &[Rc<Local>] {
        match cargo {
            Cargo::Bytes => &self.more_streams,
            Cargo::Request { .. } => &self.more_requests,
        }
    }

    /// Its upstream is gone: nothing is kept for later any more, and what is idle is closed.
    pub(super) fn retire(&self, worker: &Worker) {
        let originals = self.originals.values();
        for local in self.all.iter().chain(&self.leaving).chain(originals) {
            local.leave();
            local.sweep(worker, false);
        }
    }

    pub(super) fn sweep(&mut self, share: &Share, wanted: bool) {
        // Who asks for nothing any more has to hear of it too that endpoints have left.
        self.follow(&share.upstream, share.cap);
        let worker = &share.worker;
        let originals = self.originals.values();
        for local in self.all.iter().chain(&self.leaving).chain(originals) {
            local.sweep(worker, wanted);
        }
        let in_use = |local: &Rc<Local>| Rc::strong_count(local) > 1 || !local.is_empty();
        self.leaving.retain(in_use);
        self.originals.retain(|_, local| in_use(local));
    }
}

/// The endpoints as a balancer sees them.
pub(super) struct Now<'a> {
    pub(super) share: &'a Share,
    pub(super) locals: &'a [Rc<Local>],
    pub(super) attempts: &'a Attempts,
    pub(super) cargo: Cargo,
}

impl Now<'_> {
    fn of<T>(&self, index: usize, otherwise: T, ask: impl FnOnce(&Rc<Local>) -> T) -> T {
        self.locals.get(index).map_or(otherwise, ask)
    }
}

impl Field for Now<'_> {
    fn is_out(&self, index: usize) -> bool {
        self.of(index, true, |local| {
            let full = self.share.upstream.room.capped && self.share.is_full(local, self.cargo);
            full || self.attempts.excludes(local)
        })
    }

    fn in_flight(&self, index: usize) -> u64 {
        self.of(index, 0, |local| local.endpoint.in_flight())
    }

    fn all_in_flight(&self) -> Option<u64> {
        let room = &self.share.upstream.room;
        room.capped.then(|| u64::from(room.taken()))
    }

    fn latency(&self, index: usize) -> f64 {
        let now = self.share.worker.timers.now();
        self.of(index, 0.0, |local| local.endpoint.latency(now))
    }

    fn ramp(&self, index: usize) -> f64 {
        let upstream = &self.share.upstream;
        if upstream.model.slow_start.is_zero() {
            return 1.0;
        }
        let now = self.share.worker.timers.now();
        self.of(index, 1.0, |local| {
            local.endpoint.ramp(upstream.model.slow_start, now)
        })
    }
}
