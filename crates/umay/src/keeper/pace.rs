//! How fast an upstream is: what the adaptive cap and hedging are decided by.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use umay_core::balance::mix;
use umay_core::concurrency::{Adaptive, Window};
use umay_core::model::Hedge;
use umay_core::quantile::Quantiles;

use crate::upstream::Upstream;

/// Workers bring what they have seen once a second, so more often there is nothing new.
const WINDOW: Duration = Duration::from_secs(1);

/// Windows after which what was seen counts half: latencies change with the load, in tens of seconds.
const HALF_LIFE: u32 = 10;

/// What is remembered of an upstream's pace.
pub(super) struct Pace {
    adaptive: Option<Adaptive>,
    history: Quantiles,
    windows: u32,
    /// When the window ends, on the upstream's clock.
    until: u64,
}

impl Pace {
    /// Nothing is known yet; an adaptive cap begins low.
    pub(super) fn new(upstream: &Upstream) -> Self {
        let limits = &upstream.model.limits;
        let pace = Self {
            adaptive: limits.adaptive.then(|| Adaptive::new(limits.requests)),
            history: Quantiles::default(),
            windows: 0,
            until: 0,
        };
        pace.set_limit(upstream);
        pace
    }

    /// Another upstream takes the place of that one: what is known goes for it, too.
    pub(super) fn succeed(&mut self, upstream: &Upstream) {
        let limits = &upstream.model.limits;
        match &mut self.adaptive {
            Some(adaptive) if limits.adaptive => adaptive.set(limits.requests),
            adaptive => *adaptive = limits.adaptive.then(|| Adaptive::new(limits.requests)),
        }
        self.set_limit(upstream);
        if let Some(hedge) = &upstream.model.hedge {
            upstream.set_hedge_after(self.late(hedge));
        } else {
            self.history = Quantiles::default();
        }
    }

    fn set_limit(&self, upstream: &Upstream) {
        if let Some(adaptive) = &self.adaptive {
            upstream.room.set_limit(adaptive.limit());
        }
        let limit = self.adaptive.as_ref().map(Adaptive::limit);
        let limit = limit.or(upstream.model.limits.requests);
        let limit = limit.map_or(0, u64::from);
        upstream.metrics.healing.limit.store(limit, Relaxed);
    }

    /// When a request is late.
    fn late(&self, hedge: &Hedge) -> Option<Duration> {
        let late = self.history.quantile(hedge.quantile / 100.0);
        late.map(|late| late.max(hedge.min_delay))
    }

    /// Takes what has been seen, if a window is over, and sets what follows from it.
    pub(super) fn look(&mut self, upstream: &Upstream, random: &mut u64) {
        let now = upstream.now();
        if (self.adaptive.is_none() && upstream.model.hedge.is_none()) || now < self.until {
            return;
        }
        self.until = now.saturating_add(WINDOW.as_millis() as u64);
        let samples = upstream.take_samples();
        if let Some(adaptive) = &mut self.adaptive {
            let (peak, dropped) = upstream.room.take_counts();
            let window = Window {
                latency: samples.quantile(0.5).unwrap_or_default(),
                count: samples.count() as u64,
                in_flight: u64::from(peak),
                dropped,
            };
            *random = mix(*random);
            let limit = adaptive.feed(window, *random);
            upstream.room.set_limit(limit);
            upstream
                .metrics
                .healing
                .limit
                .store(u64::from(limit), Relaxed);
        }
        if let Some(hedge) = &upstream.model.hedge {
            self.history.add(&samples);
            self.windows += 1;
            if self.windows.is_multiple_of(HALF_LIFE) {
                self.history.decay();
            }
            upstream.set_hedge_after(self.late(hedge));
        }
    }
}
