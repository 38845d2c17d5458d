//! One status document, as numbers and words.
//!
//! It is taken as it comes: what is missing is nothing, so that another version of Umay can be looked at too. Names in
//! it may come from whoever a registry trusts, so nothing in them can command a terminal.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::words::clean;

/// Counts by a word: a reason, a status.
pub type Counts = BTreeMap<String, u64>;

/// A status document. Times are in the units that the names of its fields say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The version of Umay.
    pub version: String,
    /// Which process it is, and when it was started.
    pub process: (u64, String),
    /// How long it had run.
    pub uptime_ms: u64,
    /// `starting`, `ready` or `draining`.
    pub stage: String,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Since when its configuration is served.
    pub config_since: String,
    /// Worker threads.
    pub workers: u64,
    /// Processor time so far, in seconds.
    pub cpu_s: f64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Connections from clients: open, accepted so far, refused so far.
    pub connections: [u64; 3],
    /// TLS handshakes with clients: done and failed.
    pub handshakes: [u64; 2],
    /// HTTP requests so far.
    pub requests: u64,
    /// HTTP requests in flight.
    pub in_flight: u64,
    /// Answers by status.
    pub statuses: Counts,
    /// Raw streams and tunnels that are open.
    pub streams: u64,
    /// Bytes of streams: from clients, and to them.
    pub stream_bytes: [u64; 2],
    /// What was refused or cut, by reason.
    pub refusals: Counts,
    /// What the words of reasons mean.
    pub reasons: BTreeMap<String, String>,
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Upstreams.
    pub upstreams: Vec<Upstream>,
    /// Certificates.
    pub certificates: Vec<Certificate>,
    /// What somebody has set by hand, in words.
    pub by_hand: Vec<String>,
    /// Upper bounds of the buckets of latencies, in milliseconds.
    pub bounds_ms: Vec<f64>,
}

/// Something that is wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// An error; else a warning.
    pub is_error: bool,
    /// Of what.
    pub about: String,
    /// What is wrong, and why.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// How long things took, in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// One count per bound, and one for what is above all.
    pub counts: Vec<u64>,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// It ends TLS.
    pub tls: bool,
    /// What its routes take.
    pub serves: String,
    /// How many routes it has.
    pub routes: u64,
    /// How many certificates.
    pub certificates: u64,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// What it takes, in words.
    pub matches: String,
    /// Where it goes.
    pub to: String,
    /// Requests so far.
    pub requests: u64,
    /// Of these, by class of the answer's status.
    pub classes: Counts,
    /// Bytes of bodies: of requests and of answers.
    pub bytes: [u64; 2],
    /// Time from a request's first byte to its answer's last.
    pub latency: Histogram,
}

/// An upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// How endpoints are picked.
    pub balance: String,
    /// Requests and streams so far.
    pub requests: u64,
    /// In flight now.
    pub in_flight: u64,
    /// Waiting for room.
    pub waiting: u64,
    /// Tried again so far.
    pub retried: u64,
    /// What became of attempts, by reason or `ok`.
    pub attempts: Counts,
    /// Time to the first byte of answers.
    pub latency: Histogram,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoint {
    /// Its address.
    pub address: String,
    /// How it is.
    pub standing: String,
    /// Why.
    pub why: String,
    /// In flight now.
    pub in_flight: u64,
    /// Requests and streams that it was given.
    pub picks: u64,
    /// Of these, those that failed.
    pub failures: u64,
    /// Its latency, if it is known.
    pub latency_ms: Option<f64>,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Certificate {
    /// What it is for.
    pub names: String,
    /// Until when it is good.
    pub not_after: String,
    /// Whole days until then.
    pub days_left: Option<i64>,
    /// Its file.
    pub file: String,
}

impl Reading {
    /// Reads a document.
    pub fn new(document: &Value) -> Self {
        let bounds_ms = list(document, "latency_bounds_ms");
        let bounds_ms: Vec<f64> = bounds_ms.iter().filter_map(Value::as_f64).collect();
        let totals = document.get("totals").unwrap_or(&Value::Null);
        let of = |pointer: &str| number(totals, pointer);
        Self {
            version: text(document, "/version"),
            process: (number(document, "/pid"), text(document, "/started")),
            uptime_ms: number(document, "/uptime_ms"),
            stage: text(document, "/stage"),
            problems: all(document, "problems", problem),
            config_since: text(document, "/config/since"),
            workers: number(document, "/workers"),
            cpu_s: float(document, "/process/cpu_s").unwrap_or(0.0),
            memory_bytes: number(document, "/process/memory_bytes"),
            connections: [
                number(document, "/connections"),
                of("/connections/accepted"),
                of("/connections/refused"),
            ],
            handshakes: [of("/tls/handshakes"), of("/tls/failed")],
            requests: of("/requests"),
            in_flight: of("/in_flight"),
            statuses: counts(totals, "statuses"),
            streams: of("/streams/active"),
            stream_bytes: [of("/streams/bytes_in"), of("/streams/bytes_out")],
            refusals: counts(totals, "refusals"),
            reasons: reasons(document),
            listeners: all(document, "listeners", listener),
            routes: all(document, "routes", |value| route(value, &bounds_ms)),
            upstreams: all(document, "upstreams", |value| upstream(value, &bounds_ms)),
            certificates: all(document, "certificates", certificate),
            by_hand: all(document, "set_by_hand", by_hand),
            bounds_ms,
        }
    }

    /// True if there is nothing to complain about.
    pub fn is_well(&self) -> bool {
        self.stage == "ready" && self.problems.is_empty()
    }
}

fn problem(value: &Value) -> Problem {
    Problem {
        is_error: text(value, "/severity") == "error",
        about: text(value, "/about"),
        what: text(value, "/what"),
        hint: text(value, "/hint"),
    }
}

fn by_hand(value: &Value) -> String {
    let what = text(value, "/what");
    let what = match (&*what, value.get("value")) {
        ("draining", _) => what,
        (_, Some(Value::String(_))) => format!("{what} {}", text(value, "/value")),
        (_, value) => format!("{what} {}", value.unwrap_or(&Value::Null)),
    };
    let of = match value.get("endpoint") {
        Some(_) => format!(
            " of {} of upstream {}",
            text(value, "/endpoint"),
            text(value, "/upstream")
        ),
        None => String::new(),
    };
    let until = match value.get("until").and_then(Value::as_str) {
        Some(_) => format!(" until {}", text(value, "/until")),
        None => String::new(),
    };
    format!("{what}{of}{until}, since {}", text(value, "/since"))
}

fn listener(value: &Value) -> Listener {
    Listener {
        name: text(value, "/name"),
        address: text(value, "/addr"),
        tls: value.get("tls").and_then(Value::as_bool).unwrap_or(false),
        serves: words(value, "serves"),
        routes: number(value, "/routes"),
        certificates: number(value, "/certificates"),
    }
}

fn route(value: &Value, bounds_ms: &[f64]) -> Route {
    Route {
        name: text(value, "/name"),
        matches: text(value, "/matches"),
        to: text(value, "/to"),
        requests: number(value, "/requests"),
        classes: counts(value, "classes"),
        bytes: [number(value, "/bytes_in"), number(value, "/bytes_out")],
        latency: histogram(value, bounds_ms),
    }
}

fn upstream(value: &Value, bounds_ms: &[f64]) -> Upstream {
    Upstream {
        name: text(value, "/name"),
        balance: text(value, "/balance"),
        requests: number(value, "/requests"),
        in_flight: number(value, "/in_flight"),
        waiting: number(value, "/waiting"),
        retried: number(value, "/retries/retried"),
        attempts: counts(value, "attempts"),
        latency: histogram(value, bounds_ms),
        endpoints: all(value, "endpoints", endpoint),
    }
}

fn endpoint(value: &Value) -> Endpoint {
    Endpoint {
        address: text(value, "/address"),
        standing: text(value, "/standing"),
        why: text(value, "/why"),
        in_flight: number(value, "/in_flight"),
        picks: number(value, "/picks"),
        failures: number(value, "/failures"),
        latency_ms: float(value, "/latency_ms"),
    }
}

fn certificate(value: &Value) -> Certificate {
    Certificate {
        names: words(value, "names"),
        not_after: text(value, "/not_after"),
        days_left: value.get("days_left").and_then(Value::as_i64),
        file: text(value, "/files/0"),
    }
}

fn histogram(value: &Value, bounds_ms: &[f64]) -> Histogram {
    let mut counts = vec![0; bounds_ms.len() + 1];
    let buckets = value.pointer("/latency/buckets").and_then(Value::as_object);
    for (bound, count) in buckets.into_iter().flatten() {
        let bound = bound.parse::<f64>().unwrap_or(f64::INFINITY);
        // The first that holds it, so that other bounds than told lose nothing.
        let place = bounds_ms.iter().position(|known| bound <= *known);
        if let Some(place) = counts.get_mut(place.unwrap_or(bounds_ms.len())) {
            *place += count.as_u64().unwrap_or(0);
        }
    }
    Histogram { counts }
}

fn reasons(document: &Value) -> BTreeMap<String, String> {
    let members = document.get("reasons").and_then(Value::as_object);
    let members = members.into_iter().flatten();
    members
        .map(|(word, what)| (clean(word), clean(what.as_str().unwrap_or_default())))
        .collect()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let list = value.get(name).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn all<T>(value: &Value, name: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    list(value, name).iter().map(read).collect()
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    clean(found.unwrap_or_default())
}

/// The strings of a list.
fn words(value: &Value, name: &str) -> String {
    let words = list(value, name).iter().filter_map(Value::as_str);
    clean(&words.collect::<Vec<_>>().join(", "))
}

fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or(0)
}

fn float(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}

fn counts(value: &Value, name: &str) -> Counts {
    let members = value.get(name).and_then(Value::as_object);
    let members = members.into_iter().flatten();
    members
        .map(|(word, count)| (clean(word), count.as_u64().unwrap_or(0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn anything_can_be_read() {
        for document in [
            json!(null),
            json!([]),
            json!("x"),
            json!({ "totals": 3, "upstreams": [1, null, { "endpoints": {} }], "routes": {} }),
            json!({ "latency_bounds_ms": ["x"], "routes": [{ "latency": { "buckets": { "a": "b" } } }] }),
        ] {
            let reading = Reading::new(&document);
            assert!(!reading.is_well(), "{document}");
        }
    }

    #[test]
    fn what_is_set_by_hand_is_in_words() {
        let reading = Reading::new(&json!({ "set_by_hand": [
            { "what": "draining", "upstream": "web", "endpoint": "a:1", "value": true, "since": "T1" },
            { "what": "weight", "upstream": "web", "endpoint": "a:1", "value": 5, "since": "T2" },
            { "what": "log.level", "value": "debug\u{1b}[2J", "since": "T3", "until": "T4" },
        ]}));
        let [draining, weight, level] = &reading.by_hand[..] else {
            panic!("{:?}", reading.by_hand);
        };
        assert_eq!(draining, "draining of a:1 of upstream web, since T1");
        assert_eq!(weight, "weight 5 of a:1 of upstream web, since T2");
        assert!(level.starts_with("log.level debug") && level.ends_with(" until T4, since T3"));
        assert!(!level.contains('\u{1b}'));
    }

    #[test]
    fn buckets_find_their_place() {
        let reading = Reading::new(&json!({
            "latency_bounds_ms": [0.5, 1.0, 10.0],
            "routes": [{ "latency": { "buckets": { "0.5": 1, "10": 2, "+Inf": 3, "2": 4 } } }],
        }));
        assert_eq!(reading.routes[0].latency.counts, [1, 0, 6, 3]);
    }

    #[test]
    fn no_name_commands_a_terminal() {
        let evil = "a\u{1b}[2J\u{9b}31m\r\n\u{202e}b";
        let reading = Reading::new(&json!({
            "version": evil, "stage": evil, "problems": [{ "about": evil, "what": evil }],
            "totals": { "refusals": { evil: 1 } },
            "certificates": [{ "names": [evil] }],
            "upstreams": [{ "name": evil, "endpoints": [{ "address": evil, "why": evil }] }],
        }));
        let told = format!("{reading:?}");
        for bad in ["\\u{1b}", "\\u{9b}", "\\r", "\\n", "\\u{202e}"] {
            assert!(!told.contains(bad), "{bad} in {told}");
        }
    }
}
