//! One probe after the other, for as long as somebody wants to know.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};
use umay_core::model::{Endpoint, Probe};
use umay_core::probe::{Change, Row};

use super::verdict;
use crate::tls::ClientTls;

/// What probes say of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is well.
    Well,
    /// It is ill: what the last probe asked, and what came.
    Ill(String),
}

/// The shortest time between two probes, so that none is ever a busy loop: 10 ms.
const SHORTEST: Duration = Duration::from_millis(10);

/// Asks an endpoint again and again, and tells of each change: the first probe decides alone, since nothing is
/// known before it, and then rows as long as `rise` and `fall`. `addresses` is asked before each probe; none is
/// a failure. `id` goes along with what is told.
///
/// The first probe comes within a tenth of the interval, by chance: soon, since what is not known yet may be
/// ill, but not all at once. The others come an interval after the beginning of the one before, a fifth
/// more or less, or at its end if that is later.
///
/// Ends when it is dropped, or when nobody listens any more.
pub async fn watch(
    id: u64,
    probe: Probe,
    endpoint: Endpoint,
    mut addresses: impl FnMut() -> Vec<SocketAddr>,
    tls: Option<ClientTls>,
    changes: UnboundedSender<(u64, Health)>,
) {
    let interval = probe.interval.max(SHORTEST);
    let mut row = Row::new(probe.rise, probe.fall);
    let mut wait = first(interval, random());
    loop {
        sleep(wait).await;
        let started = Instant::now();
        let found = addresses();
        // In a box, so that a watch that waits is small.
        let asked = Box::pin(verdict(&probe, &endpoint, &found, tls.as_ref()));
        let asked = asked.await.map_err(|failure| {
            let (host, port) = (&endpoint.host, endpoint.port);
            tracing::debug!(host, port, failure.ours, "probe: {}", failure.why);
            failure
        });
        let change = match &asked {
            // We could not ask, so nothing is known.
            Err(failure) if failure.ours => None,
            outcome => row.record(outcome.is_ok()),
        };
        let health = match (change, asked) {
            (Some(Change::Rose), _) => Some(Health::Well),
            (Some(Change::Fell), Err(failure)) => Some(Health::Ill(failure.why)),
            _ => None,
        };
        if let Some(health) = health {
            // Whether anybody listens is looked at below.
            let _ = changes.send((id, health));
        }
        if changes.is_closed() {
            return;
        }
        wait = next(interval, random()).saturating_sub(started.elapsed());
    }
}

/// 64 random bits, not for secrets: each of these is seeded by the system and by a count.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Up to a tenth of the interval.
fn first(interval: Duration, random: u64) -> Duration {
    share(interval, random % 101)
}

/// The interval and up to a fifth more or less.
fn next(interval: Duration, random: u64) -> Duration {
    share(interval, 800 + random % 401)
}

fn share(whole: Duration, thousandths: u64) -> Duration {
    let thousandths = u32::try_from(thousandths).unwrap_or(u32::MAX);
    whole.saturating_mul(thousandths) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spread_and_have_bounds() {
        let interval = Duration::from_secs(5);
        let millis = Duration::from_millis;
        for (random, first_one, next_one) in [
            (0, 0, 4000),
            (100, 500, 4500),
            (400, 485, 6000),
            (401, 490, 4000),
        ] {
            assert_eq!(first(interval, random), millis(first_one));
            assert_eq!(next(interval, random), millis(next_one));
        }
        next(Duration::MAX, u64::MAX);
        let some: std::collections::BTreeSet<u64> = (0..100).map(|_| random()).collect();
        assert_eq!(some.len(), 100);
    }
}
