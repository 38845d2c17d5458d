//! `umay status`: one screen of text, what is wrong first.

use crate::layout::{fit, order};
use crate::now::Now;
use crate::tables::{Table, Tone};
use crate::words::{self, cut, width, wrapped};

/// How the screen is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns that there are.
    pub columns: usize,
    /// Colours may be used.
    pub colour: bool,
    /// All rows of all tables, instead of the first ones.
    pub all: bool,
}

/// Rows of a table, unless all are wanted.
const ROWS: usize = 10;

/// Between columns.
const GAP: usize = 2;

/// Writes the screen. `place` says which Umay it is.
pub fn screen(now: &Now, place: &str, look: Look) -> String {
    let mut out = Screen {
        look,
        text: String::new(),
    };
    out.head(now, place);
    out.problems(now);
    out.by_hand(now);
    out.traffic(now);
    for table in [
        Table::Upstreams,
        Table::Endpoints,
        Table::Routes,
        Table::Failures,
        Table::Listeners,
    ] {
        out.table(table, now);
    }
    out.text
}

struct Screen {
    look: Look,
    text: String,
}

impl Screen {
    fn paint(&self, text: &str, code: &str) -> String {
        match self.look.colour && !text.is_empty() {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    fn toned(&self, text: &str, tone: Tone) -> String {
        match tone {
            Tone::Plain => text.to_owned(),
            Tone::Faint => self.paint(text, "2"),
            Tone::Good => self.paint(text, "32"),
            Tone::Busy => self.paint(text, "33"),
            Tone::Bad => self.paint(text, "1;31"),
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Words in as many lines as they need, the first after `first`, the others as far in.
    fn words(&mut self, first: &str, text: &str, tone: Tone) {
        let indent = width(first);
        let lines = wrapped(text, self.look.columns.saturating_sub(indent).max(20));
        for (at, line) in lines.iter().enumerate() {
            let lead = match at {
                0 => first.to_owned(),
                _ => " ".repeat(indent),
            };
            let line = format!("{}{}", self.toned(&lead, tone), line);
            self.line(&line);
        }
    }

    fn head(&mut self, now: &Now, place: &str) {
        let reading = &now.reading;
        let tone = match &*reading.stage {
            "ready" => Tone::Good,
            _ => Tone::Busy,
        };
        let umay = self.paint(&format!("Umay {}", reading.version), "1");
        let stage = self.toned(&reading.stage, tone);
        self.line(&format!(
            "{umay} at {place}: {stage}, up {}, configuration of {}",
            words::duration(reading.uptime_ms / 1000),
            reading.config_since
        ));
    }

    fn problems(&mut self, now: &Now) {
        let problems = &now.reading.problems;
        if problems.is_empty() {
            return;
        }
        self.line("");
        let shown = if self.look.all { problems.len() } else { ROWS };
        for problem in problems.iter().take(shown) {
            let (mark, tone) = match problem.is_error {
                true => ("error    ", Tone::Bad),
                false => ("warning  ", Tone::Busy),
            };
            let text = format!("{}: {}", problem.about, problem.what);
            self.words(mark, &text, tone);
            self.words("         → ", &problem.hint, Tone::Faint);
        }
        self.more(problems.len(), shown);
    }

    fn by_hand(&mut self, now: &Now) {
        let all = &now.reading.by_hand;
        if all.is_empty() {
            return;
        }
        self.line("");
        let shown = if self.look.all { all.len() } else { ROWS };
        for set in all.iter().take(shown) {
            self.words("by hand  ", set, Tone::Faint);
        }
        self.more(all.len(), shown);
    }

    fn more(&mut self, all: usize, shown: usize) {
        if all > shown {
            let text = format!("  … and {} more (--all)", all - shown);
            let text = self.toned(&text, Tone::Faint);
            self.line(&text);
        }
    }

    fn title(&mut self, title: &str, note: &str) {
        self.line("");
        let title = self.paint(&title.to_uppercase(), "1");
        let note = self.toned(note, Tone::Faint);
        self.line(&format!("{title} {note}"));
    }

    fn traffic(&mut self, now: &Now) {
        let reading = &now.reading;
        self.title("traffic", &format!("over {:.1} s", now.seconds));
        let last = reading.bounds_ms.last().copied().unwrap_or(0.0);
        let latency = |ms| words::latency(ms, last);
        let [open, accepted, _] = reading.connections;
        let [into, out] = now.bytes;
        let [done, failed] = now.handshakes;
        let mut clients = format!(
            "{} connections open, {}/s new, {} so far",
            words::count(open),
            words::rate(now.connections),
            words::count(accepted)
        );
        if now.refused > 0.0 {
            clients.push_str(&format!(", {}/s refused", words::rate(now.refused)));
        }
        let rows = [
            (
                "requests",
                format!(
                    "{}/s, {} in flight, {} so far",
                    words::rate(now.requests),
                    words::count(reading.in_flight),
                    words::count(reading.requests)
                ),
            ),
            (
                "5xx",
                format!(
                    "{}/s, {} of requests",
                    words::rate(now.errors),
                    words::share(now.errors, now.requests)
                ),
            ),
            (
                "latency",
                format!(
                    "p50 {}, p90 {}, p99 {}",
                    latency(now.latency.p50),
                    latency(now.latency.p90),
                    latency(now.latency.p99)
                ),
            ),
            ("clients", clients),
            (
                "TLS",
                format!(
                    "{}/s handshakes, {}/s failed",
                    words::rate(done),
                    words::rate(failed)
                ),
            ),
            ("streams", format!("{} open", words::count(reading.streams))),
            (
                "bytes",
                format!("{}/s in, {}/s out", words::bytes(into), words::bytes(out)),
            ),
            (
                "process",
                format!(
                    "{:.2} cores in use, {} of memory, workers: {}",
                    now.cpu,
                    words::bytes(reading.memory_bytes as f64),
                    reading.workers
                ),
            ),
        ];
        for (name, text) in rows {
            let tone = match name == "5xx" && now.errors > 0.0 {
                true => Tone::Bad,
                false => Tone::Faint,
            };
            self.words(&format!("  {name:10}"), &text, tone);
        }
    }

    fn table(&mut self, table: Table, now: &Now) {
        let mut rows = table.rows(now);
        if rows.is_empty() {
            return;
        }
        order(table, &mut rows, false);
        let (all, most) = (rows.len(), if self.look.all { usize::MAX } else { ROWS });
        rows.truncate(most);
        let note = match all > rows.len() {
            true => format!("{} of {all}", rows.len()),
            false => String::new(),
        };
        self.title(table.title(), &note);
        let columns = table.columns();
        let room = self.look.columns.saturating_sub(GAP);
        let widths = fit(columns, &rows, room, GAP);
        let titles = columns
            .iter()
            .map(|column| (column.title.to_owned(), Tone::Faint));
        self.cells(table, &widths, titles);
        for row in &rows {
            let cells = row.cells.iter().map(|cell| (cell.text.clone(), cell.tone));
            self.cells(table, &widths, cells);
        }
        self.more(all, rows.len());
    }

    fn cells(
        &mut self,
        table: Table,
        widths: &[Option<usize>],
        cells: impl Iterator<Item = (String, Tone)>,
    ) {
        let mut line = String::new();
        for ((column, width), (text, tone)) in table.columns().iter().zip(widths).zip(cells) {
            let Some(columns) = width else {
                continue;
            };
            let text = cut(&text, *columns);
            let pad = " ".repeat(columns.saturating_sub(words::width(&text)));
            let text = self.toned(&text, tone);
            line.push_str(&" ".repeat(GAP));
            match column.right {
                true => line.push_str(&format!("{pad}{text}")),
                false => line.push_str(&format!("{text}{pad}")),
            }
        }
        self.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reading::Reading;

    fn now() -> Now {
        let endpoint = |n: u64| {
            let standing = if n == 14 { "ill" } else { "well" };
            json!({ "address": format!("10.0.0.{n}:80"), "standing": standing, "picks": n * 10, "why": "" })
        };
        Now::since_start(&Reading::new(&json!({
            "version": "0.1.0", "stage": "ready", "uptime_ms": 10_000, "latency_bounds_ms": [1, 10],
            "problems": [{ "severity": "error", "about": "upstream app", "what": "a very long story ".repeat(9), "hint": "do" }],
            "totals": { "requests": 1000, "statuses": { "200": 990, "500": 10 }, "refusals": { "no_route": 5 } },
            "upstreams": [{ "name": "app", "endpoints": (0..15).map(endpoint).collect::<Vec<_>>() }],
        })))
    }

    fn text(columns: usize, colour: bool, all: bool) -> String {
        let look = Look {
            columns,
            colour,
            all,
        };
        screen(&now(), "here", look)
    }

    #[test]
    fn what_is_wrong_comes_first() {
        let text = text(100, false, false);
        let at = |part: &str| {
            text.find(part)
                .unwrap_or_else(|| panic!("no {part} in\n{text}"))
        };
        assert_eq!(at("Umay 0.1.0 at here: ready, up 10 s"), 0);
        assert!(at("error    upstream app: a very long") < at("TRAFFIC"));
        assert!(at("5xx       1.0/s, 1.0 % of requests") < at("UPSTREAMS"));
        // The one that is ill, then the busiest; not all of them.
        assert!(at("10.0.0.14:80") < at("10.0.0.13:80"));
        assert!(at("10.0.0.13:80") < at("10.0.0.12:80"));
        assert!(!text.contains("10.0.0.2:80"));
        assert!(at("ENDPOINTS 10 of 15") < at("… and 5 more (--all)"));
    }

    #[test]
    fn all_is_all() {
        let text = text(100, false, true);
        assert!(text.contains("10.0.0.2:80") && !text.contains("--all"));
    }

    #[test]
    fn lines_keep_to_the_width() {
        for columns in [40, 60, 80, 100, 160] {
            for line in text(columns, false, false).lines() {
                // A table's columns that never go are as wide as they are.
                assert!(width(line) <= columns.max(60), "{columns}: {line}");
            }
        }
    }

    #[test]
    fn colours_are_for_terminals() {
        assert!(!text(100, false, false).contains('\u{1b}'));
        let coloured = text(100, true, false);
        assert!(coloured.contains("\u{1b}[1;31mill\u{1b}[0m"));
        assert!(coloured.contains("\u{1b}[32mready\u{1b}[0m"));
    }
}
