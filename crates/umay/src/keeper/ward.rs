//! One upstream under watch.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use umay_core::balance::mix;
use umay_core::outlier::{Cause, Change, Counts, Outliers};
use umay_core::roster::Standing;

use super::Command;
use super::pace::Pace;
use crate::upstream::{Endpoint, Member, Upstream};

/// Time between two looks at the counts while nothing calls for one.
const LOOK: Duration = Duration::from_millis(500);

/// An upstream under watch.
pub(super) struct Ward {
    upstream: Arc<Upstream>,
    members: Vec<Member>,
    outliers: Outliers,
    /// Labels of endpoints that are to get no new requests.
    drained: BTreeSet<String>,
    commands: mpsc::Receiver<Command>,
    pace: Pace,
    random: u64,
}

impl Ward {
    pub(super) fn new(upstream: &Arc<Upstream>, commands: mpsc::Receiver<Command>) -> Self {
        let mut ward = Self {
            upstream: Arc::clone(upstream),
            members: upstream.roster().members.clone(),
            outliers: Outliers::new(upstream.model.outlier.clone(), upstream.now()),
            drained: BTreeSet::new(),
            commands,
            pace: Pace::new(upstream),
            random: RandomState::new().hash_one(&upstream.name),
        };
        ward.know();
        ward
    }

    /// Watches until it is dropped.
    pub(super) async fn run(mut self) {
        let upstream = Arc::clone(&self.upstream);
        loop {
            let pause = self.pause();
            tokio::select! {
                Some(command) = self.commands.recv() => self.obey(command),
                () = upstream.attention.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.look();
            self.pace.look(&self.upstream, &mut self.random);
        }
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

    /// Who there is has changed.
    fn know(&mut self) {
        let ids: Vec<u64> = self.members.iter().map(|m| m.endpoint.id).collect();
        let changes = self.outliers.keep(&ids);
        self.tell(changes);
    }

    fn obey(&mut self, command: Command) {
        let Command {
            endpoint,
            drain,
            done,
        } = command;
        let found = self.members.iter().filter(|m| m.endpoint.label == endpoint);
        let found = found.count();
        if found > 0 {
            let upstream = &*self.upstream.name;
            tracing::info!(
                upstream,
                endpoint,
                drain,
                "asked to drain an endpoint, or not"
            );
            if drain {
                self.drained.insert(endpoint);
            } else {
                self.drained.remove(&endpoint);
            }
        }
        // Whoever asked may have gone.
        let _ = done.send(found);
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
        let mut changed = false;
        for member in &mut self.members {
            let standing = standing(&member.endpoint, &self.outliers, &self.drained, now);
            if standing != member.standing {
                changed = true;
                member.standing = standing;
                member.endpoint.metrics.set_standing(standing);
            }
        }
        if changed {
            self.upstream
                .publish(self.members.clone(), true, String::new());
        }
    }

    /// Says what became of endpoints.
    fn tell(&self, changes: Vec<Change>) {
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
                }
                Change::Readmitted { id } => {
                    healing.readmitted.add(1);
                    let Some(member) = named(id) else { continue };
                    member.endpoint.begin(self.upstream.now());
                    let endpoint = &*member.endpoint.label;
                    tracing::info!(upstream, endpoint, "endpoint readmitted");
                }
            }
        }
    }
}

/// How an endpoint is.
fn standing(
    endpoint: &Endpoint,
    outliers: &Outliers,
    drained: &BTreeSet<String>,
    now: u64,
) -> Standing {
    if drained.contains(&endpoint.label) {
        Standing::Draining
    } else if outliers.is_ejected(endpoint.id) {
        Standing::Ejected
    } else if endpoint.rests_until() > now {
        Standing::Resting
    } else {
        Standing::Well
    }
}
