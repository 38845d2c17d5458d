//! The retry budget: how many requests of an upstream may be tried again.

use crate::model::Retry;

/// A store of retries that requests fill and retries empty.
#[derive(Clone, Debug)]
pub struct Budget {
    share: f64,
    floor: f64,
    tokens: f64,
    requests: u64,
    at: u64,
}

/// Time over which what was not used adds up, in milliseconds.
const WINDOW: f64 = 10_000.0;

impl Budget {
    /// A budget that has its floor for a whole window.
    pub fn new(retry: &Retry) -> Self {
        let floor = f64::from(retry.floor) / 1_000.0;
        Self {
            share: f64::from(retry.budget) / 100.0,
            floor,
            tokens: floor * WINDOW,
            requests: 0,
            at: 0,
        }
    }

    /// True if one more retry is within the budget, which is thereby used. `requests` counts all requests so far, `now` is in milliseconds.
    pub fn withdraw(&mut self, requests: u64, now: u64) -> bool {
        let more = requests.saturating_sub(self.requests) as f64 * self.share;
        let time = now.saturating_sub(self.at) as f64;
        let most = self.floor * WINDOW + more.max(self.share * 1_000.0);
        self.tokens = (self.tokens + more + time * self.floor).min(most);
        (self.requests, self.at) = (requests, now);
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }

    /// Retries that are left.
    pub fn balance(&self) -> f64 {
        self.tokens
    }
}
