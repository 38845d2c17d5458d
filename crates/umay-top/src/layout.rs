//! In which order rows stand, and how wide columns are.

use crate::tables::{Column, Key, Row, Table, Tone};
use crate::words;

/// What is wrong first, then what is busy.
pub(crate) fn order(table: Table, rows: &mut [Row]) {
    if !matches!(table, Table::Upstreams | Table::Endpoints | Table::Routes) {
        return;
    }
    let rate = table.columns().iter().position(|c| c.title == "req/s");
    let busy = |row: &Row| match rate.and_then(|at| row.cells.get(at)).map(|c| &c.key) {
        Some(Key::Number(number)) => *number,
        _ => 0.0,
    };
    let wrong = |row: &Row| {
        let tones = row.cells.iter().map(|cell| cell.tone);
        let rank = |tone| match tone {
            Tone::Bad => 0,
            Tone::Busy => 1,
            _ => 2,
        };
        tones.map(rank).min().unwrap_or(2)
    };
    rows.sort_by(|a, b| {
        let first = wrong(a).cmp(&wrong(b));
        first.then(busy(b).total_cmp(&busy(a)))
    });
}

/// How wide each column is, or `None` if it has no room: numbers as they are, and words get what is left. `gap` is
/// what stands between columns.
pub(crate) fn fit(columns: &[Column], rows: &[Row], room: usize, gap: usize) -> Vec<Option<usize>> {
    /// No word is cut shorter than this.
    const LEAST: usize = 12;
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
    let least = |(column, natural): (&Column, &usize)| match column.right {
        true => *natural,
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
