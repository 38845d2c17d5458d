//! The text formats: families of one kind, OpenMetrics and the older format made from it.

use std::collections::HashMap;
use std::fmt::{self, Write};

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::cell::Histogram;

type Exemplars = HashMap<usize, Exemplar<NoLabelSet, f64>>;
const NO_EXEMPLARS: Option<&Exemplars> = None;
const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

/// The text under construction. Each method writes one family.
pub(super) struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }
}

impl Page<'_> {
    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &impl EncodeLabelSet,
    ) -> fmt::Result {
        self.describe(name, help, MetricType::Info)?
            .encode_info(labels)
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue + Copy,
    ) -> fmt::Result {
        self.describe(name, help, MetricType::Counter)?
            .encode_counter(&value, NO_EXEMPLAR)
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue + Copy,
    ) -> fmt::Result {
        self.describe(name, help, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.describe(name, help, MetricType::Counter)?;
        for (labels, count) in series {
            metric
                .encode_family(&labels)?
                .encode_counter(&count, NO_EXEMPLAR)?;
        }
        Ok(())
    }

    pub(super) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue + Copy>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.describe(name, help, MetricType::Gauge)?;
        for (labels, value) in series {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, summed: &Summed) -> fmt::Result {
        summed.write(self.describe(name, help, MetricType::Histogram)?)
    }

    pub(super) fn histograms<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = ((&'l str, &'l str), Summed)>,
    ) -> fmt::Result {
        let mut metric = self.describe(name, help, MetricType::Histogram)?;
        for (label, summed) in series {
            // No worker has used it yet.
            if !summed.buckets.is_empty() {
                summed.write(metric.encode_family(&[label])?)?;
            }
        }
        Ok(())
    }

    fn describe<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }
}

/// A histogram over all workers.
pub(super) struct Summed {
    /// Upper bound in seconds, and the count of the bucket alone.
    buckets: Vec<(f64, u64)>,
    seconds: f64,
}

impl Summed {
    pub(super) fn over<'a>(shards: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        let mut nanos = 0_u64;
        for shard in shards {
            let (counts, sum) = shard.read();
            if buckets.is_empty() {
                let bounds = shard.bounds().iter().map(|bound| seconds(*bound));
                let bounds = bounds.chain(std::iter::once(f64::INFINITY));
                buckets = bounds.map(|bound| (bound, 0)).collect();
            }
            for (bucket, count) in buckets.iter_mut().zip(counts) {
                bucket.1 += count;
            }
            nanos = nanos.wrapping_add(sum);
        }
        Self {
            buckets,
            seconds: seconds(nanos),
        }
    }

    fn write(&self, mut metric: MetricEncoder<'_>) -> fmt::Result {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        metric.encode_histogram(self.seconds, count, &self.buckets, NO_EXEMPLARS)
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// The same metrics in Prometheus's older text format, where a counter's family is named with its
/// `_total`, an info is a gauge named with its `_info`, and there is no end mark.
pub(super) fn to_classic(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    // The help comes before the type, which decides on the family's name.
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ').map_or("", |(_, text)| text);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|t| t.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}"
            );
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
