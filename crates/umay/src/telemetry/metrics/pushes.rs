//! What became of pushes of these metrics.

use super::cell::SharedCounter;
use super::page::Page;

/// What became of pushes to a collector.
#[derive(Debug, Default)]
pub struct PushMetrics {
    /// Pushes that the collector has taken.
    pub taken: SharedCounter,
    /// Pushes that it has not, or not whole.
    pub failed: SharedCounter,
    /// Messages that failed, each try counted.
    pub failures: SharedCounter,
    /// Points that the collector does not want, of messages that it has taken.
    pub refused: SharedCounter,
}

impl Page<'_> {
    pub(super) fn pushes(&mut self, pushes: &PushMetrics) {
        self.counters(
            "umay_metrics_pushes",
            "Times that all metrics were sent to the collector, and whether it took them",
            [("ok", pushes.taken.get()), ("failed", pushes.failed.get())]
                .into_iter()
                .map(|(result, count)| ([("result", result)], count)),
        );
        self.counter(
            "umay_metrics_export_failures",
            "Messages with metrics that the collector did not take, each try counted",
            pushes.failures.get(),
        );
        self.counter(
            "umay_metrics_points_refused",
            "Values that the collector did not take out of messages that it took",
            pushes.refused.get(),
        )
    }
}
