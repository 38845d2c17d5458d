//! The text formats: OpenMetrics 1.0 and Prometheus's own, older one (0.0.4).
//!
//! They differ in how a family is called (with or without the suffix of its series), in how much a help
//! text is escaped, and in that only OpenMetrics has exemplars and an end mark.

use std::fmt::Write;

use memchr::memchr3;

use super::exemplar::Exemplar;
use super::page::{Family, Kind, Labels, Number, Sink, Summed, Value};

/// Writes text.
pub(super) struct Text {
    out: String,
    open_metrics: bool,
    /// The name of the present family's series, but for histograms.
    name: String,
}

impl Text {
    pub(super) fn new(open_metrics: bool) -> Self {
        Self {
            out: String::with_capacity(16 * 1024),
            open_metrics,
            name: String::new(),
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.open_metrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn number(&mut self, labels: Labels<'_>, number: Number) {
        self.out.push_str(&self.name);
        self.labels(None, labels);
        self.value(number);
        self.out.push('\n');
    }

    fn histogram(&mut self, labels: Labels<'_>, summed: &Summed) {
        let mut below = 0;
        for (bound, count, exemplar) in summed.buckets() {
            below += count;
            self.line("_bucket", Some(bound), labels, below.into());
            if self.open_metrics
                && let Some(exemplar) = exemplar
            {
                self.exemplar(exemplar);
            }
            self.out.push('\n');
        }
        self.line("_count", None, labels, below.into());
        self.out.push('\n');
        self.line("_sum", None, labels, summed.sum().into());
        self.out.push('\n');
    }

    fn line(&mut self, suffix: &str, bound: Option<f64>, labels: Labels<'_>, number: Number) {
        self.out.push_str(&self.name);
        self.out.push_str(suffix);
        self.labels(bound, labels);
        self.value(number);
    }

    fn labels(&mut self, bound: Option<f64>, labels: Labels<'_>) {
        if bound.is_none() && labels.is_empty() {
            return;
        }
        let mut sign = '{';
        if let Some(bound) = bound {
            self.out.push_str("{le=\"");
            self.out.push_str(&canonical(bound));
            self.out.push('"');
            sign = ',';
        }
        for (name, value) in labels {
            self.out.push(sign);
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, value, true);
            self.out.push('"');
            sign = ',';
        }
        self.out.push('}');
    }

    fn value(&mut self, number: Number) {
        // Writing to a string cannot fail.
        let _ = match number {
            Number::Whole(whole) => write!(self.out, " {whole}"),
            Number::Real(real) => write!(self.out, " {real:?}"),
        };
    }

    /// OpenMetrics 1.0, "Exemplars".
    fn exemplar(&mut self, exemplar: &Exemplar) {
        let (took, when) = (exemplar.took.as_secs_f64(), exemplar.when);
        let _ = write!(
            self.out,
            " # {{trace_id=\"{:032x}\"}} {took:?} {}.{:03}",
            exemplar.trace_id,
            when.as_secs(),
            when.subsec_millis(),
        );
    }
}

impl Sink for Text {
    fn family(&mut self, family: &Family<'_>) {
        let (suffix, kind) = match family.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Info if self.open_metrics => ("_info", "info"),
            Kind::Info => ("_info", "gauge"),
            Kind::Histogram => ("", "histogram"),
        };
        self.name.clear();
        self.name.push_str(family.name);
        self.name.push_str(suffix);
        let called = match self.open_metrics {
            true => family.name,
            false => &self.name,
        };
        let _ = write!(self.out, "# HELP {called} ");
        escape(&mut self.out, family.help, self.open_metrics);
        let _ = write!(self.out, "\n# TYPE {called} {kind}\n");
    }

    fn series(&mut self, labels: Labels<'_>, value: Value<'_>) {
        match value {
            Value::Number(number) => self.number(labels, number),
            Value::Histogram(summed) => self.histogram(labels, summed),
        }
    }
}

/// Writes text with a backslash before backslashes, quotes if need be, and for ends of lines.
fn escape(out: &mut String, text: &str, quotes: bool) {
    // Nearly all that is written has nothing of the kind.
    if memchr3(b'\\', b'\n', b'"', text.as_bytes()).is_none() {
        return out.push_str(text);
    }
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

/// A bound as Prometheus writes it when it has read it from protocol buffers: the series of both formats are the
/// same ones (OpenMetrics 1.0, "Considerations: Canonical Numbers").
fn canonical(bound: f64) -> String {
    if bound.is_infinite() {
        return "+Inf".to_owned();
    }
    if bound >= 1e-4 {
        return format!("{bound:?}");
    }
    let text = format!("{bound:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_canonical() {
        for (bound, text) in [
            (0.000_025, "2.5e-05"),
            (0.000_1, "0.0001"),
            (0.007_5, "0.0075"),
            (0.1, "0.1"),
            (5.0, "5.0"),
            (86_400.0, "86400.0"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(canonical(bound), text);
        }
    }

    #[test]
    fn help_and_labels_are_escaped() {
        let family = Family {
            name: "a",
            help: "say \"b\"\\\n",
            kind: Kind::Gauge,
        };
        for (open_metrics, help) in [(true, "say \\\"b\\\"\\\\\\n"), (false, "say \"b\"\\\\\\n")] {
            let mut text = Text::new(open_metrics);
            text.family(&family);
            text.series(&[("c", "\"d\"\\\n")], Value::Number(Number::Real(0.5)));
            let out = text.finish();
            let wanted =
                format!("# HELP a {help}\n# TYPE a gauge\na{{c=\"\\\"d\\\"\\\\\\n\"}} 0.5\n");
            assert_eq!(out.trim_end_matches("# EOF\n"), wanted);
        }
    }
}
