//! Metrics as they came to a collector, read with the types that OpenTelemetry publishes.

use std::collections::BTreeMap;
use std::io;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;

use crate::collector::attributes;

/// A point as it came.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Point {
    pub name: String,
    pub help: String,
    pub unit: String,
    /// `gauge`, `counter` (a sum that only grows), `level` (one that does not), `explicit` or `exponential`.
    pub kind: &'static str,
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970; 0 if it has none.
    pub start: u64,
    /// The same for all points of a push.
    pub time: u64,
    /// The number, or how many a histogram has.
    pub value: f64,
    /// The sum of a histogram.
    pub sum: f64,
    /// Of a histogram: above this, up to this, so many. The first of exponential ones is that of zero.
    pub buckets: Vec<(f64, f64, u64)>,
    /// Ids of traces, with what was observed.
    pub exemplars: Vec<(String, f64)>,
    /// What the sender says of itself.
    pub resource: BTreeMap<String, String>,
    /// Bytes of the message that it came in.
    pub message: usize,
}

impl Point {
    /// An attribute; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Its name and attributes, as Prometheus writes them.
    pub fn series(&self, name: &str) -> String {
        let pair = |(name, value): (&String, &String)| format!("{name}={value:?}");
        let pairs: Vec<_> = self.attributes.iter().map(pair).collect();
        match pairs.is_empty() {
            true => name.to_owned(),
            false => format!("{name}{{{}}}", pairs.join(",")),
        }
    }
}

/// The series of a page of `/metrics`, with their labels in the order of [`Point::series`].
pub fn exposed(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let series = lines.map(|line| {
        // What comes behind it is an exemplar.
        let line = line.split(" # {").next().unwrap();
        let (series, value) = line.rsplit_once(' ').unwrap();
        let series = match series.split_once('{') {
            None => series.to_owned(),
            Some((name, labels)) => {
                let labels = labels.trim_end_matches("\"}");
                let mut labels: Vec<_> = labels.split("\",").collect();
                labels.sort_unstable();
                format!("{name}{{{}\"}}", labels.join("\","))
            }
        };
        (series, value.parse().unwrap())
    });
    series.collect()
}

/// The series that Prometheus's name for these points would have; a histogram has two, its count and its sum.
pub fn series(points: &[Point]) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for point in points {
        let name = prometheus_name(&point.name, &point.unit, point.kind);
        let before = match point.kind {
            "explicit" | "exponential" => {
                all.insert(point.series(&format!("{name}_sum")), point.sum);
                all.insert(point.series(&format!("{name}_count")), point.value)
            }
            _ => all.insert(point.series(&name), point.value),
        };
        assert_eq!(before, None, "{name} twice");
    }
    all
}

/// What a collector makes of a name for Prometheus, by the unit and the kind (OpenTelemetry, "Prometheus and
/// OpenMetrics Compatibility"): words with `_` between, the unit's word if it is not there yet, and a suffix.
pub fn prometheus_name(name: &str, unit: &str, kind: &str) -> String {
    let mut words: Vec<&str> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let word = match unit {
        "s" => "seconds",
        "By" => "bytes",
        other => {
            // What is counted leaves the name as it is; 1 would make it a ratio.
            assert!(
                other.is_empty() || other.starts_with('{'),
                "{name}: {other}"
            );
            ""
        }
    };
    if !word.is_empty() && !words.contains(&word) {
        words.push(word);
    }
    if kind == "counter" {
        words.retain(|word| *word != "total");
        words.push("total");
    }
    words.join("_")
}

/// Reads an `ExportMetricsServiceRequest`.
pub fn points(message: &[u8]) -> io::Result<Vec<Point>> {
    let request = ExportMetricsServiceRequest::decode(message).map_err(io::Error::other)?;
    let mut all = Vec::new();
    for of_resource in request.resource_metrics {
        let resource = of_resource.resource.unwrap_or_default();
        let resource = attributes(&resource.attributes);
        for of_scope in of_resource.scope_metrics {
            assert_eq!(of_scope.scope.unwrap_or_default().name, "umay");
            for metric in of_scope.metrics {
                let before = all.len();
                read(&metric, &mut all);
                assert!(all.len() > before, "{} has no points", metric.name);
                for point in all.iter_mut().skip(before) {
                    point.name.clone_from(&metric.name);
                    point.help.clone_from(&metric.description);
                    point.unit.clone_from(&metric.unit);
                    point.resource.clone_from(&resource);
                    point.message = message.len();
                }
            }
        }
    }
    Ok(all)
}

fn read(metric: &proto::Metric, all: &mut Vec<Point>) {
    let cumulative = proto::AggregationTemporality::Cumulative as i32;
    match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => all.extend(gauge.data_points.iter().map(|p| number(p, "gauge"))),
        Data::Sum(sum) => {
            assert_eq!(sum.aggregation_temporality, cumulative);
            let kind = if sum.is_monotonic { "counter" } else { "level" };
            all.extend(sum.data_points.iter().map(|point| number(point, kind)));
        }
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, cumulative);
            all.extend(histogram.data_points.iter().map(explicit));
        }
        Data::ExponentialHistogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, cumulative);
            all.extend(histogram.data_points.iter().map(exponential));
        }
        Data::Summary(_) => panic!("{} is a summary", metric.name),
    }
}

fn number(point: &proto::NumberDataPoint, kind: &'static str) -> Point {
    use proto::number_data_point::Value;
    Point {
        kind,
        attributes: attributes(&point.attributes),
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        value: match point.value.unwrap() {
            Value::AsDouble(real) => real,
            Value::AsInt(whole) => whole as f64,
        },
        ..Point::default()
    }
}

fn explicit(point: &proto::HistogramDataPoint) -> Point {
    let bounds = &point.explicit_bounds;
    assert_eq!(point.bucket_counts.len(), bounds.len() + 1);
    let lower = std::iter::once(&f64::NEG_INFINITY).chain(bounds);
    let upper = bounds.iter().chain(std::iter::once(&f64::INFINITY));
    let bounds = lower.zip(upper).zip(&point.bucket_counts);
    let found = Point {
        kind: "explicit",
        attributes: attributes(&point.attributes),
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        value: point.count as f64,
        sum: point.sum.unwrap(),
        buckets: bounds
            .map(|((lower, upper), n)| (*lower, *upper, *n))
            .collect(),
        exemplars: exemplars(&point.exemplars),
        ..Point::default()
    };
    assert_eq!(point.count, point.bucket_counts.iter().sum::<u64>());
    found
}

fn exponential(point: &proto::ExponentialHistogramDataPoint) -> Point {
    let at = |index: i32| 2_f64.powf(f64::from(index) / 2_f64.powi(point.scale));
    let mut buckets = vec![(0.0, point.zero_threshold, point.zero_count)];
    let positive: Buckets = point.positive.clone().unwrap_or_default();
    for (place, count) in positive.bucket_counts.iter().enumerate() {
        let index = positive.offset + place as i32;
        buckets.push((at(index), at(index + 1), *count));
    }
    let all: u64 = buckets.iter().map(|(.., count)| count).sum();
    assert_eq!(point.count, all);
    Point {
        kind: "exponential",
        attributes: attributes(&point.attributes),
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        value: point.count as f64,
        sum: point.sum.unwrap(),
        buckets,
        exemplars: exemplars(&point.exemplars),
        ..Point::default()
    }
}

fn exemplars(all: &[proto::Exemplar]) -> Vec<(String, f64)> {
    use proto::exemplar::Value;
    let read = |exemplar: &proto::Exemplar| {
        let id = exemplar.trace_id.iter().map(|byte| format!("{byte:02x}"));
        let value = match exemplar.value.unwrap() {
            Value::AsDouble(real) => real,
            Value::AsInt(whole) => whole as f64,
        };
        assert!(exemplar.time_unix_nano > 0);
        (id.collect(), value)
    };
    all.iter().map(read).collect()
}
