//! In which order rows stand, and how wide columns are.

use crate::tables::{Column, Key, Row, Table, Tone};
use crate::words;

/// Who is not well comes first, then who is busy. On a screen that is written once (`calm` is false) that is who fails
/// and who is busy now; in one that moves it is who was so far, or rows would change their places every second.
pub(crate) fn order(table: Table, rows: &mut [Row], calm: bool) {
    let busy = match (table, calm) {
        (Table::Upstreams | Table::Endpoints | Table::Routes, false) => "req/s",
        (Table::Upstreams | Table::Routes, true) => "requests",
        (Table::Endpoints, true) => "picks",
        _ => return,
    };
    let at = |title: &str| table.columns().iter().position(|c| c.title == title);
    let (busy, health) = (at(busy), at("well").or_else(|| at("standing")));
    let busy = |row: &Row| match busy.and_then(|at| row.cells.get(at)).map(|c| &c.key) {
        Some(Key::Number(number)) => *number,
        _ => 0.0,
    };
    let rank = |tone: Tone| match tone {
        Tone::Bad => 0,
        Tone::Busy => 1,
        _ => 2,
    };
    let ill = |row: &Row| {
        let cell = health.and_then(|at| row.cells.get(at));
        cell.map_or(2, |cell| rank(cell.tone))
    };
    let failing = |row: &Row| {
        let ranks = row.cells.iter().map(|cell| rank(cell.tone));
        if calm { 2 } else { ranks.min().unwrap_or(2) }
    };
    rows.sort_by(|a, b| {
        let first = (ill(a), failing(a)).cmp(&(ill(b), failing(b)));
        first.then(busy(b).total_cmp(&busy(a)))
    });
}

/// How wide each column is, or `None` if it has no room: numbers as they are, and words get what is left. `gap` is
/// what stands between columns.
pub(crate) fn fit(columns: &[Column], rows: &[Row], room: usize, gap: usize) -> Vec<Option<usize>> {
    /// No word is cut shorter than this, nor the first one, which says what a row is about, than that.
    const LEAST: usize = 12;
    const FIRST: usize = 22;
    let widest = |at: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.cells.get(at));
        let cells = cells.map(|cell| words::width(&cell.text));
        cells.max().unwrap_or(0).max(words::width(column.title))
    };
    let natural: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| widest(at, column))
        .collect();
    let first = columns.first().map(|column| column.title);
    let least = |(column, natural): (&Column, &usize)| match column.right {
        true => *natural,
        false if Some(column.title) == first => (*natural).min(FIRST),
        false => (*natural).min(LEAST),
    };
    let mut kept = vec![true; columns.len()];
    let needed = |kept: &[bool]| {
        let each = columns.iter().zip(&natural).zip(kept);
        let each = each.filter(|(_, kept)| **kept);
        each.map(|(column, _)| least(column) + gap).sum::<usize>()
    };
    while needed(&kept) > room + gap {
        let each = columns.iter().enumerate();
        let last = each
            .filter(|(at, column)| column.drop > 0 && kept.get(*at) == Some(&true))
            .max_by_key(|(_, column)| column.drop);
        let Some(kept) = last.and_then(|(at, _)| kept.get_mut(at)) else {
            break;
        };
        *kept = false;
    }
    let mut left = (room + gap).saturating_sub(needed(&kept));
    let each = columns.iter().zip(&natural).zip(&kept);
    each.map(|((column, natural), kept)| {
        let least = least((column, natural));
        let more = (natural - least).min(left);
        left -= if *kept { more } else { 0 };
        kept.then_some(least + more)
    })
    .collect()
}
