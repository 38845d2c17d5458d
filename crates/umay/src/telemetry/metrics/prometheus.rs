//! Prometheus's format of protocol buffers (`io.prometheus.client`, `metrics.proto`): the only one of its
//! formats that has native histograms. Each family is a message with its length before it.

use super::exemplar::Exemplar;
use super::native::{Native, SCHEMA};
use super::page::{Family, Kind, Labels, Sink, Summed, Value};
use crate::telemetry::protobuf::{
    bytes, delimited, double, nested, number, packed, signed, zigzag,
};

/// Fields of `MetricFamily`.
const NAME: u32 = 1;
const HELP: u32 = 2;
const TYPE: u32 = 3;
const METRIC: u32 = 4;
/// Fields of `Metric`.
const LABEL: u32 = 1;
const GAUGE: u32 = 2;
const COUNTER: u32 = 3;
const HISTOGRAM: u32 = 7;

/// Writes messages.
pub(super) struct Messages {
    out: Vec<u8>,
    /// The present family, without its length.
    family: Vec<u8>,
    /// Where its series have their number.
    place: u32,
}

impl Messages {
    pub(super) fn new() -> Self {
        Self {
            out: Vec::with_capacity(16 * 1024),
            family: Vec::new(),
            place: GAUGE,
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_family();
        self.out
    }

    fn end_family(&mut self) {
        if !self.family.is_empty() {
            delimited(&mut self.out, &self.family);
            self.family.clear();
        }
    }
}

impl Sink for Messages {
    fn family(&mut self, family: &Family<'_>) {
        self.end_family();
        let (suffix, kind, place) = match family.kind {
            Kind::Counter => ("_total", 0, COUNTER),
            Kind::Gauge => ("", 1, GAUGE),
            Kind::Info => ("_info", 1, GAUGE),
            Kind::Histogram => ("", 4, HISTOGRAM),
        };
        let name = [family.name, suffix].concat();
        bytes(&mut self.family, NAME, name.as_bytes());
        bytes(&mut self.family, HELP, family.help.as_bytes());
        number(&mut self.family, TYPE, kind);
        self.place = place;
    }

    fn series(&mut self, labels: Labels<'_>, value: Value<'_>) {
        let place = self.place;
        nested(&mut self.family, METRIC, |out| {
            for (name, value) in labels {
                label(out, LABEL, name, value);
            }
            nested(out, place, |out| match value {
                Value::Number(number) => double(out, 1, number.real()),
                Value::Histogram(summed) => histogram(out, summed),
            });
        });
    }
}

/// `LabelPair`.
fn label(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    nested(out, field, |out| {
        bytes(out, 1, name.as_bytes());
        bytes(out, 2, value.as_bytes());
    });
}

/// `Histogram`: the classic buckets, and the native ones.
fn histogram(out: &mut Vec<u8>, summed: &Summed) {
    number(out, 1, summed.native().count());
    double(out, 2, summed.sum());
    let mut below = 0;
    for (bound, count, exemplar) in summed.buckets() {
        below += count;
        nested(out, 3, |out| {
            number(out, 1, below);
            double(out, 2, bound);
            if let Some(told) = exemplar {
                nested(out, 3, |out| self::exemplar(out, told));
            }
        });
    }
    native(out, summed.native());
}

/// The rest of `Histogram`. Counts are told as the difference to the bucket before.
fn native(out: &mut Vec<u8>, native: &Native) {
    let (zero, threshold) = native.zero();
    signed(out, 5, SCHEMA.into());
    double(out, 6, threshold);
    number(out, 7, zero);
    let runs = native.runs();
    let mut end = 0;
    for (index, counts) in &runs {
        nested(out, 12, |out| {
            // Buckets that are left out before it.
            signed(out, 1, (index - end).into());
            number(out, 2, counts.len() as u64);
        });
        end = index + i32::try_from(counts.len()).unwrap_or(0);
    }
    let mut before = 0;
    let differences = runs
        .iter()
        .flat_map(|(_, counts)| counts.iter())
        .map(|count| {
            let difference = count.wrapping_sub(before).cast_signed();
            before = *count;
            zigzag(difference)
        });
    packed(out, 13, differences.collect::<Vec<_>>());
}

/// `Exemplar`.
fn exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    label(out, 1, "trace_id", &format!("{:032x}", exemplar.trace_id));
    double(out, 2, exemplar.took.as_secs_f64());
    nested(out, 3, |out| {
        number(out, 1, exemplar.when.as_secs());
        number(out, 2, exemplar.when.subsec_nanos().into());
    });
}
