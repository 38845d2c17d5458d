//! The tables that both the screen and the live view show: what stands in their columns, and how it sorts.

use crate::now::Now;
use crate::reading::Endpoint;
use crate::words::{self, NOTHING};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Upstreams,
    Endpoints,
    Routes,
    Failures,
    Listeners,
    Certificates,
}

/// How something is, for its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// Of less weight than the rest.
    Faint,
    Good,
    Busy,
    Bad,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Numbers stand at the right.
    pub(crate) right: bool,
    /// When there is no room, the columns with the largest number go first; 0 stays.
    pub(crate) drop: u8,
}

/// What sorts a cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    Number(f64),
    Word(String),
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
    pub(crate) key: Key,
}

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What it is about, whatever its numbers.
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
    /// What there is to say of it in a sentence.
    pub(crate) detail: String,
}

const fn left(title: &'static str, drop: u8) -> Column {
    Column {
        title,
        right: false,
        drop,
    }
}

const fn right(title: &'static str, drop: u8) -> Column {
    Column {
        title,
        right: true,
        drop,
    }
}

impl Table {
    /// All of them, in the order of the live view.
    pub(crate) const ALL: [Self; 6] = [
        Self::Upstreams,
        Self::Endpoints,
        Self::Routes,
        Self::Failures,
        Self::Listeners,
        Self::Certificates,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Upstreams => "upstreams",
            Self::Endpoints => "endpoints",
            Self::Routes => "routes",
            Self::Failures => "errors",
            Self::Listeners => "listeners",
            Self::Certificates => "certificates",
        }
    }

    pub(crate) fn columns(self) -> &'static [Column] {
        const UPSTREAMS: &[Column] = &[
            left("upstream", 0),
            left("well", 0),
            right("req/s", 0),
            right("failed/s", 1),
            right("retries/s", 5),
            right("in flight", 3),
            right("waiting", 6),
            right("p50", 4),
            right("p99", 2),
            right("requests", 7),
            left("balance", 8),
        ];
        const ENDPOINTS: &[Column] = &[
            left("endpoint", 0),
            left("standing", 0),
            right("req/s", 0),
            right("failed/s", 1),
            right("in flight", 3),
            right("cost", 2),
            left("upstream", 4),
            right("picks", 6),
            left("why", 5),
        ];
        const ROUTES: &[Column] = &[
            left("route", 0),
            right("req/s", 0),
            right("4xx/s", 3),
            right("5xx/s", 1),
            right("p50", 4),
            right("p99", 2),
            right("out/s", 6),
            right("requests", 7),
            left("to", 5),
            left("takes", 8),
        ];
        const FAILURES: &[Column] = &[
            left("reason", 0),
            left("where", 1),
            right("per s", 0),
            right("so far", 2),
            left("what it means", 3),
        ];
        const LISTENERS: &[Column] = &[
            left("listener", 0),
            left("address", 0),
            left("TLS", 1),
            left("serves", 2),
            right("routes", 3),
            right("certificates", 4),
        ];
        const CERTIFICATES: &[Column] = &[
            left("names", 0),
            right("days left", 0),
            left("expires", 1),
            left("file", 2),
        ];
        match self {
            Self::Upstreams => UPSTREAMS,
            Self::Endpoints => ENDPOINTS,
            Self::Routes => ROUTES,
            Self::Failures => FAILURES,
            Self::Listeners => LISTENERS,
            Self::Certificates => CERTIFICATES,
        }
    }

    /// Its rows: the order is that of the document, but for errors.
    pub(crate) fn rows(self, now: &Now) -> Vec<Row> {
        match self {
            Self::Upstreams => upstreams(now),
            Self::Endpoints => endpoints(now),
            Self::Routes => routes(now),
            Self::Failures => failures(now),
            Self::Listeners => listeners(now),
            Self::Certificates => certificates(now),
        }
    }
}

fn word(text: &str) -> Cell {
    Cell {
        text: match text {
            "" => NOTHING.to_owned(),
            text => text.to_owned(),
        },
        tone: Tone::Plain,
        key: Key::Word(text.to_owned()),
    }
}

fn toned(text: &str, tone: Tone) -> Cell {
    Cell { tone, ..word(text) }
}

fn number(text: String, number: f64) -> Cell {
    Cell {
        text,
        tone: if number == 0.0 {
            Tone::Faint
        } else {
            Tone::Plain
        },
        key: Key::Number(number),
    }
}

fn rate(per_second: f64) -> Cell {
    number(words::rate(per_second), per_second)
}

/// A rate that should be 0.
fn failing(per_second: f64) -> Cell {
    let tone = if per_second > 0.0 {
        Tone::Bad
    } else {
        Tone::Faint
    };
    Cell {
        tone,
        ..rate(per_second)
    }
}

fn count(count: u64) -> Cell {
    number(words::count(count), count as f64)
}

fn latency(ms: Option<f64>, now: &Now) -> Cell {
    let last = now.reading.bounds_ms.last().copied().unwrap_or(0.0);
    Cell {
        text: words::latency(ms, last),
        tone: if ms.is_none() {
            Tone::Faint
        } else {
            Tone::Plain
        },
        key: Key::Number(ms.unwrap_or(-1.0)),
    }
}

/// The tone of a standing.
pub(crate) fn standing(standing: &str) -> Tone {
    match standing {
        "well" => Tone::Good,
        "ill" | "ejected" | "failing" => Tone::Bad,
        _ => Tone::Busy,
    }
}

fn is_well(endpoint: &Endpoint) -> bool {
    endpoint.standing == "well"
}

fn upstreams(now: &Now) -> Vec<Row> {
    let both = now.reading.upstreams.iter().zip(&now.upstreams);
    both.map(|(upstream, rates)| {
        let all = upstream.endpoints.len();
        let well = upstream.endpoints.iter().filter(|e| is_well(e)).count();
        let tone = match (well, all) {
            (_, 0) => Tone::Faint,
            (0, _) => Tone::Bad,
            (well, all) if well < all => Tone::Busy,
            _ => Tone::Good,
        };
        let mut health = toned(&format!("{well}/{all}"), tone);
        if all == 0 {
            health.text = NOTHING.to_owned();
        }
        // The least healthy sorts first.
        health.key = Key::Number(if all == 0 {
            1.0
        } else {
            well as f64 / all as f64
        });
        let wrong = upstream.endpoints.iter().filter(|e| !is_well(e));
        let wrong: Vec<_> = wrong
            .take(3)
            .map(|e| format!("{} {}", e.address, state(e)))
            .collect();
        Row {
            name: upstream.name.clone(),
            detail: match wrong.is_empty() {
                true => format!("{} is well, balance {}", upstream.name, upstream.balance),
                false => wrong.join("; "),
            },
            cells: vec![
                word(&upstream.name),
                health,
                rate(rates.requests),
                failing(rates.failed),
                rate(rates.retried),
                count(upstream.in_flight),
                Cell {
                    tone: if upstream.waiting > 0 {
                        Tone::Busy
                    } else {
                        Tone::Faint
                    },
                    ..count(upstream.waiting)
                },
                latency(rates.latency.p50, now),
                latency(rates.latency.p99, now),
                count(upstream.requests),
                word(&upstream.balance),
            ],
        }
    })
    .collect()
}

/// A standing and why.
fn state(endpoint: &Endpoint) -> String {
    match &*endpoint.why {
        "" => endpoint.standing.clone(),
        why => format!("{}: {why}", endpoint.standing),
    }
}

fn endpoints(now: &Now) -> Vec<Row> {
    let mut rows = Vec::new();
    for (upstream, rates) in now.reading.upstreams.iter().zip(&now.upstreams) {
        for (endpoint, [picks, failures]) in upstream.endpoints.iter().zip(&rates.endpoints) {
            rows.push(Row {
                name: format!("{} {}", upstream.name, endpoint.address),
                detail: format!(
                    "{} of {}: {}",
                    endpoint.address,
                    upstream.name,
                    state(endpoint)
                ),
                cells: vec![
                    word(&endpoint.address),
                    toned(&endpoint.standing, standing(&endpoint.standing)),
                    rate(*picks),
                    failing(*failures),
                    count(endpoint.in_flight),
                    latency(endpoint.latency_ms, now),
                    word(&upstream.name),
                    count(endpoint.picks),
                    Cell {
                        text: endpoint.why.clone(),
                        ..word(&endpoint.why)
                    },
                ],
            });
        }
    }
    rows
}

fn routes(now: &Now) -> Vec<Row> {
    let both = now.reading.routes.iter().zip(&now.routes);
    both.map(|(route, rates)| {
        let [client, server] = rates.classes;
        let [_, out] = rates.bytes;
        Row {
            name: route.name.clone(),
            detail: format!("{} takes {}, to {}", route.name, route.matches, route.to),
            cells: vec![
                word(&route.name),
                rate(rates.requests),
                Cell {
                    tone: if client > 0.0 {
                        Tone::Busy
                    } else {
                        Tone::Faint
                    },
                    ..rate(client)
                },
                failing(server),
                latency(rates.latency.p50, now),
                latency(rates.latency.p99, now),
                number(words::bytes(out), out),
                count(route.requests),
                word(&route.to),
                word(&route.matches),
            ],
        }
    })
    .collect()
}

fn failures(now: &Now) -> Vec<Row> {
    let rows = now.failures.iter().map(|failure| {
        let what = now.reading.reasons.get(&failure.reason);
        let what = what.map_or("", String::as_str);
        let place = match &*failure.upstream {
            "" => "clients".to_owned(),
            upstream => format!("upstream {upstream}"),
        };
        Row {
            name: format!("{} {}", failure.upstream, failure.reason),
            detail: format!(
                "{}: {what} docs/reasons.md says what to do.",
                failure.reason
            ),
            cells: vec![
                word(&failure.reason),
                word(&place),
                failing(failure.rate),
                count(failure.total),
                Cell {
                    tone: Tone::Faint,
                    ..word(what)
                },
            ],
        }
    });
    rows.collect()
}

fn listeners(now: &Now) -> Vec<Row> {
    let rows = now.reading.listeners.iter().map(|listener| Row {
        name: listener.name.clone(),
        detail: format!(
            "{} listens on {} and serves {}",
            listener.name, listener.address, listener.serves
        ),
        cells: vec![
            word(&listener.name),
            word(&listener.address),
            word(if listener.tls { "yes" } else { "no" }),
            word(&listener.serves),
            count(listener.routes),
            count(listener.certificates),
        ],
    });
    rows.collect()
}

fn certificates(now: &Now) -> Vec<Row> {
    let rows = now.reading.certificates.iter().map(|certificate| {
        let days = certificate.days_left.unwrap_or(0);
        let tone = match certificate.days_left {
            None => Tone::Faint,
            Some(..0) => Tone::Bad,
            Some(0..21) => Tone::Busy,
            Some(_) => Tone::Plain,
        };
        Row {
            name: format!("{} {}", certificate.names, certificate.file),
            detail: format!("{} ({})", certificate.names, certificate.file),
            cells: vec![
                word(&certificate.names),
                Cell {
                    text: days.to_string(),
                    tone,
                    key: Key::Number(days as f64),
                },
                word(&certificate.not_after),
                word(&certificate.file),
            ],
        }
    });
    rows.collect()
}
