//! What the view remembers, and what keys and readings do to it.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

use crate::layout;
use crate::now::Now;
use crate::reading::Reading;
use crate::tables::{Key as SortKey, Row, Table};

/// Readings that the small charts remember.
const HISTORY: usize = 600;

/// The intervals that keys go through, in milliseconds.
const INTERVALS: [u64; 7] = [250, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

/// A key, whatever the terminal calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Left,
    Right,
    Enter,
    Escape,
    Backspace,
    Interrupt,
}

/// One moment in the charts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    pub(super) requests: f64,
    pub(super) errors: f64,
    /// In milliseconds.
    pub(super) p99: f64,
}

/// How a table is looked at.
#[derive(Clone, Debug, Default)]
struct View {
    /// The column that sorts it, and whether the other way round. Without one, what is wrong comes first.
    sort: Option<(usize, bool)>,
    /// The row that is chosen, by its name, so that it is followed wherever it goes.
    chosen: Option<String>,
    /// Where that was, for when it is gone.
    at: usize,
}

/// The live view.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) place: String,
    interval: Duration,
    table: usize,
    views: [View; Table::ALL.len()],
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) filter: String,
    /// The filter is being written.
    pub(super) typing: bool,
    pub(super) now: Option<Now>,
    /// Why there is no answer, and how often it was asked in vain.
    pub(super) silent: Option<(String, u64)>,
    /// Readings since another process answered.
    pub(super) restarted: Option<u64>,
    pub(super) history: VecDeque<Point>,
    /// Rows of the table that were shown, which is how far a page goes.
    pub(super) page: Cell<usize>,
    over: bool,
}

impl Top {
    pub(super) fn new(place: &str, interval: Duration) -> Self {
        Self {
            place: place.to_owned(),
            interval,
            table: 0,
            views: Default::default(),
            paused: false,
            help: false,
            filter: String::new(),
            typing: false,
            now: None,
            silent: None,
            restarted: None,
            history: VecDeque::new(),
            page: Cell::new(10),
            over: false,
        }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// The table that is shown.
    pub(super) fn table(&self) -> Table {
        Table::ALL
            .get(self.table)
            .copied()
            .unwrap_or(Table::Upstreams)
    }

    fn view(&self) -> Option<&View> {
        self.views.get(self.table)
    }

    fn view_mut(&mut self) -> Option<&mut View> {
        self.views.get_mut(self.table)
    }

    /// The column that sorts the table, and whether the largest comes first.
    pub(super) fn sort(&self) -> Option<(usize, bool)> {
        let (column, turned) = self.view()?.sort?;
        let number = self.table().columns().get(column)?.right;
        Some((column, number != turned))
    }

    /// The rows as they are shown, and the place of the chosen one.
    pub(super) fn rows(&self) -> (Vec<Row>, usize) {
        let Some(now) = &self.now else {
            return (Vec::new(), 0);
        };
        let mut rows = self.table().rows(now);
        let wanted = self.filter.to_lowercase();
        if !wanted.is_empty() {
            rows.retain(|row| {
                let texts = row.cells.iter().map(|cell| cell.text.to_lowercase());
                let mut texts = texts.chain([row.name.to_lowercase()]);
                texts.any(|text| text.contains(&wanted))
            });
        }
        match self.sort() {
            None => layout::order(self.table(), &mut rows, true),
            Some((column, falling)) => rows.sort_by(|a, b| {
                let by = compare(a, b, column);
                if falling { by.reverse() } else { by }
            }),
        }
        let view = self.view();
        let chosen = view.and_then(|view| view.chosen.as_ref());
        let place = rows.iter().position(|row| Some(&row.name) == chosen);
        let last = rows.len().saturating_sub(1);
        let place = place.unwrap_or_else(|| view.map_or(0, |view| view.at.min(last)));
        (rows, place)
    }

    /// What an answer brings.
    pub(super) fn take(&mut self, answer: Result<Reading, String>) {
        let reading = match answer {
            Ok(reading) => reading,
            Err(why) => {
                let times = self.silent.as_ref().map_or(0, |(_, times)| *times);
                self.silent = Some((why, times + 1));
                return;
            }
        };
        if self.paused {
            return;
        }
        self.silent = None;
        let before = self.now.as_ref().map(|now| &now.reading);
        let follows = before.is_some_and(|before| before.process == reading.process);
        if before.is_some() && !follows {
            self.restarted = Some(0);
        }
        let now = match before {
            None => Now::since_start(&reading),
            Some(before) => Now::between(before, &reading),
        };
        self.restarted = self.restarted.map(|readings| readings + 1);
        let last = reading.bounds_ms.last().copied().unwrap_or(0.0);
        // What is of all the time since a start is no moment.
        if follows {
            self.remember(&now, last);
        }
        self.now = Some(now);
    }

    fn remember(&mut self, now: &Now, last: f64) {
        self.history.push_back(Point {
            requests: now.requests,
            errors: now.errors,
            p99: now.latency.p99.unwrap_or(0.0).min(last),
        });
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: Key) {
        if key == Key::Interrupt {
            self.over = true;
        } else if self.typing {
            self.write(key);
        } else if self.help {
            self.help = false;
        } else {
            self.command(key);
        }
    }

    fn write(&mut self, key: Key) {
        match key {
            Key::Char(c) => self.filter.push(c),
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Escape => {
                self.filter.clear();
                self.typing = false;
            }
            Key::Enter => self.typing = false,
            other => self.command(other),
        }
    }

    fn command(&mut self, key: Key) {
        match key {
            Key::Char('q') => self.over = true,
            Key::Char('?' | 'h') => self.help = true,
            Key::Char(' ' | 'p') => self.paused = !self.paused,
            Key::Char('+' | '=') => self.change_interval(|ms, now| ms > now, false),
            Key::Char('-') => self.change_interval(|ms, now| ms < now, true),
            Key::Char('/') => self.typing = true,
            Key::Char('s') => self.sort_by(true),
            Key::Char('S') => self.sort_by(false),
            Key::Char('r') => {
                if let Some(view) = self.view_mut() {
                    view.sort = view.sort.map(|(column, turned)| (column, !turned));
                }
            }
            Key::Char(digit @ '1'..='9') => {
                let place = digit.to_digit(10).unwrap_or(1) as usize - 1;
                if place < Table::ALL.len() {
                    self.table = place;
                }
            }
            Key::Escape => self.filter.clear(),
            Key::Right => self.table = (self.table + 1) % Table::ALL.len(),
            Key::Left => self.table = (self.table + Table::ALL.len() - 1) % Table::ALL.len(),
            Key::Up | Key::Char('k') => self.choose(|at, _| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.choose(|at, _| at + 1),
            Key::PageUp => self.choose(|at, page| at.saturating_sub(page)),
            Key::PageDown => self.choose(|at, page| at + page),
            Key::Home => self.choose(|_, _| 0),
            Key::End => self.choose(|_, _| usize::MAX),
            Key::Char(_) | Key::Enter | Key::Backspace | Key::Interrupt => {}
        }
    }

    fn change_interval(&mut self, fits: fn(u64, u64) -> bool, last: bool) {
        let now = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        let mut found = INTERVALS.into_iter().filter(|ms| fits(*ms, now));
        let next = if last {
            found.next_back()
        } else {
            found.next()
        };
        if let Some(ms) = next {
            self.interval = Duration::from_millis(ms);
        }
    }

    /// The next column, or the one before; between the last and the first there is the order without a column.
    fn sort_by(&mut self, forward: bool) {
        let columns = self.table().columns().len();
        let Some(view) = self.view_mut() else {
            return;
        };
        let place = view.sort.map_or(0, |(column, _)| column + 1);
        let steps = if forward { 1 } else { columns };
        let place = (place + steps) % (columns + 1);
        view.sort = place.checked_sub(1).map(|column| (column, false));
    }

    fn choose(&mut self, to: impl Fn(usize, usize) -> usize) {
        let (rows, at) = self.rows();
        let place = to(at, self.page.get().max(1)).min(rows.len().saturating_sub(1));
        let name = rows.get(place).map(|row| row.name.clone());
        if let Some(view) = self.view_mut() {
            view.at = place;
            view.chosen = name;
        }
    }
}

fn compare(a: &Row, b: &Row, column: usize) -> Ordering {
    let key = |row: &Row| row.cells.get(column).map(|cell| cell.key.clone());
    match (key(a), key(b)) {
        (Some(SortKey::Number(a)), Some(SortKey::Number(b))) => a.total_cmp(&b),
        (Some(SortKey::Word(a)), Some(SortKey::Word(b))) => a.cmp(&b),
        _ => Ordering::Equal,
    }
}
