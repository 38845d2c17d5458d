//! How an upstream and its endpoints are now, as `/status`, the admin socket and `umay explain` tell it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::shared::Picks;
use super::{Endpoint, Member, Roster};

/// Whether new requests or streams go to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It may be picked.
    Yes,
    /// Only for what has failed at all that may be picked.
    Reserve,
    /// It gets nothing new.
    No,
}

impl Rank {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Reserve => "reserve",
            Self::No => "no",
        }
    }
}

impl Roster {
    /// Whether requests go to an endpoint.
    pub fn requests_to(&self, endpoint: &Arc<Endpoint>) -> Rank {
        turn(&self.requests, endpoint)
    }

    /// Whether streams go to an endpoint.
    pub fn streams_to(&self, endpoint: &Arc<Endpoint>) -> Rank {
        turn(&self.streams, endpoint)
    }
}

fn turn(picks: &Picks, endpoint: &Arc<Endpoint>) -> Rank {
    let has = |all: &[Arc<Endpoint>]| all.iter().any(|one| Arc::ptr_eq(one, endpoint));
    if has(&picks.endpoints) {
        Rank::Yes
    } else if has(&picks.reserve) {
        Rank::Reserve
    } else {
        Rank::No
    }
}

impl Member {
    /// How it is, at `now` of its upstream's clock.
    pub fn told(&self, now: u64) -> Value {
        let (endpoint, terms) = (&self.endpoint, &self.terms);
        let latency = endpoint.latency(now);
        // Nothing is known of one that was not asked for a while.
        let latency = (latency > 0.0).then(|| latency.round() / 1000.0);
        json!({
            "address": endpoint.label,
            "standing": self.standing.as_str(),
            "why": self.why,
            "weight": self.weight(),
            "configured_weight": terms.weight,
            "priority": terms.priority,
            "zone": terms.zone,
            "in_flight": endpoint.in_flight(),
            "latency_ms": latency,
            "picks": endpoint.metrics.sum(|shard| &shard.picks),
            "failures": endpoint.metrics.sum(|shard| &shard.failed),
        })
    }
}
