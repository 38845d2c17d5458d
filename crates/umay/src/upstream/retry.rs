//! Whether a request is tried once more.

use std::time::Duration;

use umay_core::balance::{below, mix};

use super::{Attempts, Cargo, Share};

impl Share {
    /// True if the request may be tried once more: there is an endpoint left, it was not tried too often,
    /// and the upstream's budget bears it. Uses up the budget.
    pub fn may_retry(&self, cargo: Cargo, attempts: &Attempts) -> bool {
        let healing = &self.upstream.metrics.healing;
        let tried_enough = attempts.count >= self.upstream.model.retry.attempts;
        if tried_enough || !self.has_untried(cargo, attempts) {
            return false;
        }
        if self.upstream.withdraw() {
            healing.retried.add(1);
            true
        } else {
            healing.budget_spent.add(1);
            false
        }
    }

    /// Waits before the next attempt: not at all before the second, for an endpoint that is down says
    /// nothing of the others, and then a random part of a time that doubles (full jitter).
    pub(super) async fn back_off(&self, attempts: &Attempts) {
        let Some(doublings) = attempts.count.checked_sub(2) else {
            return;
        };
        let most = self.upstream.model.retry.backoff * (1 << doublings.min(10));
        let micros = usize::try_from(most.as_micros()).unwrap_or(usize::MAX);
        let wait = below(mix(self.worker.random()), micros.saturating_add(1));
        tokio::time::sleep(Duration::from_micros(wait as u64)).await;
    }
}
