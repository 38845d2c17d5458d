//! What became of spans.

use super::cell::SharedCounter;
use super::page::Page;

/// What became of spans that were recorded.
#[derive(Debug, Default)]
pub struct TraceMetrics {
    /// Spans that the collector has taken.
    pub exported: SharedCounter,
    /// Spans that are lost.
    pub dropped: DroppedSpans,
    /// Exports that failed, each try counted.
    pub failures: SharedCounter,
}

/// Why spans were lost.
#[derive(Debug, Default)]
pub struct DroppedSpans {
    /// There was no room left for them in the queue.
    pub queue_full: SharedCounter,
    /// The collector does not want them.
    pub refused: SharedCounter,
    /// The collector could not be reached, or could not take them, for too long.
    pub unreachable: SharedCounter,
}

impl Page<'_> {
    pub(super) fn traces(&mut self, traces: &TraceMetrics) {
        self.counter(
            "umay_trace_spans_exported",
            "Spans that the collector has taken",
            traces.exported.get(),
        );
        let dropped = &traces.dropped;
        self.counters(
            "umay_trace_spans_dropped",
            "Spans lost: the queue was full, the collector refused them, or it could not be reached",
            [
                ("queue_full", dropped.queue_full.get()),
                ("refused", dropped.refused.get()),
                ("unreachable", dropped.unreachable.get()),
            ]
            .into_iter()
            .map(|(cause, count)| ([("cause", cause)], count)),
        );
        self.counter(
            "umay_trace_export_failures",
            "Messages that the collector did not take, each try counted",
            traces.failures.get(),
        )
    }
}
