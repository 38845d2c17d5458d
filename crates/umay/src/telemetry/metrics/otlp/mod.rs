//! OTLP's format of metrics (`opentelemetry.proto.metrics.v1`): what is pushed to a collector.
//!
//! Numbers are cumulative, so a push that is lost costs nothing but its moment. What is written are the metrics
//! of a scope, in parts of which each fits into a message; who sends them puts the frame around.

mod names;
mod starts;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::time::SystemTime;

use umay_core::model::Histograms;

use super::exemplar::Exemplar;
use super::native::SCHEMA;
use super::page::{Family, Labels, Number, Sink, Summed, Value};
use super::registry::Registry;
use crate::telemetry::otlp::text;
use crate::telemetry::protobuf::{
    bytes, double, fixed64, nested, number, packed, packed_fixed64, signed,
};
use names::{Named, Shape, named};
pub use starts::Starts;
use starts::{Round, nanos};

/// Bytes after which a part is full. A family may be in several. Collectors take messages of 4 MiB by default,
/// and what comes on top of this, one point and the frame, is far less than that.
const FULL: usize = 512 * 1024;

/// The family that tells what is measured. A collector makes it of the resource, which tells the same.
const TARGET: &str = "target";

/// `metrics` of `ScopeMetrics`.
const METRIC: u32 = 2;
/// Fields of `Metric`.
const NAME: u32 = 1;
const DESCRIPTION: u32 = 2;
const UNIT: u32 = 3;
const GAUGE: u32 = 5;
const SUM: u32 = 7;
const HISTOGRAM: u32 = 9;
const EXPONENTIAL: u32 = 10;
/// `data_points` of all kinds, and what follows it but for gauges.
const POINT: u32 = 1;
const TEMPORALITY: u32 = 2;
const MONOTONIC: u32 = 3;
/// Of `AggregationTemporality`.
const CUMULATIVE: u64 = 2;
/// Fields of all kinds of points.
const START: u32 = 2;
const TIME: u32 = 3;

/// A part of what is told at one time.
#[derive(Debug, Default)]
pub struct Points {
    /// Fields of `ScopeMetrics`, one after the other.
    pub bytes: Vec<u8>,
    /// Points in them.
    pub count: u64,
}

impl Starts {
    /// Writes down all that a process tells, now. Exemplars are told if they are from after `told`.
    pub fn collect(
        &mut self,
        registry: &Registry,
        histograms: Histograms,
        told: SystemTime,
    ) -> Vec<Points> {
        let round = self.begin(SystemTime::now(), registry.started());
        let mut writer = Writer::new(round, histograms, nanos(told));
        registry.describe(&mut writer);
        writer.finish()
    }
}

struct Writer<'a> {
    round: Round<'a>,
    exponential: bool,
    /// Exemplars from before were told already.
    told: u64,
    /// The present family is [`TARGET`], and left out.
    is_target: bool,
    /// The present family.
    help: String,
    family: Named,
    /// Its points that are in no part yet.
    points: Points,
    part: Points,
    parts: Vec<Points>,
}

impl<'a> Writer<'a> {
    fn new(round: Round<'a>, histograms: Histograms, told: u64) -> Self {
        Self {
            round,
            exponential: histograms == Histograms::Exponential,
            told,
            is_target: false,
            help: String::new(),
            family: Named::default(),
            points: Points::default(),
            part: Points::default(),
            parts: Vec::new(),
        }
    }

    fn finish(mut self) -> Vec<Points> {
        self.end_family();
        if self.part.count > 0 {
            self.parts.push(self.part);
        }
        self.round.end();
        self.parts
    }

    /// Puts the points of the present family into the present part.
    fn end_family(&mut self) {
        let points = std::mem::take(&mut self.points);
        if points.count == 0 {
            return;
        }
        let Named { name, unit, shape } = &self.family;
        let place = match shape {
            Shape::Gauge => GAUGE,
            Shape::Sum { .. } => SUM,
            Shape::Histogram if self.exponential => EXPONENTIAL,
            Shape::Histogram => HISTOGRAM,
        };
        nested(&mut self.part.bytes, METRIC, |out| {
            bytes(out, NAME, name.as_bytes());
            bytes(out, DESCRIPTION, self.help.as_bytes());
            bytes(out, UNIT, unit.as_bytes());
            nested(out, place, |out| {
                out.extend_from_slice(&points.bytes);
                if *shape != Shape::Gauge {
                    number(out, TEMPORALITY, CUMULATIVE);
                }
                if let Shape::Sum { monotonic } = shape {
                    number(out, MONOTONIC, u64::from(*monotonic));
                }
            });
        });
        self.part.count += points.count;
    }

    fn number(&mut self, labels: Labels<'_>, value: Number) {
        let since = match self.family.shape {
            Shape::Sum { monotonic: true } => {
                Some(self.round.since(&self.family.name, labels, value.real()))
            }
            Shape::Sum { monotonic: false } => Some(self.round.started),
            // Since when it is what it is, nobody asks.
            Shape::Gauge | Shape::Histogram => None,
        };
        let now = self.round.now;
        nested(&mut self.points.bytes, POINT, |out| {
            if let Some(since) = since {
                fixed64(out, START, since);
            }
            fixed64(out, TIME, now);
            match value {
                Number::Real(real) => double(out, 4, real),
                Number::Whole(whole) => fixed64(out, 6, whole.cast_unsigned()),
            }
            attributes(out, 7, labels);
        });
    }

    fn histogram(&mut self, labels: Labels<'_>, summed: &Summed) {
        let count = summed.count();
        let since = self.round.since(&self.family.name, labels, count as f64);
        let (now, exponential) = (self.round.now, self.exponential);
        // What is newer than the point is told with the next.
        let new = self.told.saturating_add(1)..=now;
        nested(&mut self.points.bytes, POINT, |out| {
            fixed64(out, START, since);
            fixed64(out, TIME, now);
            if exponential {
                fine(out, labels, summed, &new);
            } else {
                explicit(out, labels, summed, &new);
            }
        });
    }
}

impl Sink for Writer<'_> {
    fn family(&mut self, family: &Family<'_>) {
        self.end_family();
        self.is_target = family.name == TARGET;
        self.family = named(family);
        self.help.clear();
        self.help.push_str(family.help);
    }

    fn series(&mut self, labels: Labels<'_>, value: Value<'_>) {
        if self.is_target {
            return;
        }
        match value {
            Value::Number(number) => self.number(labels, number),
            Value::Histogram(summed) => self.histogram(labels, summed),
        }
        self.points.count += 1;
        if self.part.bytes.len() + self.points.bytes.len() >= FULL {
            self.end_family();
            self.parts.push(std::mem::take(&mut self.part));
        }
    }
}

/// The rest of `HistogramDataPoint`.
fn explicit(out: &mut Vec<u8>, labels: Labels<'_>, summed: &Summed, new: &RangeInclusive<u64>) {
    fixed64(out, 4, summed.count());
    double(out, 5, summed.sum());
    packed_fixed64(out, 6, summed.buckets().map(|(_, count, _)| count));
    // Above the last bound there is none.
    let bounds = summed.buckets().map(|(bound, ..)| bound);
    let bounds = bounds.filter(|bound| bound.is_finite());
    packed_fixed64(out, 7, bounds.map(f64::to_bits));
    exemplars(out, 8, summed, new);
    attributes(out, 9, labels);
}

/// The rest of `ExponentialHistogramDataPoint`. A bucket with the index i is above 2^(i/8) here, where Prometheus's
/// ends at that: the same bucket has one less.
fn fine(out: &mut Vec<u8>, labels: Labels<'_>, summed: &Summed, new: &RangeInclusive<u64>) {
    attributes(out, 1, labels);
    let native = summed.native();
    let (zero, threshold) = native.zero();
    let runs = native.runs();
    fixed64(out, 4, native.count());
    double(out, 5, summed.sum());
    signed(out, 6, SCHEMA.into());
    fixed64(out, 7, zero);
    if let Some((first, _)) = runs.first() {
        nested(out, 8, |out| {
            signed(out, 1, i64::from(*first) - 1);
            let mut counts = Vec::new();
            for (index, run) in &runs {
                let place = usize::try_from(index - first).unwrap_or(0);
                counts.resize(place.max(counts.len()), 0);
                counts.extend_from_slice(run);
            }
            packed(out, 2, counts);
        });
    }
    exemplars(out, 11, summed, new);
    double(out, 14, threshold);
}

/// Those that are new, from all buckets.
fn exemplars(out: &mut Vec<u8>, field: u32, summed: &Summed, new: &RangeInclusive<u64>) {
    let when = |exemplar: &Exemplar| u64::try_from(exemplar.when.as_nanos()).unwrap_or(u64::MAX);
    let all = summed.buckets().filter_map(|(.., exemplar)| exemplar);
    for exemplar in all.filter(|exemplar| new.contains(&when(exemplar))) {
        nested(out, field, |out| {
            fixed64(out, 2, when(exemplar));
            double(out, 3, exemplar.took.as_secs_f64());
            bytes(out, 5, &exemplar.trace_id.to_be_bytes());
        });
    }
}

fn attributes(out: &mut Vec<u8>, field: u32, labels: Labels<'_>) {
    for (name, value) in labels {
        // Whole: a value that is cut could be that of another series.
        text(out, field, name, value);
    }
}
