//! How metrics are pushed to a collector.

use std::time::Duration;

use super::{Collector, Tracing};

/// A push of metrics that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Where metrics go.
    pub collector: Collector,
    /// How often. Default 60 s.
    pub interval: Duration,
    /// How histograms are told.
    pub histograms: Histograms,
    /// Who tells (`service.name`). Default: as spans have it, or else `umay`.
    pub service_name: String,
    /// Further attributes of who tells, by name. Default: those of spans.
    pub attributes: Vec<(String, String)>,
}

/// The ways to tell a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// In the buckets that `/metrics` has as text (`explicit_bucket_histogram`).
    #[default]
    Explicit,
    /// In fine ones (`base2_exponential_bucket_histogram`).
    Exponential,
}

impl Push {
    /// A push to this collector, all else as it is by default; `beside` is who tells of spans, if they are told.
    pub fn new(collector: Collector, beside: Option<&Tracing>) -> Self {
        let own = || ("umay".to_owned(), Vec::new());
        let (service_name, attributes) = beside.map_or_else(own, |tracing| {
            (tracing.service_name.clone(), tracing.attributes.clone())
        });
        Self {
            collector,
            interval: Duration::from_secs(60),
            histograms: Histograms::default(),
            service_name,
            attributes,
        }
    }
}
