//! Whether a request is tried once more.

use std::rc::Rc;
use std::time::Duration;

use umay_core::balance::{below, mix};

use super::{Attempts, Cargo, Local, Share};

impl Share {
    /// True if what the last endpoint has answered may be thrown away, for another may do better. Uses up the budget.
    pub fn may_try_another(&self, cargo: Cargo, attempts: &Attempts) -> bool {
        self.may_retry(cargo, attempts, attempts.last.as_ref())
    }

    /// True if the request may be tried once more: there is an endpoint left `but` this one, it was not tried too
    /// often, and the upstream's budget bears it. Uses up the budget.
    pub(super) fn may_retry(
        &self,
        cargo: Cargo,
        attempts: &Attempts,
        but: Option<&Rc<Local>>,
    ) -> bool {
        let retry = &self.upstream.model.retry;
        let may = attempts.count < retry.attempts
            && self.has_untried(cargo, attempts, but)
            && self.withdraw();
        if may {
            self.upstream.metrics.healing.retried.add(1);
        }
        may
    }

    /// True if another endpoint may be asked for a late answer, on the same conditions.
    pub fn may_hedge(&self, cargo: Cargo, attempts: &Attempts) -> bool {
        let retry = &self.upstream.model.retry;
        let may = attempts.count < retry.attempts.max(2)
            && self.has_untried(cargo, attempts, attempts.last.as_ref())
            && self.withdraw();
        if may {
            self.upstream.metrics.healing.hedged.add(1);
        }
        may
    }

    fn withdraw(&self) -> bool {
        let may = self.upstream.withdraw();
        if !may {
            self.upstream.metrics.healing.budget_spent.add(1);
        }
        may
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
