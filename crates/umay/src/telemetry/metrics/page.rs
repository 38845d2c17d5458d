//! What is exposed, family by family, whatever the format.
//!
//! Who counts describes its families to a [`Page`]; a [`Sink`] writes them down: as text, as protocol
//! buffers, or as a message to a collector. So no format can have what another lacks.

use super::cell::Histogram;
use super::exemplar::Exemplar;
use super::native::{Native, Scale};

/// A family: series of one name, told apart by their labels.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// Without a suffix that belongs to its kind: `umay_retries`, not `umay_retries_total`.
    pub name: &'a str,
    /// For people; one line, no full stop.
    pub help: &'a str,
    /// What its series are.
    pub kind: Kind,
}

/// What a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1; what it tells is in its labels.
    Info,
    /// How long things took, in seconds.
    Histogram,
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Counts.
    Whole(i64),
    /// Seconds and the like.
    Real(f64),
}

/// The value of a series.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Of all kinds but histograms.
    Number(Number),
    /// Of histograms.
    Histogram(&'a Summed),
}

/// Labels: names and values. Values come from the configuration and closed sets, never from a request.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Writes families down. All series of a family come after it, before the next family.
pub trait Sink {
    /// A family begins.
    fn family(&mut self, family: &Family<'_>);
    /// One of its series.
    fn series(&mut self, labels: Labels<'_>, value: Value<'_>);
}

/// Describes families to a sink.
pub(super) struct Page<'a>(pub(super) &'a mut dyn Sink);

impl Page<'_> {
    pub(super) fn info(&mut self, name: &str, help: &str, labels: Labels<'_>) {
        self.family(name, help, Kind::Info);
        self.0.series(labels, Value::Number(Number::Whole(1)));
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Into<Number>) {
        self.family(name, help, Kind::Counter);
        self.0.series(&[], Value::Number(value.into()));
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Into<Number>) {
        self.family(name, help, Kind::Gauge);
        self.0.series(&[], Value::Number(value.into()));
    }

    pub(super) fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) {
        self.family(name, help, Kind::Counter);
        for (labels, count) in series {
            self.0.series(&labels, Value::Number(count.into()));
        }
    }

    pub(super) fn gauges<'l, const N: usize, V: Into<Number>>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'l str, &'l str); N], V)>,
    ) {
        self.family(name, help, Kind::Gauge);
        for (labels, value) in series {
            self.0.series(&labels, Value::Number(value.into()));
        }
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, summed: Option<Summed>) {
        self.family(name, help, Kind::Histogram);
        if let Some(summed) = summed {
            self.0.series(&[], Value::Histogram(&summed));
        }
    }

    pub(super) fn histograms<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ((&'l str, &'l str), Option<Summed>)>,
    ) {
        self.family(name, help, Kind::Histogram);
        for (label, summed) in series {
            if let Some(summed) = summed {
                self.0.series(&[label], Value::Histogram(&summed));
            }
        }
    }

    fn family(&mut self, name: &str, help: &str, kind: Kind) {
        self.0.family(&Family { name, help, kind });
    }
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Whole(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Number {
    fn from(level: i64) -> Self {
        Self::Whole(level)
    }
}

impl From<f64> for Number {
    fn from(real: f64) -> Self {
        Self::Real(real)
    }
}

impl Number {
    /// The same as a real number.
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }
}

/// A histogram over all workers.
#[derive(Debug)]
pub struct Summed {
    scale: &'static Scale,
    /// Counts of the classic buckets, each for itself; the last is above all bounds.
    counts: [u64; 18],
    nanos: u64,
    native: Native,
    /// The last exemplar of each classic bucket.
    exemplars: [Option<Exemplar>; 18],
}

impl Summed {
    /// The sum of what workers have counted, all on the same scale; `None` if none has yet.
    pub(super) fn over<'a>(shards: impl Iterator<Item = &'a Histogram>) -> Option<Self> {
        let mut all: Option<Self> = None;
        for shard in shards {
            all.get_or_insert_with(|| Self::new(shard.scale()))
                .add(shard);
        }
        all
    }

    fn new(scale: &'static Scale) -> Self {
        Self {
            scale,
            counts: [0; 18],
            nanos: 0,
            native: Native::new(scale),
            exemplars: [None; 18],
        }
    }

    fn add(&mut self, shard: &Histogram) {
        let (counts, nanos) = shard.read();
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += count;
        }
        self.nanos = self.nanos.wrapping_add(nanos);
        shard.read_native(&mut self.native);
        for (place, latest) in self.exemplars.iter_mut().enumerate() {
            let both = [*latest, shard.exemplar(place)];
            *latest = both.into_iter().flatten().max_by_key(|one| one.when);
        }
    }

    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all, in seconds.
    pub fn sum(&self) -> f64 {
        self.nanos as f64 / 1e9
    }

    /// The classic buckets: the upper bound in seconds (it belongs to the bucket; the last is infinite), the
    /// count of the bucket alone, and its last exemplar.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64, Option<&Exemplar>)> {
        let bounds = self.scale.bounds.iter().map(|bound| *bound as f64 / 1e9);
        let bounds = bounds.chain(std::iter::once(f64::INFINITY));
        bounds
            .zip(self.counts)
            .zip(&self.exemplars)
            .map(|((bound, count), exemplar)| (bound, count, exemplar.as_ref()))
    }

    /// The same observations in fine, exponential buckets.
    pub fn native(&self) -> &Native {
        &self.native
    }
}
