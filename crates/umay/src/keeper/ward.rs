//! One upstream under watch.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use umay_core::balance::mix;
use umay_core::outlier::{Cause, Change, Counts, Outliers};
use umay_core::roster::Standing;

use super::by_hand::ByHand;
use super::pace::Pace;
use super::{Command, Done, Order, Set};
use crate::discover::{self, Resolver};
use crate::probe::{self, Health};
use crate::upstream::{Member, Upstream};

/// Time between two looks at the counts while nothing calls for one.
const LOOK: Duration = Duration::from_millis(500);

/// An upstream under watch.
pub(super) struct Ward {
    upstream: Arc<Upstream>,
    members: Vec<Member>,
    outliers: Outliers,
    /// Why endpoints were ejected, by their id.
    ejected: HashMap<u64, String>,
    by_hand: ByHand,
    commands: mpsc::Receiver<Command>,
    /// The probes of each endpoint, by its id.
    probes: HashMap<u64, Watched>,
    /// What discovery has found.
    found: watch::Receiver<discover::State>,
    /// That it goes on.
    _discovery: AbortOnDrop,
    resolver: Arc<Resolver>,
    /// Why endpoints were ill for probes that are others now.
    was_ill: HashMap<u64, String>,
    /// Upstreams that this one has taken the place of before their endpoints were known, and in which somebody may
    /// wait for them.
    former: Vec<Weak<Upstream>>,
    /// Discovery has begun anew and is not done: some endpoints are known from before.
    inherited: bool,
    /// True until the first endpoints are known: those that come later begin slowly.
    first: bool,
    told: mpsc::UnboundedReceiver<(u64, Health)>,
    tell: mpsc::UnboundedSender<(u64, Health)>,
    pace: Pace,
    /// There is something to publish.
    changed: bool,
    random: u64,
}

/// A task that ends with this.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The probes of one endpoint. They end with it.
struct Watched {
    _task: AbortOnDrop,
    /// Why it is ill, if it is.
    ill: Option<String>,
}

/// Begins to find out who the endpoints of an upstream are.
fn discovery(
    upstream: &Upstream,
    resolver: &Arc<Resolver>,
) -> (watch::Receiver<discover::State>, AbortOnDrop) {
    let model = Arc::new(upstream.model.clone());
    let (report, found) = watch::channel(discover::State::unasked(&model));
    let metrics = Arc::clone(&upstream.discovery);
    let run = discover::run(model, Arc::clone(resolver), metrics, report);
    (found, AbortOnDrop(tokio::spawn(run).abort_handle()))
}

impl Ward {
    /// To be called in the keeper's runtime.
    pub(super) fn new(order: Order) -> Self {
        let Order {
            upstream,
            resolver,
            commands,
            by_hand,
            begun,
        } = order;
        let (found, discovery) = discovery(&upstream, &resolver);
        let (tell, told) = mpsc::unbounded_channel();
        let mut ward = Self {
            members: upstream.roster().members.clone(),
            outliers: Outliers::new(upstream.model.outlier.clone(), upstream.now()),
            ejected: HashMap::new(),
            by_hand,
            commands,
            probes: HashMap::new(),
            was_ill: HashMap::new(),
            former: Vec::new(),
            inherited: false,
            first: !upstream.roster().known,
            found,
            _discovery: discovery,
            resolver,
            told,
            tell,
            pace: Pace::new(&upstream),
            changed: false,
            random: RandomState::new().hash_one(&upstream.name),
            upstream,
        };
        ward.know();
        ward.look();
        drop(begun);
        ward
    }

    /// Watches until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let pause = self.pause();
            let upstream = Arc::clone(&self.upstream);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Set(set)) => self.set(set),
                    Some(Command::Succeed(upstream, resolver)) => self.succeed(upstream, resolver),
                    // The upstream is gone.
                    None => return self.part(self.members.iter()),
                },
                Some((id, health)) = self.told.recv() => self.probed(id, health),
                Ok(()) = self.found.changed() => self.find(),
                () = upstream.attention.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.look();
            self.pace.look(&self.upstream, &mut self.random);
        }
    }

    /// Another upstream takes the place of this one: what is known of endpoints that are in both is kept.
    fn succeed(&mut self, upstream: Arc<Upstream>, resolver: Arc<Resolver>) {
        let same_resolver = Arc::ptr_eq(&self.resolver, &resolver);
        if same_resolver && Arc::ptr_eq(&self.upstream, &upstream) {
            return;
        }
        let (old, new) = (&self.upstream.model, &upstream.model);
        let same_probes = old.probe == new.probe && self.upstream.has_tls_of(&upstream);
        let same_source = old.endpoints == new.endpoints && old.discovery == new.discovery;
        let changes = self.outliers.set(new.outlier.clone());
        let old = std::mem::replace(&mut self.upstream, upstream);
        if !old.roster().known {
            self.former.push(Arc::downgrade(&old));
        }
        self.tell(changes);
        if !same_probes {
            // What the old ones have said goes until the new ones have asked.
            let ill = self.probes.drain();
            self.was_ill = ill
                .filter_map(|(id, watched)| Some((id, watched.ill?)))
                .collect();
        }
        self.resolver = resolver;
        if !(same_source && same_resolver) {
            let members = self.upstream.roster().members.clone();
            let old = std::mem::replace(&mut self.members, members);
            let has_left = |old: &&Member| {
                let same = |have: &Member| Arc::ptr_eq(&have.endpoint, &old.endpoint);
                !self.members.iter().any(same)
            };
            self.part(old.iter().filter(has_left));
            (self.found, self._discovery) = discovery(&self.upstream, &self.resolver);
            self.inherited = true;
            self.welcome();
        }
        self.pace.succeed(&self.upstream);
        self.know();
        self.was_ill.clear();
        self.changed = true;
    }

    /// How long it is until something changes by itself.
    fn pause(&self) -> Duration {
        let now = self.upstream.now();
        let rests = self.members.iter().map(|m| m.endpoint.rests_until());
        let rests = rests.filter(|until| *until > now).min();
        let next = self.outliers.next_change().into_iter().chain(rests).min();
        let next = next.map(|at| Duration::from_millis(at.saturating_sub(now) + 1));
        next.map_or(LOOK, |next| next.min(LOOK))
    }

    /// Discovery has found other endpoints, or that it cannot.
    fn find(&mut self) {
        let state = self.found.borrow_and_update().clone();
        let mut old = std::mem::take(&mut self.members);
        for found in state.found.iter() {
            let is = |member: &Member| {
                member.terms.is(&found.endpoint) && member.endpoint.addresses == found.addresses
            };
            let member = match old.iter().position(is) {
                Some(index) => Member {
                    terms: found.endpoint.clone(),
                    ..old.swap_remove(index)
                },
                None => self.upstream.member(found),
            };
            self.members.push(member);
        }
        if self.inherited {
            // Discovery has begun anew: what it has not asked, or not been answered yet, is as it was.
            self.inherited = !state.settled || state.error.is_some();
            let unknown =
                |member: &Member| !state.found.iter().any(|f| member.terms.is(&f.endpoint));
            let inherited = self.inherited;
            let stays = |member: &mut Member| inherited && unknown(member);
            self.members.extend(old.extract_if(.., stays));
        }
        self.part(old.iter());
        self.welcome();
        self.first &= !state.settled;
        self.know();
        self.changed = true;
    }

    /// These have left.
    fn part<'a>(&self, members: impl Iterator<Item = &'a Member>) {
        let upstream = &*self.upstream.name;
        for member in members {
            member.endpoint.metrics.leave();
            let endpoint = &*member.endpoint.label;
            tracing::info!(upstream, endpoint, "endpoint has left");
        }
    }

    /// Those that are new begin.
    fn welcome(&self) {
        let (upstream, all) = (&*self.upstream.name, self.members.len());
        for member in self.members.iter().filter(|m| m.endpoint.is_new()) {
            let endpoint = &*member.endpoint.label;
            tracing::info!(upstream, endpoint, all, "endpoint has come");
            if self.first {
                member.endpoint.grow_at_once();
            } else {
                member.endpoint.begin(self.upstream.now());
            }
        }
    }

    /// Who there is has changed.
    fn know(&mut self) {
        let ids: Vec<u64> = self.members.iter().map(|m| m.endpoint.id).collect();
        let changes = self.outliers.keep(&ids);
        self.tell(changes);
        let ids: HashSet<u64> = ids.into_iter().collect();
        self.probes.retain(|id, _| ids.contains(id));
        self.ejected.retain(|id, _| ids.contains(id));
        let Some(probe) = &self.upstream.model.probe else {
            return;
        };
        for member in &self.members {
            let endpoint = &member.endpoint;
            self.probes.entry(endpoint.id).or_insert_with(|| {
                let addresses = endpoint.addresses.clone();
                let watch = probe::watch(
                    endpoint.id,
                    probe.clone(),
                    endpoint.address.clone(),
                    move || addresses.clone(),
                    self.upstream.tls().cloned(),
                    self.tell.clone(),
                );
                Watched {
                    _task: AbortOnDrop(tokio::spawn(watch).abort_handle()),
                    ill: self.was_ill.get(&endpoint.id).cloned(),
                }
            });
        }
    }

    /// Probes say that an endpoint has turned.
    fn probed(&mut self, id: u64, health: Health) {
        let Some(watched) = self.probes.get_mut(&id) else {
            return;
        };
        let member = self.members.iter().find(|m| m.endpoint.id == id);
        let endpoint = member.map_or("", |member| &member.endpoint.label);
        let upstream = &*self.upstream.name;
        match health {
            Health::Well => {
                if watched.ill.take().is_some() {
                    if let Some(member) = member {
                        member.endpoint.begin(self.upstream.now());
                    }
                    tracing::info!(upstream, endpoint, "endpoint is well again");
                }
            }
            Health::Ill(why) => {
                tracing::warn!(upstream, endpoint, why, "endpoint is ill");
                watched.ill = Some(why);
            }
        }
    }

    /// Does what somebody wishes of an endpoint, and tells them once it is in force.
    fn set(&mut self, set: Set) {
        let Set {
            endpoint,
            wish,
            asker,
            done,
        } = set;
        let is_it = |member: &&Member| member.endpoint.label == endpoint;
        let configured = self.members.iter().find(is_it).map(|m| m.terms.weight);
        if configured.is_none() && self.by_hand.get(&endpoint).is_none() {
            // Whoever asked may have gone.
            let _ = done.send(None);
            return;
        }
        let before = self.by_hand.get(&endpoint).copied().unwrap_or_default();
        let after = self.by_hand.set(&endpoint, wish, asker);
        self.look();
        let found = self.members.iter().filter(is_it);
        let takes = |m: &Member| m.standing != Standing::Draining && m.weight() > 0;
        let _ = done.send(Some(Done {
            before,
            after,
            configured,
            in_flight: found.map(|member| member.endpoint.in_flight()).sum(),
            nobody: !self.members.iter().any(takes),
        }));
    }

    /// Looks at what has been counted, and publishes what follows from it.
    fn look(&mut self) {
        let now = self.upstream.now();
        let mut changes = Vec::new();
        for member in &self.members {
            self.random = mix(self.random);
            let endpoint = &member.endpoint;
            let counts = Counts {
                ok: endpoint.metrics.sum(|shard| &shard.ok),
                failed: endpoint.metrics.sum(|shard| &shard.failed),
                consecutive: endpoint.row(),
            };
            changes.extend(self.outliers.observe(now, endpoint.id, counts, self.random));
        }
        self.random = mix(self.random);
        changes.extend(self.outliers.tick(now, self.random));
        self.tell(changes);
        let labels = || self.members.iter().map(|m| m.endpoint.label.as_str());
        self.by_hand.look(now, labels);
        if std::mem::take(&mut self.changed) | self.judge(now) {
            self.publish();
        }
    }

    /// Decides how every endpoint is. True if one is not as it was.
    fn judge(&mut self, now: u64) -> bool {
        let mut changed = false;
        let mut rests = self.rests_left(now);
        for member in &mut self.members {
            let endpoint = &member.endpoint;
            let ill = self.probes.get(&endpoint.id).and_then(|w| w.ill.as_deref());
            let set = self.by_hand.get(&endpoint.label).copied();
            let set = set.unwrap_or_default();
            if set.weight != member.set_weight {
                changed = true;
                member.set_weight = set.weight;
            }
            let standing = if set.drained {
                Standing::Draining
            } else if ill.is_some() {
                Standing::Ill
            } else if self.outliers.is_ejected(endpoint.id) {
                Standing::Ejected
            } else if endpoint.rests_until() > now
                && (member.standing == Standing::Resting || rests > 0)
            {
                rests -= usize::from(member.standing != Standing::Resting);
                Standing::Resting
            } else if self.outliers.is_failing(endpoint.id, now) {
                Standing::Failing
            } else {
                Standing::Well
            };
            if standing != member.standing {
                changed = true;
                member.standing = standing;
                member.why = match standing {
                    Standing::Ill => ill.unwrap_or_default().to_owned(),
                    Standing::Ejected => {
                        self.ejected.get(&endpoint.id).cloned().unwrap_or_default()
                    }
                    Standing::Resting => "Retry-After".to_owned(),
                    Standing::Failing => format!("{} failures in a row", endpoint.row()),
                    Standing::Well | Standing::Draining => String::new(),
                };
                endpoint.metrics.set_standing(standing);
            }
        }
        changed
    }

    /// Lets everybody know how the endpoints are.
    fn publish(&mut self) {
        let state = self.found.borrow();
        let problem = state.error.clone().unwrap_or_default();
        let (members, known) = (&self.members, state.settled);
        self.former.retain(|former| {
            let former = former.upgrade();
            former.is_some_and(|former| {
                former.publish(members.clone(), known, problem.clone());
                !known
            })
        });
        self.upstream.publish(members.clone(), known, problem);
    }

    /// How many may begin to rest. Together with those that are ejected they are no more than may be ejected: what
    /// makes an endpoint ask for rest may be one client, which must not take it from all others.
    fn rests_left(&self, now: u64) -> usize {
        let rests = |member: &&Member| {
            member.standing == Standing::Resting && member.endpoint.rests_until() > now
        };
        let out = self.members.iter().filter(rests).count() + self.outliers.ejected();
        self.outliers.allowed().saturating_sub(out)
    }

    /// Says what became of endpoints.
    fn tell(&mut self, changes: Vec<Change>) {
        let (upstream, healing) = (&*self.upstream.name, &self.upstream.metrics.healing);
        let named = |id: u64| self.members.iter().find(|m| m.endpoint.id == id);
        for change in changes {
            match change {
                Change::Ejected { id, cause, time } => {
                    match cause {
                        Cause::Consecutive(_) => healing.ejected_row.add(1),
                        Cause::SuccessRate { .. } => healing.ejected_rate.add(1),
                    }
                    let Some(member) = named(id) else { continue };
                    let endpoint = &*member.endpoint.label;
                    let cause = match cause {
                        Cause::Consecutive(row) => format!("{row} failures in a row"),
                        Cause::SuccessRate { ok, requests } => {
                            format!("{ok} of {requests} requests went well")
                        }
                    };
                    tracing::warn!(upstream, endpoint, cause, ?time, "endpoint ejected");
                    self.ejected.insert(id, cause);
                }
                Change::Readmitted { id } => {
                    healing.readmitted.add(1);
                    self.ejected.remove(&id);
                    let Some(member) = named(id) else { continue };
                    member.endpoint.begin(self.upstream.now());
                    let endpoint = &*member.endpoint.label;
                    tracing::info!(upstream, endpoint, "endpoint readmitted");
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "ward_tests.rs"]
mod tests;
