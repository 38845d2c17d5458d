//! A strict reader of `/metrics` in OpenMetrics 1.0, written apart from what writes it so that the one
//! can judge the other. What a careful writer does not write is an error with its line.

use std::collections::{BTreeMap, BTreeSet};

use crate::proxy::Umay;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// A page that was read whole.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    families: BTreeMap<String, Family>,
    samples: BTreeMap<String, Vec<Sample>>,
}

/// What the page says of a family before its samples.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// Its words for people.
    pub help: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// An example of what it has counted.
    pub exemplar: Option<Exemplar>,
}

/// What stands behind `#` on a sample's line.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Its labels.
    pub labels: Labels,
    /// The value that was counted.
    pub value: f64,
    /// When, in seconds since the Unix epoch.
    pub timestamp: Option<f64>,
}

impl Umay {
    /// The page as it is now.
    ///
    /// # Panics
    /// If it is not well written.
    #[track_caller]
    pub fn scrape(&self) -> Scrape {
        let page = self.admin_get("/metrics").text();
        Scrape::read(&page).unwrap_or_else(|why| panic!("{why}\n{page}"))
    }
}

impl Scrape {
    /// Reads a page; the error names the line that is wrong.
    pub fn read(page: &str) -> Result<Self, String> {
        let Some(body) = page.strip_suffix("# EOF\n") else {
            return Err("the page does not end with `# EOF`".to_owned());
        };
        let mut reader = Reader::default();
        for line in body.lines() {
            reader.line(line).map_err(|why| format!("{why}: {line}"))?;
        }
        let scrape = reader.scrape;
        for (name, family) in &scrape.families {
            if family.kind == "histogram" {
                scrape.check_histogram(name)?;
            }
        }
        Ok(scrape)
    }

    /// What is said of the families, by name without suffix.
    pub fn families(&self) -> &BTreeMap<String, Family> {
        &self.families
    }

    /// All samples with this name, which for counters ends with `_total`.
    pub fn samples(&self, name: &str) -> &[Sample] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of the samples that have these labels, and perhaps others.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            let mut labels = labels.iter();
            labels.all(|(key, value)| sample.labels.get(*key).is_some_and(|have| have == value))
        };
        let found = self.samples(name).iter().filter(has);
        found.map(|sample| sample.value).sum()
    }

    /// The same for each value of one label.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<&str, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.samples(name) {
            let value = sample.labels.get(label).map_or("", String::as_str);
            *sums.entry(value).or_default() += sample.value;
        }
        sums
    }

    /// Every series of the page, without values: `name{label="value"}`.
    pub fn series(&self) -> BTreeSet<String> {
        let all = self.samples.iter();
        all.flat_map(|(name, samples)| samples.iter().map(|sample| shown(name, &sample.labels)))
            .collect()
    }

    /// Every label of the page with each of its values.
    pub fn labels(&self) -> BTreeSet<(&str, &str)> {
        let samples = self.samples.values().flatten();
        let pairs = samples.flat_map(|sample| &sample.labels);
        pairs.map(|(key, value)| (&**key, &**value)).collect()
    }

    /// Upper bounds of a histogram's buckets with the count of each alone, over all series that have these labels.
    pub fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let mut sums = Vec::<(f64, f64)>::new();
        for sample in self.samples(&format!("{name}_bucket")) {
            let mut wanted = labels.iter();
            if !wanted.all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value)) {
                continue;
            }
            let bound = bound(&sample.labels);
            match sums.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => sums.push((bound, sample.value)),
            }
        }
        for place in (1..sums.len()).rev() {
            sums[place].1 -= sums[place - 1].1;
        }
        sums
    }

    /// Buckets ascend, the last of them is without end and has counted all.
    fn check_histogram(&self, name: &str) -> Result<(), String> {
        let mut ladders = BTreeMap::<String, Vec<(f64, f64)>>::new();
        for sample in self.samples(&format!("{name}_bucket")) {
            let mut labels = sample.labels.clone();
            labels.remove("le");
            let ladder = ladders.entry(shown("", &labels)).or_default();
            ladder.push((bound(&sample.labels), sample.value));
        }
        let counts = self.samples(&format!("{name}_count"));
        let sums = self.samples(&format!("{name}_sum"));
        if ladders.len() != counts.len() || sums.len() != counts.len() {
            return Err(format!("{name} has a bucket, a sum or a count too few"));
        }
        for count in counts {
            let series = shown("", &count.labels);
            let ladder = ladders.get(&series).map_or(&[][..], Vec::as_slice);
            let ascends = ladder.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
            if !ascends || ladder.last() != Some(&(f64::INFINITY, count.value)) {
                return Err(format!("{name}{series} has buckets that do not add up"));
            }
        }
        Ok(())
    }
}

fn bound(labels: &Labels) -> f64 {
    let text = labels.get("le").map_or("", String::as_str);
    text.parse().unwrap_or(f64::NAN)
}

fn shown(name: &str, labels: &Labels) -> String {
    let labels = labels.iter().map(|(key, value)| format!("{key}={value:?}"));
    format!("{name}{{{}}}", labels.collect::<Vec<_>>().join(","))
}

/// A page that is being read.
#[derive(Default)]
struct Reader {
    scrape: Scrape,
    /// The family that samples are of now.
    family: String,
    seen: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').ok_or("no text")?;
            self.family(name)?.help = text.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or("no kind")?;
            if !["counter", "gauge", "histogram", "info"].contains(&kind) {
                return Err("a kind that Umay does not have");
            }
            let family = self.family(name)?;
            if !family.kind.is_empty() {
                return Err("a family's second kind");
            }
            kind.clone_into(&mut family.kind);
        } else if line.starts_with('#') {
            return Err("a comment");
        } else {
            self.sample(line)?;
        }
        Ok(())
    }

    /// The family that a line is about: the present one, or a new one.
    fn family(&mut self, name: &str) -> Result<&mut Family, &'static str> {
        if !is_name(name) {
            return Err("no name");
        }
        if name != self.family {
            if self.scrape.families.contains_key(name) {
                return Err("a family that was there before");
            }
            name.clone_into(&mut self.family);
        }
        Ok(self.scrape.families.entry(name.to_owned()).or_default())
    }

    fn sample(&mut self, line: &str) -> Result<(), &'static str> {
        let mut text = line;
        let end = text.find(['{', ' ']).ok_or("no value")?;
        let name = take(&mut text, end);
        let labels = labels(&mut text)?;
        let text = text.strip_prefix(' ').ok_or("no space before the value")?;
        let (text, exemplar) = match text.split_once(" # ") {
            Some((text, exemplar)) => (text, Some(read_exemplar(exemplar)?)),
            None => (text, None),
        };
        // Umay tells no time of a sample, so there is nothing behind the value.
        let value = number(text)?;
        self.check(name, &labels, value, exemplar.as_ref())?;
        if !self.seen.insert(shown(name, &labels)) {
            return Err("a series that was there before");
        }
        let samples = self.scrape.samples.entry(name.to_owned()).or_default();
        samples.push(Sample {
            labels,
            value,
            exemplar,
        });
        Ok(())
    }

    /// Whether a sample can be one of the present family.
    fn check(
        &self,
        name: &str,
        labels: &Labels,
        value: f64,
        exemplar: Option<&Exemplar>,
    ) -> Result<(), &'static str> {
        let family = self.scrape.families.get(&self.family);
        let (Some(family), Some(suffix)) = (family, name.strip_prefix(&*self.family)) else {
            return Err("a sample of another family");
        };
        let fits = match (&*family.kind, suffix) {
            ("counter", "_total") | ("gauge", "") | ("info", "_info") => true,
            ("histogram", "_bucket") => !bound(labels).is_nan(),
            ("histogram", "_count" | "_sum") => true,
            _ => false,
        };
        let counts = !matches!(&*family.kind, "gauge") && suffix != "_sum";
        if !fits || (suffix != "_bucket" && labels.contains_key("le")) {
            return Err("a sample that its family does not have");
        }
        if value.is_nan() || (family.kind != "gauge" && value < 0.0) {
            return Err("a value that cannot be");
        }
        // The time on the processors is a counter of seconds.
        if counts && value.fract() != 0.0 && !name.ends_with("_seconds_total") {
            return Err("a part of a count");
        }
        match exemplar {
            Some(_) if !matches!(suffix, "_bucket" | "_total") => Err("an exemplar of neither"),
            Some(exemplar) if suffix == "_bucket" && exemplar.value > bound(labels) => {
                Err("an exemplar that is not in its bucket")
            }
            _ => Ok(()),
        }
    }
}

fn take<'a>(text: &mut &'a str, end: usize) -> &'a str {
    let (taken, rest) = text.split_at(end);
    *text = rest;
    taken
}

/// Labels in braces, if there are any.
fn labels(text: &mut &str) -> Result<Labels, &'static str> {
    let mut labels = Labels::new();
    if !text.starts_with('{') {
        return Ok(labels);
    }
    take(text, 1);
    while !text.starts_with('}') {
        let end = text.find("=\"").ok_or("a label without a value")?;
        let name = take(text, end);
        if !is_name(name) || name.contains(':') {
            return Err("a label without a name");
        }
        take(text, 2);
        let value = value(text)?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err("a label twice");
        }
        match text.as_bytes().first() {
            Some(b',') if !text.starts_with(",}") => take(text, 1),
            Some(b'}') => continue,
            _ => return Err("no comma between labels"),
        };
    }
    take(text, 1);
    Ok(labels)
}

/// A label's value, up to the quotation mark behind it.
fn value(text: &mut &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => {
                take(text, at + 1);
                return Ok(value);
            }
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, same @ ('\\' | '"'))) => same,
                _ => return Err("an escape that there is not"),
            }),
            other => value.push(other),
        }
    }
    Err("a label without an end")
}

/// `{labels} value`, and perhaps a time.
fn read_exemplar(mut text: &str) -> Result<Exemplar, &'static str> {
    /// Letters of all names and values together, as OpenMetrics says.
    const MOST: usize = 128;
    if !text.starts_with('{') {
        return Err("an exemplar without labels");
    }
    let labels = labels(&mut text)?;
    let letters = labels.iter();
    let letters = letters.map(|(key, value)| key.chars().count() + value.chars().count());
    if letters.sum::<usize>() > MOST {
        return Err("an exemplar that is too long");
    }
    let text = text.strip_prefix(' ').ok_or("an exemplar without value")?;
    let (value, timestamp) = match text.split_once(' ') {
        Some((value, time)) => (value, Some(number(time)?)),
        None => (text, None),
    };
    Ok(Exemplar {
        labels,
        value: number(value)?,
        timestamp,
    })
}

fn number(text: &str) -> Result<f64, &'static str> {
    if text.is_empty() || text.contains(' ') {
        return Err("no number");
    }
    text.parse().map_err(|_| "no number")
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    first.is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b':'))
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# HELP a Words about it.
# TYPE a counter
a_total{x=\"1\",y=\"\\\"\\\\\\n,}\"} 3 # {trace_id=\"0af7\"} 0.5 1700000000.25
a_total{x=\"2\",y=\"\"} 4
# HELP h Times.
# TYPE h histogram
h_sum{r=\"p\"} 0.75
h_count{r=\"p\"} 3
h_bucket{le=\"0.1\",r=\"p\"} 1 # {trace_id=\"0af8\"} 0.05
h_bucket{le=\"1.0\",r=\"p\"} 3
h_bucket{le=\"+Inf\",r=\"p\"} 3
# HELP g A level.
# TYPE g gauge
g -1
# EOF
";

    #[test]
    fn reads_values_labels_and_exemplars() {
        let page = Scrape::read(GOOD).unwrap();
        assert_eq!(page.sum("a_total", &[]), 7.0);
        assert_eq!(page.sum("a_total", &[("y", "\"\\\n,}")]), 3.0);
        assert_eq!(page.by("a_total", "x"), [("1", 3.0), ("2", 4.0)].into());
        assert_eq!(page.sum("g", &[]), -1.0);
        assert_eq!(page.sum("b", &[]), 0.0);
        assert_eq!(page.families()["a"].help, "Words about it.");
        let exemplar = page.samples("a_total")[0].exemplar.as_ref().unwrap();
        assert_eq!(exemplar.labels["trace_id"], "0af7");
        assert_eq!(exemplar.value, 0.5);
        assert_eq!(exemplar.timestamp, Some(1_700_000_000.25));
        let buckets = page.buckets("h", &[("r", "p")]);
        assert_eq!(buckets, [(0.1, 1.0), (1.0, 2.0), (f64::INFINITY, 0.0)]);
        assert!(page.series().contains("h_count{r=\"p\"}"));
        assert!(page.labels().contains(&("le", "+Inf")));
    }

    #[test]
    fn refuses_what_a_careful_writer_does_not_write() {
        for (good, bad) in [
            ("# EOF\n", ""),
            ("# HELP g A level.\n", "# HELP a Again.\n"),
            ("# TYPE a counter", "# TYPE a summary"),
            ("# TYPE g gauge\n", "# TYPE g gauge\n\n"),
            ("# TYPE g gauge\n", "# TYPE g gauge\n# words\n"),
            ("a_total{x=\"2\",y=\"\"} 4", "a{x=\"2\",y=\"\"} 4"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total{x=\"2\",x=\"\"} 4"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total{x=\"2\",} 4"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total{x=\"2\"y=\"\"} 4"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total{x=\"2} 4"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total{x=\"\\t\"} 4"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total 4.5"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total -4"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total NaN"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total  4"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total 4 1700000000"),
            ("a_total{x=\"2\",y=\"\"} 4", "a_total 4\na_total 5"),
            ("a_total{x=\"2\",y=\"\"} 4", "b_total 4"),
            ("0.5 1700000000.25", "x"),
            ("# {trace_id=\"0af8\"} 0.05", "# 0.05"),
            ("# {trace_id=\"0af8\"} 0.05", "# {trace_id=\"0af8\"} 0.5"),
            ("g -1", "g -1 # {a=\"b\"} 1"),
            ("h_count{r=\"p\"} 3", "h_count{r=\"p\"} 4"),
            ("h_count{r=\"p\"} 3", "h_count{r=\"q\"} 3"),
            ("h_sum{r=\"p\"} 0.75\n", ""),
            ("{le=\"0.1\",r=\"p\"} 1", "{le=\"0.1\",r=\"p\"} 4"),
            ("{le=\"0.1\",r=\"p\"} 1", "{r=\"p\"} 1"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let page = GOOD.replacen(good, bad, 1);
            assert!(Scrape::read(&page).is_err(), "{bad:?} was taken");
        }
        // A boundary: 8 letters of the name, 120 of the value.
        for (letters, good) in [(120, true), (121, false)] {
            let long = format!("{{trace_id=\"{}\"}}", "a".repeat(letters));
            let page = GOOD.replace("{trace_id=\"0af7\"}", &long);
            assert_eq!(Scrape::read(&page).is_ok(), good, "{letters}");
        }
    }
}
