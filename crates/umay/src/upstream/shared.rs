//! An upstream as the whole process shares it: its endpoints as they are now, and who of them may be
//! picked.
//!
//! What changes is put into a new [`Roster`] and published whole, so a worker that picks looks at one
//! number to know that nothing has changed. Only the upstream's keeper publishes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use umay_core::balance::{Balancer, Candidate, Load};
use umay_core::budget::Budget;
use umay_core::model::{self, ProbeKind, Scheme, Source};
use umay_core::quantile::Quantiles;
use umay_core::roster::{self, Standing};

use super::Endpoint;
use super::room::Room;
use crate::conn;
use crate::discover::{self, Found};
use crate::telemetry::metrics::{DiscoveryMetrics, UpstreamMetrics};
use crate::tls::{ClientTls, TlsProblem};

/// A named group of endpoints.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// What is configured of it.
    pub model: model::Upstream,
    /// Its metrics.
    pub metrics: Arc<UpstreamMetrics>,
    /// Those of its discovery.
    pub(crate) discovery: Arc<DiscoveryMetrics>,
    /// Umay's own zone.
    zone: Option<String>,
    pub(super) tls: Option<ClientTls>,
    roster: ArcSwap<Roster>,
    generation: AtomicU64,
    /// Something has happened that the keeper should look at now.
    pub(crate) attention: Notify,
    /// There are new endpoints, for those who found none.
    pub(super) published: Notify,
    /// How much room there is for requests.
    pub(crate) room: Arc<Room>,
    /// How many retries it may bear. Looked at only when an attempt has failed.
    budget: Mutex<Budget>,
    /// Latencies that workers have brought and the keeper has not taken yet; only if somebody wants them.
    samples: Mutex<Quantiles>,
    /// A request is late after so many microseconds.
    hedge_after: AtomicU64,
}

/// The endpoints of an upstream at one time.
pub struct Roster {
    /// All of them.
    pub members: Vec<Member>,
    /// For requests in HTTP.
    pub(super) requests: Picks,
    /// For raw streams.
    pub(super) streams: Picks,
    /// False until discovery has found out who they are.
    pub known: bool,
    /// Why discovery has no newer answer; empty if it has.
    pub problem: String,
}

/// An endpoint and how it is now.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub endpoint: Arc<Endpoint>,
    /// Its weight, group and zone, as the configuration or a registry says; they may change while it lives.
    pub terms: model::Endpoint,
    /// The weight that somebody has set by hand in place of that.
    pub set_weight: Option<u32>,
    /// How it is.
    pub standing: Standing,
    /// Why, for people; empty if it is well.
    pub why: String,
}

/// Those that may be picked for a kind of load, and what picks them.
pub(super) struct Picks {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// For what has failed at all of these: the best first.
    pub(super) reserve: Vec<Arc<Endpoint>>,
    /// How many of those are well, in another group or zone.
    pub(super) good: usize,
    pub(super) balancer: Box<dyn Balancer>,
}

impl Upstream {
    /// Prepares an upstream. Reads the files that its TLS needs. Of the one whose place it takes it is the same if
    /// nothing has changed, and else has the same endpoints as far as they are in both.
    pub fn build(
        model: &model::Upstream,
        zone: Option<&str>,
        (metrics, discovery): (Arc<UpstreamMetrics>, Arc<DiscoveryMetrics>),
        old: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Vec<TlsProblem>> {
        let probed = model
            .probe
            .as_ref()
            .is_some_and(|probe| probe.kind == ProbeKind::Tls);
        let is_fresh = |old: &Self| old.tls.as_ref().is_none_or(|tls| tls.is_fresh(&model.tls));
        let same =
            |old: &&Arc<Self>| old.model == *model && old.zone.as_deref() == zone && is_fresh(old);
        if let Some(old) = old.filter(same) {
            return Ok(Arc::clone(old));
        }
        // A registry may know endpoints that want TLS.
        let told = model.discovery.is_some();
        let wants_tls = told || probed || model.schemes().any(Scheme::is_tls);
        let tls = wants_tls.then(|| ClientTls::load(&model.tls)).transpose()?;
        let state = discover::State::unasked(model);
        let members = state.found.iter().map(|found| {
            let member = Member::new(found, &metrics);
            if old.is_none() {
                member.endpoint.grow_at_once();
            }
            member
        });
        let (members, known) = match old {
            Some(old) => old.heirs(model, members.collect(), state.settled),
            None => (members.collect(), state.settled),
        };
        let mut roster = Roster::new(model, zone, members);
        roster.known = known;
        let room = old.filter(|old| old.model.limits == model.limits);
        let room = room.map_or_else(
            || Arc::new(Room::new(&model.limits)),
            |old| Arc::clone(&old.room),
        );
        Ok(Arc::new(Self {
            name: model.name.clone(),
            model: model.clone(),
            metrics,
            discovery,
            zone: zone.map(str::to_owned),
            tls,
            roster: ArcSwap::from_pointee(roster),
            generation: AtomicU64::new(1),
            attention: Notify::new(),
            published: Notify::new(),
            room,
            budget: Mutex::new(Budget::new(
                model.retry.budget,
                model.retry.floor,
                0,
                conn::now(),
            )),
            samples: Mutex::default(),
            hedge_after: AtomicU64::new(u64::MAX),
        }))
    }

    /// The members of an upstream that takes its place, `asked` being those that it knows without asking anybody; and
    /// whether all are known.
    fn heirs(
        &self,
        model: &model::Upstream,
        asked: Vec<Member>,
        settled: bool,
    ) -> (Vec<Member>, bool) {
        let roster = self.roster();
        let kept = |terms: &model::Endpoint| model.endpoints.iter().find(|e| e.is(terms));
        let same_source = model.discovery == self.model.discovery;
        let own = |terms: &model::Endpoint| self.model.endpoints.iter().any(|e| e.is(terms));
        let mut members: Vec<Member> = roster
            .members
            .iter()
            .filter_map(|member| match kept(&member.terms) {
                Some(terms) => Some(Member {
                    terms: terms.clone(),
                    ..member.clone()
                }),
                None => (same_source && !own(&member.terms)).then(|| member.clone()),
            })
            .collect();
        for member in asked {
            let has = |have: &Member| {
                have.terms.is(&member.terms) && have.endpoint.addresses == member.endpoint.addresses
            };
            if !members.iter().any(has) {
                members.push(member);
            }
        }
        let all_old = model.endpoints.iter().all(own);
        let known = settled || (roster.known && same_source && all_old);
        (members, known)
    }

    /// The endpoints as they are now.
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.load_full()
    }

    /// Goes up with each new roster.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Milliseconds since [`conn::START`]: the clock of all that is told of its endpoints.
    pub fn now(&self) -> u64 {
        conn::now()
    }

    /// True if TLS is spoken as by this other one.
    pub(crate) fn has_tls_of(&self, other: &Self) -> bool {
        let same_files = match (&self.tls, &other.tls) {
            (Some(ours), Some(theirs)) => ours.has_files_of(theirs),
            // Where nothing is over TLS, it makes no difference.
            _ => true,
        };
        same_files && self.model.tls == other.model.tls
    }

    /// How TLS is spoken to endpoints that want it.
    pub(crate) fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// True if it makes a difference what the key of a request is.
    pub fn wants_key(&self) -> bool {
        self.model.balance.wants_key()
    }

    /// True if it connects to wherever the client was headed.
    pub fn is_original_destination(&self) -> bool {
        let discovery = self.model.discovery.as_ref();
        discovery.is_some_and(|discovery| discovery.source == Source::OriginalDestination)
    }

    /// True if one more retry is within the budget, which is thereby used.
    pub(super) fn withdraw(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let may = budget.withdraw(self.metrics.requests(), self.now());
        let left = budget.balance();
        self.metrics.healing.budget.store(left, Ordering::Relaxed);
        may
    }

    /// True if latencies are of use to anybody.
    pub(super) fn wants_samples(&self) -> bool {
        self.model.limits.adaptive || self.model.hedge.is_some()
    }

    /// Takes the latencies that a worker has seen.
    pub(super) fn bring_samples(&self, samples: &Quantiles) {
        self.samples().add(samples);
    }

    /// The latencies that workers have seen since the last time; only the keeper asks.
    pub(crate) fn take_samples(&self) -> Quantiles {
        std::mem::take(&mut *self.samples())
    }

    fn samples(&self) -> MutexGuard<'_, Quantiles> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a request is late; `None` if that is not known, or nobody cares.
    pub fn hedge_after(&self) -> Option<Duration> {
        let micros = self.hedge_after.load(Ordering::Relaxed);
        (micros != u64::MAX).then(|| Duration::from_micros(micros))
    }

    /// Sets when a request is late.
    pub(crate) fn set_hedge_after(&self, wait: Option<Duration>) {
        let micros = wait.and_then(|wait| u64::try_from(wait.as_micros()).ok());
        let micros = micros.unwrap_or(u64::MAX);
        self.hedge_after.store(micros, Ordering::Relaxed);
    }

    /// An endpoint that was found, as a member.
    pub(crate) fn member(&self, found: &Found) -> Member {
        Member::new(found, &self.metrics)
    }

    /// An endpoint for where a client was headed.
    pub(super) fn original(&self, at: SocketAddr) -> Arc<Endpoint> {
        let host = at.ip().to_string();
        let address = model::Endpoint::new(Scheme::Detected, host, at.port());
        let metrics = |label: &str| self.metrics.unlisted(label);
        Arc::new(Endpoint::new(address, vec![at], metrics))
    }

    /// Makes these the endpoints from now on.
    pub(crate) fn publish(&self, members: Vec<Member>, known: bool, problem: String) {
        let mut roster = Roster::new(&self.model, self.zone.as_deref(), members);
        (roster.known, roster.problem) = (known, problem);
        self.roster.store(Arc::new(roster));
        self.generation.fetch_add(1, Ordering::Release);
        self.published.notify_waiters();
    }
}

impl Member {
    fn new(found: &Found, metrics: &UpstreamMetrics) -> Self {
        let terms = found.endpoint.clone();
        let metrics = |label: &str| metrics.endpoint(label);
        let endpoint = Endpoint::new(terms.clone(), found.addresses.clone(), metrics);
        Self {
            endpoint: Arc::new(endpoint),
            terms,
            set_weight: None,
            standing: Standing::Well,
            why: String::new(),
        }
    }

    /// Its share beside the others': as set by hand, or else as configured. 0 gets no new requests.
    pub fn weight(&self) -> u32 {
        self.set_weight.unwrap_or(self.terms.weight)
    }
}

impl Roster {
    fn new(model: &model::Upstream, zone: Option<&str>, members: Vec<Member>) -> Self {
        let picks = |load, serves: fn(Scheme) -> bool| {
            let serving = members.iter().filter(|m| serves(m.terms.scheme));
            let serving: Vec<&Member> = serving.collect();
            let seen = serving.iter().map(|member| roster::Member {
                weight: member.weight(),
                priority: member.terms.priority,
                zone: member.terms.zone.as_deref(),
                standing: member.standing,
            });
            let seen: Vec<_> = seen.collect();
            let usable = roster::usable(&seen, model.panic, zone);
            let (reserve, good) = roster::reserve(&seen, &usable);
            let those = |places: Vec<usize>| -> Vec<&Member> {
                let found = places.into_iter().filter_map(|place| serving.get(place));
                found.copied().collect()
            };
            let (usable, reserve) = (those(usable), those(reserve));
            let candidates = usable.iter().map(|member| Candidate {
                id: member.endpoint.id,
                weight: member.weight(),
            });
            Picks {
                balancer: model.balance.build(&candidates.collect::<Vec<_>>(), load),
                endpoints: usable.iter().map(|m| Arc::clone(&m.endpoint)).collect(),
                reserve: reserve.iter().map(|m| Arc::clone(&m.endpoint)).collect(),
                good,
            }
        };
        Self {
            requests: picks(Load::Requests, Scheme::serves_http),
            streams: picks(Load::Streams, Scheme::serves_tcp),
            members,
            known: true,
            problem: String::new(),
        }
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.members).finish()
    }
}
