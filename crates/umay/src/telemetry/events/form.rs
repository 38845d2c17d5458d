//! How an event is written: a line for people, or a JSON object.
//!
//! What an event tells may come from a client or an endpoint, so nothing in it can end the line, or be taken for
//! another event: control characters, and what changes the direction of text, are escaped. A message may have
//! several lines (a configuration that was refused has); those after the first are set in, as no event begins.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;
use umay_core::legible::misleads;

use crate::telemetry::access::rfc3339;

/// What lines look like.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// Whether they are JSON; a reload changes it, from one event to the next.
    pub(super) json: Arc<AtomicBool>,
    /// Text has the name of the module.
    pub(super) target: bool,
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let metadata = event.metadata();
        let mut target = Target(metadata.target().to_owned());
        if metadata.target() == "log" {
            // What libraries tell by the `log` crate has its target in a field.
            event.record(&mut target);
        }
        let stamp = Stamp(now.as_secs(), now.subsec_micros());
        let colour = out.has_ansi_escapes();
        if self.json.load(Ordering::Relaxed) {
            json(&mut out, stamp, *metadata.level(), &target.0, event)
        } else {
            let target = self.target.then_some(&*target.0);
            text(&mut out, (stamp, colour), *metadata.level(), target, event)
        }
    }
}

/// Seconds since 1970, and microseconds.
#[derive(Clone, Copy)]
struct Stamp(u64, u32);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = rfc3339(self.0);
        write!(f, "{}.{:06}Z", second.trim_end_matches('Z'), self.1)
    }
}

fn text(
    out: &mut dyn Write,
    (stamp, colour): (Stamp, bool),
    level: Level,
    target: Option<&str>,
    event: &Event<'_>,
) -> fmt::Result {
    let (dim, shade, end) = match colour {
        true => ("\u{1b}[2m", shade(level), "\u{1b}[0m"),
        false => ("", "", ""),
    };
    write!(out, "{dim}{stamp}{end} {shade}{level:>5}{end} ")?;
    if let Some(target) = target {
        write!(out, "{dim}{}:{end} ", Escaped(target, Rules::Text))?;
    }
    let mut fields = Fields {
        out,
        json: false,
        first: true,
        result: Ok(()),
    };
    event.record(&mut fields);
    fields.result?;
    writeln!(out)
}

fn shade(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

fn json(
    out: &mut dyn Write,
    stamp: Stamp,
    level: Level,
    target: &str,
    event: &Event<'_>,
) -> fmt::Result {
    let level = level.as_str().to_ascii_lowercase();
    let target = Escaped(target, Rules::Json);
    write!(
        out,
        r#"{{"ts":"{stamp}","level":"{level}","target":"{target}""#
    )?;
    let mut fields = Fields {
        out,
        json: true,
        first: false,
        result: Ok(()),
    };
    event.record(&mut fields);
    fields.result?;
    writeln!(out, "}}")
}

/// The target of an event that came from the `log` crate.
struct Target(String);

impl Visit for Target {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Writes fields, one after the other.
struct Fields<'a> {
    out: &'a mut dyn Write,
    json: bool,
    first: bool,
    result: fmt::Result,
}

impl Fields<'_> {
    /// Writes a field. In JSON, a `plain` value is written as it is.
    fn field(&mut self, field: &Field, value: fmt::Arguments<'_>, plain: bool) {
        // Those of the `log` crate are about where it was told.
        if self.result.is_ok() && !field.name().starts_with("log.") {
            self.result = self.write(field.name(), value, plain);
        }
    }

    fn write(&mut self, name: &str, value: fmt::Arguments<'_>, plain: bool) -> fmt::Result {
        if self.json {
            let quote = if plain { "" } else { "\"" };
            write!(self.out, ",\"{}\":{quote}", Escaped(name, Rules::Json))?;
            escape(self.out, value, Rules::Json)?;
            return self.out.write_str(quote);
        }
        if !std::mem::take(&mut self.first) {
            self.out.write_char(' ')?;
        }
        if name == "message" {
            return escape(self.out, value, Rules::Message);
        }
        write!(self.out, "{name}=")?;
        escape(self.out, value, Rules::Text)
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.json || field.name() == "message" {
            self.field(field, format_args!("{value}"), false);
        } else {
            self.field(field, format_args!("{value:?}"), false);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, format_args!("{value}"), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, format_args!("{value}"), true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, format_args!("{value}"), true);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, format_args!("{value}"), value.is_finite());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, format_args!("{value:?}"), false);
    }
}

/// What is escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// All that is not shown as itself.
    Text,
    /// The same, but lines end where they end.
    Message,
    /// The same as in text, and quotes and backslashes (RFC 8259 section 7).
    Json,
}

struct Escaped<'a>(&'a str, Rules);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, format_args!("{}", self.0), self.1)
    }
}

fn escape(out: &mut dyn Write, value: fmt::Arguments<'_>, rules: Rules) -> fmt::Result {
    Escaping(out, rules).write_fmt(value)
}

/// Escapes what is written to it.
struct Escaping<'a>(&'a mut dyn Write, Rules);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Self(out, rules) = self;
        for char in text.chars() {
            match char {
                '\n' if *rules == Rules::Message => out.write_str("\n    ")?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                '"' | '\\' if *rules == Rules::Json => write!(out, "\\{char}")?,
                char if misleads(char) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}")?;
                    }
                }
                char => out.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use serde_json::Value;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What is written of the events of `work`.
    fn told(json: bool, colour: bool, work: impl FnOnce()) -> String {
        let kept = Kept::default();
        let form = Form {
            json: Arc::new(json.into()),
            target: true,
        };
        let events = tracing_subscriber::fmt()
            .with_ansi(colour)
            .event_format(form)
            .with_writer(kept.clone())
            .finish();
        tracing::subscriber::with_default(events, work);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const HOSTILE: &str = "a\n2026-01-01T00:00:00.000000Z  INFO umay: ready\r\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{61c}\u{e0041}\"\\";

    #[test]
    fn text_is_one_line_whatever_it_tells() {
        let text = told(false, false, || {
            tracing::info!(host = HOSTILE, error = %HOSTILE, debug = ?HOSTILE, count = 7, "it came");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("  INFO umay::telemetry::events::form::tests: it came host=\"a\\n"));
        assert!(text.contains(" count=7"), "{text}");
        let hidden = |c: char| c != '\n' && misleads(c);
        assert!(!text.contains(hidden), "{text:?}");
    }

    #[test]
    fn lines_of_a_message_are_no_events() {
        let text = told(false, false, || tracing::error!("refused: {HOSTILE}"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[1].starts_with("    2026"), "{text}");
    }

    #[test]
    fn json_is_an_object_per_line() {
        let text = told(true, false, || {
            tracing::warn!(host = HOSTILE, error = %HOSTILE, count = 7, ok = true, nan = f64::NAN, "{HOSTILE}");
            tracing::info!("second");
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        for name in ["host", "error", "message"] {
            assert_eq!(first[name], HOSTILE);
        }
        assert_eq!((&first["count"], &first["ok"]), (&7.into(), &true.into()));
        assert_eq!(
            (&first["level"], &first["nan"]),
            (&"warn".into(), &"NaN".into())
        );
        assert!(first["ts"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn only_umay_colours_a_terminal() {
        let text = told(false, true, || tracing::info!(host = HOSTILE, "it came"));
        assert_eq!(text.matches('\u{1b}').count(), 6, "{text:?}");
    }
}
