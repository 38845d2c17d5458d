//! The formats of `/metrics`, and which of them a scraper gets.

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
    /// Prometheus's protocol buffers, with exemplars and native histograms.
    Protobuf,
    /// Prometheus's own, older text format.
    Classic,
}

impl Format {
    /// Those that are equally welcome come in this order.
    const ALL: [Self; 3] = [Self::OpenMetrics, Self::Protobuf, Self::Classic];

    /// The format that an `Accept` field asks for most (RFC 9110 section 12.5.1); OpenMetrics if it
    /// asks for none that there is.
    pub fn accepted_by(accept: &str) -> Self {
        let ranges: Vec<_> = accept.split(',').filter_map(Range::parse).collect();
        let mut best = (Self::OpenMetrics, 0.0);
        for format in Self::ALL {
            // The most specific range counts; among equals the one that asks for it most.
            let fit = ranges.iter().filter(|range| range.holds(format));
            let fit = fit.max_by(|a, b| {
                let key = |range: &Range<'_>| (range.specificity(), range.weight);
                let ((a, c), (b, d)) = (key(a), key(b));
                a.cmp(&b).then(c.total_cmp(&d))
            });
            let weight = fit.map_or(0.0, |range| range.weight);
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A media range of an `Accept` field.
struct Range<'a> {
    kind: &'a str,
    /// What a scraper says of protocol buffers fits what there is.
    fits: bool,
    /// How welcome it is, from 0 to 1.
    weight: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| kind.contains('/'))?;
        let mut range = Self {
            kind,
            fits: true,
            weight: 1.0,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim_matches('"');
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("q") {
                range.weight = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
            } else if is("proto") {
                range.fits &= value == "io.prometheus.client.MetricFamily";
            } else if is("encoding") {
                range.fits &= value == "delimited";
            }
        }
        Some(range)
    }

    fn holds(&self, format: Format) -> bool {
        let whole = format.content_type();
        let kind = whole.split(';').next().unwrap_or(whole);
        match self.specificity() {
            0 => true,
            1 => {
                let (own, their) = (kind.split('/').next(), self.kind.split('/').next());
                own.zip(their)
                    .is_some_and(|(own, their)| own.eq_ignore_ascii_case(their))
            }
            _ => self.kind.eq_ignore_ascii_case(kind) && self.fits,
        }
    }

    fn specificity(&self) -> u8 {
        match self.kind.split_once('/') {
            Some(("*", "*")) => 0,
            Some((_, "*")) => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Format::{self, Classic, OpenMetrics, Protobuf};

    #[test]
    fn the_format_is_negotiated() {
        let text = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", OpenMetrics),
            ("*/*", OpenMetrics),
            ("application/*", OpenMetrics),
            ("text/*", Classic),
            (text, OpenMetrics),
            (native, Protobuf),
            ("text/plain; version=0.0.4", Classic),
            ("TEXT/Plain", Classic),
            ("application/vnd.google.protobuf", Protobuf),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=else.Family, text/plain;q=0.1",
                Classic,
            ),
            ("application/openmetrics-text;q=0, */*;q=0.5", Protobuf),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                OpenMetrics,
            ),
            ("text/plain;q=7, */*;q=0.1", OpenMetrics),
            ("image/png", OpenMetrics),
            (",;,=,q", OpenMetrics),
        ] {
            assert_eq!(Format::accepted_by(accept), format, "{accept}");
        }
    }
}
