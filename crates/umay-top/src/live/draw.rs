//! The frame: what is going on above, one table below, what the keys do at the bottom.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::panels;
use super::state::Top;
use crate::layout::fit;
use crate::tables::{Row, Table, Tone};
use crate::words::{cut, width};

/// The smallest terminal that has room for all of it.
const LEAST: (u16, u16) = (60, 15);

/// Between columns.
const GAP: usize = 2;

const HELP: &str = "\
1 … 6        show a table; ← → and Tab go through them
↑ ↓          choose a row (also k j, PgUp PgDn, Home End)
s  S         sort by the next column, by the one before
r            the other way round
/            show only rows with a text; Esc ends that
Space  p     pause, and go on
+  -         ask less often, more often
q  Ctrl-C    quit

Without a sort column, what is wrong comes first, then what
is busy. Rates are of the time between two readings; what
the words mean is in docs/status.md.

Any key closes this.";

/// Draws it.
pub(super) fn draw(top: &Top, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "umay top needs {} columns and {} lines; here are {} and {}. q quits.",
            LEAST.0, LEAST.1, area.width, area.height
        );
        let paragraph = Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true });
        frame.render_widget(paragraph, area);
        return;
    }
    let troubles = panels::troubles(top, area);
    let charts = match area.height {
        ..20 => 0,
        20..30 => 4,
        _ => 6,
    };
    let lines = |count: usize| Constraint::Length(u16::try_from(count).unwrap_or(0));
    let [head, wrong, chart, numbers, tabs, table, detail, keys] = Layout::vertical([
        Constraint::Length(1),
        lines(troubles.len()),
        Constraint::Length(charts),
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(panels::head(top, head.width), head);
    frame.render_widget(Paragraph::new(troubles), wrong);
    if charts > 0 {
        panels::charts(top, frame, chart);
    }
    frame.render_widget(Paragraph::new(panels::numbers(top, area.width)), numbers);
    frame.render_widget(self::tabs(top, tabs.width), tabs);
    self::table(top, frame, table, detail);
    frame.render_widget(self::keys(top, keys.width), keys);
    if top.help {
        help(frame, area);
    }
}

pub(super) fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Faint => Style::new().fg(Color::DarkGray),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Busy => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

fn tabs(top: &Top, columns: u16) -> Line<'static> {
    let room = usize::from(columns);
    let tables = || Table::ALL.into_iter().enumerate();
    let rows = |table: Table| top.now.as_ref().map_or(0, |now| table.rows(now).len());
    let long = tables().map(|(at, table)| {
        let title = format!(" {} {} {} ", at + 1, table.title(), rows(table));
        (table, title)
    });
    let long: Vec<(Table, String)> = long.collect();
    let needed: usize = long.iter().map(|(_, title)| width(title)).sum();
    // Where there is no room, the order alone says which key is whose.
    let short = tables().map(|(_, table)| (table, format!(" {} ", cut(table.title(), 9))));
    let titles = if needed <= room {
        long
    } else {
        short.collect()
    };
    let mut spans = Vec::new();
    for (table, title) in titles {
        let style = match table == top.table() {
            true => Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD),
            false => Style::new(),
        };
        spans.push(Span::styled(title, style));
    }
    Line::from(spans)
}

fn table(top: &Top, frame: &mut Frame<'_>, area: Rect, detail: Rect) {
    let (rows, chosen) = top.rows();
    let columns = top.table().columns();
    let widths = fit(columns, &rows, usize::from(area.width), GAP);
    let mut lines = Vec::new();
    let mut title = Vec::new();
    for (at, (column, columns)) in columns.iter().zip(&widths).enumerate() {
        let Some(columns) = columns else { continue };
        let sorts = top.sort().filter(|(sorted, _)| *sorted == at);
        // It stands between the columns, where there is always room for it.
        let (mark, style) = match sorts {
            Some((_, falling)) => {
                let style = Style::new().add_modifier(Modifier::BOLD);
                (if falling { "▼" } else { "▲" }, style)
            }
            None => ("", style(Tone::Faint)),
        };
        let text = cut(column.title, *columns);
        let text = match column.right {
            true => padded(&text, *columns, true) + mark,
            false => text + mark,
        };
        title.push(Span::styled(padded(&text, columns + GAP, false), style));
    }
    lines.push(Line::from(title));
    let room = usize::from(area.height).saturating_sub(1).max(1);
    top.page.set(room);
    // The chosen row is in the middle, unless the table begins or ends there.
    let first = chosen.saturating_sub(room / 2);
    let first = first.min(rows.len().saturating_sub(room));
    for (at, row) in rows.iter().enumerate().skip(first).take(room) {
        lines.push(line(top.table(), row, &widths, at == chosen, area.width));
    }
    if rows.is_empty() {
        lines.push(Line::styled(empty(top), style(Tone::Faint)));
    }
    frame.render_widget(Paragraph::new(lines), area);
    let last = (first + room).min(rows.len());
    let place = match rows.len() > room {
        true => format!("  {}–{last} of {}", first + 1, rows.len()),
        false => String::new(),
    };
    let words = rows.get(chosen).map_or("", |row| &row.detail);
    let room = usize::from(detail.width).saturating_sub(width(&place));
    let words = padded(&cut(words, room), room, false);
    let line = Line::from(vec![
        Span::styled(words, Style::new().add_modifier(Modifier::ITALIC)),
        Span::styled(place, style(Tone::Faint)),
    ]);
    frame.render_widget(line, detail);
}

/// What stands in a table without rows.
fn empty(top: &Top) -> String {
    match (&top.now, top.filter.is_empty(), top.table()) {
        (None, ..) => String::new(),
        (_, false, _) => format!("nothing with `{}` in it; Esc shows all", top.filter),
        (_, _, Table::Failures) => "nothing was refused, and nothing has failed".to_owned(),
        _ => "none".to_owned(),
    }
}

fn line(
    table: Table,
    row: &Row,
    widths: &[Option<usize>],
    chosen: bool,
    columns: u16,
) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    for ((column, width), cell) in table.columns().iter().zip(widths).zip(&row.cells) {
        let Some(width) = width else { continue };
        let text = padded(&cut(&cell.text, *width), *width, column.right);
        // Colours on a turned line are hard to read.
        let tone = if chosen { Tone::Plain } else { cell.tone };
        spans.push(Span::styled(text, style(tone)));
        spans.push(Span::raw(" ".repeat(GAP)));
        used += width + GAP;
    }
    spans.push(Span::raw(
        " ".repeat(usize::from(columns).saturating_sub(used)),
    ));
    let line = Line::from(spans);
    match chosen {
        true => line.patch_style(Style::new().add_modifier(Modifier::REVERSED)),
        false => line,
    }
}

pub(super) fn padded(text: &str, columns: usize, right: bool) -> String {
    let pad = " ".repeat(columns.saturating_sub(width(text)));
    if right {
        format!("{pad}{text}")
    } else {
        format!("{text}{pad}")
    }
}

fn keys(top: &Top, columns: u16) -> Line<'static> {
    if top.typing {
        let text = format!(
            "show rows with: {}▏  Enter keeps it, Esc ends it",
            top.filter
        );
        return Line::raw(cut(&text, usize::from(columns)));
    }
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, what) in [
        ("q", "quit"),
        ("?", "help"),
        ("1-6", "table"),
        ("s r", "sort"),
        ("/", "filter"),
        ("space", if top.paused { "go on" } else { "pause" }),
        ("+ -", "interval"),
        ("↑↓", "choose"),
    ] {
        used += width(key) + width(what) + 3;
        if used > usize::from(columns) {
            break;
        }
        let style = Style::new().add_modifier(Modifier::BOLD);
        spans.push(Span::styled(key, style));
        spans.push(Span::styled(format!(" {what}  "), self::style(Tone::Faint)));
    }
    Line::from(spans)
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let (columns, lines) = (64, HELP.lines().count() + 2);
    let lines = u16::try_from(lines).unwrap_or(u16::MAX);
    let [middle] = Layout::vertical([Constraint::Length(lines)])
        .flex(ratatui::layout::Flex::Center)
        .areas(area);
    let [middle] = Layout::horizontal([Constraint::Length(columns)])
        .flex(ratatui::layout::Flex::Center)
        .areas(middle);
    frame.render_widget(Clear, middle);
    let block = Block::bordered().title(" keys ");
    frame.render_widget(Paragraph::new(HELP).block(block), middle);
}
