//! What stands above the table: who it is, what is wrong, and how much is going on.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Sparkline};

use super::draw::{padded, style};
use super::state::{Point, Top};
use crate::now::Now;
use crate::tables::Tone;
use crate::words::{self, cut, width};

/// How many readings it is told that another process answers.
const TOLD: u64 = 15;

/// The first line.
pub(super) fn head(top: &Top, columns: u16) -> Line<'static> {
    let room = usize::from(columns);
    let every = match top.paused {
        true => "PAUSED".to_owned(),
        false => format!("every {} s", top.interval().as_secs_f64()),
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled("Umay ", bold)];
    if let Some(now) = &top.now {
        let reading = &now.reading;
        let (stage, tone) = match &*reading.stage {
            _ if top.silent.is_some() => ("no answer", Tone::Bad),
            "ready" => ("ready", Tone::Good),
            other => (other, Tone::Busy),
        };
        spans.push(Span::styled(format!("{} ", reading.version), bold));
        spans.push(Span::raw(format!("at {} ", top.place)));
        spans.push(Span::styled(stage.to_owned(), style(tone)));
        let rest = format!(
            "  up {}  {:.2} cores  {}  workers {}",
            words::duration(reading.uptime_ms / 1000),
            now.cpu,
            words::bytes(reading.memory_bytes as f64),
            reading.workers
        );
        let used: usize = spans.iter().map(|span| width(&span.content)).sum();
        let left = room.saturating_sub(used + width(&every) + 2);
        spans.push(Span::raw(cut(&rest, left)));
    } else {
        spans.push(Span::raw(format!("at {}", top.place)));
    }
    let used: usize = spans.iter().map(|span| width(&span.content)).sum();
    let pad = room.saturating_sub(used + width(&every));
    spans.push(Span::raw(" ".repeat(pad)));
    spans.push(Span::styled(
        every,
        match top.paused {
            true => bold.add_modifier(Modifier::REVERSED),
            false => style(Tone::Faint),
        },
    ));
    Line::from(spans)
}

/// What is wrong, as many lines as there is room for.
pub(super) fn troubles(top: &Top, area: Rect) -> Vec<Line<'static>> {
    let room = usize::from(area.width);
    let most = match area.height {
        ..20 => 1,
        20..30 => 3,
        _ => 6,
    };
    let mut lines = Vec::new();
    if let Some((why, times)) = &top.silent {
        let text = format!(" not answering, trying again ({times}): {why}");
        let style = Style::new()
            .fg(Color::White)
            .bg(Color::Red)
            .add_modifier(Modifier::BOLD);
        lines.push(Line::styled(padded(&cut(&text, room), room, false), style));
    } else if top.now.is_none() {
        lines.push(Line::styled(" asking…", style(Tone::Faint)));
    } else if top.restarted.is_some_and(|readings| readings <= TOLD) {
        let text = " another process answers: it was restarted or upgraded, and counts anew";
        lines.push(Line::styled(cut(text, room), style(Tone::Busy)));
    }
    let Some(now) = &top.now else {
        return lines;
    };
    let problems = &now.reading.problems;
    // The last line says how many more there are, where they are not all told.
    let shown = match problems.len() > most {
        true => most.saturating_sub(1).max(1),
        false => most,
    };
    for (at, problem) in problems.iter().take(shown).enumerate() {
        let (mark, tone) = match problem.is_error {
            true => ("✗ ", Tone::Bad),
            false => ("! ", Tone::Busy),
        };
        let more = match problems.len() - shown.min(problems.len()) {
            more if more > 0 && most == 1 && at == 0 => format!(" (+{more})"),
            _ => String::new(),
        };
        let left = room.saturating_sub(width(mark) + width(&more));
        let text = format!("{}: {} → {}", problem.about, problem.what, problem.hint);
        lines.push(Line::from(vec![
            Span::styled(mark, style(tone)),
            Span::styled(cut(&text, left), style(tone)),
            Span::styled(more, style(Tone::Faint)),
        ]));
    }
    if problems.len() > shown && most > 1 {
        let text = format!(
            "  and {} more; umay status --all tells them",
            problems.len() - shown
        );
        lines.push(Line::styled(cut(&text, room), style(Tone::Faint)));
    }
    lines
}

/// Two lines of numbers.
pub(super) fn numbers(top: &Top, columns: u16) -> Vec<Line<'static>> {
    let Some(now) = &top.now else {
        return Vec::new();
    };
    let reading = &now.reading;
    let last = reading.bounds_ms.last().copied().unwrap_or(0.0);
    let latency = |ms| words::latency(ms, last);
    let [open, ..] = reading.connections;
    let [into, out] = now.bytes;
    let [done, failed] = now.handshakes;
    let bad = |rate: f64| if rate > 0.0 { Tone::Bad } else { Tone::Plain };
    let first = vec![
        (
            "requests",
            format!("{}/s", words::rate(now.requests)),
            Tone::Plain,
        ),
        (
            "5xx",
            format!(
                "{}/s {}",
                words::rate(now.errors),
                words::share(now.errors, now.requests)
            ),
            bad(now.errors),
        ),
        ("p50", latency(now.latency.p50), Tone::Plain),
        ("p90", latency(now.latency.p90), Tone::Plain),
        ("p99", latency(now.latency.p99), Tone::Plain),
        ("in flight", words::count(reading.in_flight), Tone::Plain),
        ("streams", words::count(reading.streams), Tone::Plain),
    ];
    let second = vec![
        (
            "connections",
            format!("{} +{}/s", words::count(open), words::rate(now.connections)),
            Tone::Plain,
        ),
        (
            "refused",
            format!("{}/s", words::rate(now.refused)),
            bad(now.refused),
        ),
        ("TLS", format!("{}/s", words::rate(done)), Tone::Plain),
        ("failed", format!("{}/s", words::rate(failed)), bad(failed)),
        ("in", format!("{}/s", words::bytes(into)), Tone::Plain),
        ("out", format!("{}/s", words::bytes(out)), Tone::Plain),
    ];
    vec![pairs(first, columns), pairs(second, columns)]
}

fn pairs(pairs: Vec<(&'static str, String, Tone)>, columns: u16) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    for (name, value, tone) in pairs {
        // A number that comes and goes in width would make all others jump.
        let value = padded(&value, 7, false);
        used += width(name) + width(&value) + 3;
        if used > usize::from(columns) + 2 {
            break;
        }
        spans.push(Span::styled(format!("{name} "), style(Tone::Faint)));
        spans.push(Span::styled(
            format!("{value}  "),
            style(tone).add_modifier(Modifier::BOLD),
        ));
    }
    Line::from(spans)
}

/// Three small charts of the last readings.
pub(super) fn charts(top: &Top, frame: &mut Frame<'_>, area: Rect) {
    let now = top.now.as_ref();
    let last = now.and_then(|now| now.reading.bounds_ms.last().copied());
    let time = |ms| words::latency(ms, last.unwrap_or(0.0));
    let places: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
    let rate = |rate: fn(&Now) -> f64| now.map_or(0.0, rate);
    let charts = [
        (
            format!("requests {}/s", words::rate(rate(|now| now.requests))),
            words::rate as fn(f64) -> String,
            Color::Cyan,
            (|point: &Point| point.requests) as fn(&Point) -> f64,
        ),
        (
            format!("p99 {}", time(now.and_then(|now| now.latency.p99))),
            |ms| words::latency(Some(ms), ms),
            Color::Magenta,
            |point| point.p99,
        ),
        (
            format!("5xx {}/s", words::rate(rate(|now| now.errors))),
            words::rate,
            Color::Red,
            |point| point.errors,
        ),
    ];
    for (place, (title, told, colour, of)) in places.into_iter().zip(charts) {
        let points = usize::from(place.width.saturating_sub(1));
        let skip = top.history.len().saturating_sub(points);
        let recent = top.history.iter().skip(skip);
        let values: Vec<f64> = recent.map(of).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        let scale = |value: &f64| match most > 0.0 {
            true => (value / most * 1000.0).round() as u64,
            false => 0,
        };
        let mut data: Vec<u64> = vec![0; points.saturating_sub(values.len())];
        data.extend(values.iter().map(scale));
        let text = format!(" {title} ");
        let label = match most > 0.0 {
            true => format!(" most {} ", told(most)),
            false => String::new(),
        };
        let block = Block::new()
            .borders(Borders::TOP)
            .border_style(style(Tone::Faint))
            .title(Span::styled(
                text,
                Style::new().add_modifier(Modifier::BOLD),
            ))
            .title(Line::styled(label, style(Tone::Faint)).right_aligned());
        let chart = Sparkline::default()
            .block(block)
            .data(data)
            .max(1000)
            .style(Style::new().fg(colour));
        frame.render_widget(chart, place);
    }
}
