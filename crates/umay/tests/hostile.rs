//! The table of hostile and odd messages through the running proxy. Nothing of a refused request may
//! reach the endpoint, what is accepted must reach it as one message that can be read in one way only,
//! and a client must never take a broken answer for a whole one.
//!
//! Where the proxy refuses more than the codec, [`PROXY_REFUSES`] says so, case by case.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

#[path = "../../umay-h1/tests/hostile/mod.rs"]
mod hostile;

use hostile::{Case, NO_TRAILERS, Verdict, load};
use umay_core::detect::{self, sniff};
use umay_h1::Malformed;
use umay_test::{Conn, End, Message, Server, Umay, answer, umay};

/// Requests that the codec accepts and the proxy does not: the name of the case or, before a `…`, its
/// beginning; status and reason.
const PROXY_REFUSES: &[(&str, u16, &str)] = &[
    // No route here allows CONNECT.
    ("CONNECT: …", 405, "connect_method_refused"),
    // What follows an upgrade belongs to the other protocol, so it cannot be a body.
    ("Upgrade: with a body", 400, "upgrade_refused"),
];

/// What is not answered in HTTP/1.
const OTHERS: [detect::Verdict; 3] = [
    detect::Verdict::Tls,
    detect::Verdict::Http2,
    detect::Verdict::Mqtt,
];

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn refused_by_proxy(case: &Case) -> Option<(u16, &'static str)> {
    let mut rules = PROXY_REFUSES.iter();
    let (_, status, reason) = rules.find(|(name, ..)| match name.strip_suffix('…') {
        Some(start) => case.name.starts_with(start),
        None => case.name == *name,
    })?;
    Some((*status, reason))
}

fn malformed(word: &str) -> Malformed {
    let mut all = Malformed::ALL.iter();
    *all.find(|m| m.as_str() == word).unwrap()
}

/// A proxy before an endpoint that keeps what it gets: one connection, one request.
struct Scene {
    umay: Umay,
    endpoint: Server,
}

impl Scene {
    fn new() -> Self {
        let endpoint = Server::start(|conn, _| {
            if conn.read_request()?.is_some() {
                conn.send(answer("200 OK", "Connection: close\r\n", ""))?;
            }
            // Whatever else comes is kept too.
            conn.read_to_end().map(|_| ())
        });
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
            endpoint.addr()
        );
        Self { umay, endpoint }
    }

    /// Runs `scene` and gives what each new connection to the endpoint sent.
    fn recorded(&self, scene: impl FnOnce(&mut Conn)) -> Vec<Vec<u8>> {
        let before = self.endpoint.connections();
        let mut conn = self.umay.connect();
        scene(&mut conn);
        drop(conn);
        // Connections are accepted in order, so when this one is through, all before it are known.
        let last = self.umay.connect().ask(GOOD).unwrap();
        assert_eq!(last.status(), 200);
        self.endpoint.wait_ended(self.endpoint.connections());
        let mut recorded = self.endpoint.recorded().split_off(before);
        let last = recorded.pop().unwrap();
        assert!(last.starts_with(b"GET /good "), "{recorded:?} {last:?}");
        recorded
    }
}

fn method(case: &Case) -> String {
    let text = String::from_utf8_lossy(&case.bytes);
    let line = text.trim_start_matches("\r\n");
    line.split(' ').next().unwrap_or_default().to_owned()
}

#[track_caller]
fn check_refusal(case: &Case, response: &Message, status: u16, reason: &str) {
    let have = (response.status(), response.reason());
    assert_eq!(have, (status, Some(reason.to_owned())), "{}", case.name);
    assert_eq!(response.get("connection"), Some("close"), "{}", case.name);
}

/// One message, read to its last byte.
#[track_caller]
fn only_request(case: &Case, wire: &[u8]) -> Message {
    let text = String::from_utf8_lossy(wire);
    match umay_test::http::request(wire) {
        Ok(Some((message, taken))) if taken == wire.len() => message,
        other => panic!("{}: {other:?} of {text:?}", case.name),
    }
}

#[test]
fn refused_requests_are_answered_and_not_passed_on() {
    let scene = Scene::new();
    for case in load().iter().filter(|case| case.request) {
        let Verdict::Head { status, word } = &case.verdict else {
            continue;
        };
        let reason = malformed(word).reason().as_str();
        // As the first bytes of a connection, where some look like another protocol, and are not
        // answered in HTTP.
        let recorded = scene.recorded(|conn| {
            conn.send(&case.bytes).unwrap();
            let spoken = sniff(&case.bytes);
            if spoken == detect::Verdict::NeedMore {
                conn.half_close().unwrap();
            }
            if OTHERS.contains(&spoken) {
                conn.half_close().unwrap();
                let (said, _) = conn.read_to_end().unwrap();
                assert!(!said.starts_with(b"HTTP/"), "{}: {said:?}", case.name);
            } else {
                let response = conn.read_response("").unwrap();
                check_refusal(case, &response, *status, reason);
                conn.half_close().ok();
                assert_eq!(conn.read_to_end().unwrap().0, b"", "{}", case.name);
            }
        });
        assert!(recorded.is_empty(), "{}: {recorded:?}", case.name);
        // Behind a good request there is no doubt that it is HTTP.
        let recorded = scene.recorded(|conn| {
            assert_eq!(conn.ask(GOOD).unwrap().status(), 200);
            conn.send(&case.bytes).unwrap();
            let response = conn.read_response("").unwrap();
            check_refusal(case, &response, *status, reason);
        });
        assert_eq!(recorded.len(), 1, "{}", case.name);
        assert_eq!(only_request(case, &recorded[0]).target(), "/good");
    }
}

#[test]
fn accepted_requests_arrive_as_they_were_read() {
    let scene = Scene::new();
    for case in load().iter().filter(|case| case.request) {
        let Verdict::Ok { target, body, rest } = &case.verdict else {
            continue;
        };
        let exception = refused_by_proxy(case);
        let mut recorded = scene.recorded(|conn| {
            conn.send(&case.bytes).unwrap();
            let response = conn.read_response(&method(case)).unwrap();
            if let Some((status, reason)) = exception {
                let have = (response.status(), response.reason());
                assert_eq!(have, (status, Some(reason.to_owned())), "{}", case.name);
            } else {
                assert_eq!(response.status(), 200, "{}: {response:?}", case.name);
                if !rest.is_empty() {
                    let second = conn.read_response("GET").unwrap();
                    assert_eq!(second.status(), 200, "{}: {second:?}", case.name);
                }
            }
        });
        if exception.is_some() {
            assert!(recorded.is_empty(), "{}: {recorded:?}", case.name);
            continue;
        }
        if !rest.is_empty() {
            let second = only_request(case, &recorded.pop().unwrap());
            assert_eq!(second.target(), "/2", "{}", case.name);
        }
        assert_eq!(recorded.len(), 1, "{}", case.name);
        let sent = only_request(case, &recorded[0]);
        assert_eq!(sent.target().as_bytes(), target, "{}", case.name);
        assert_eq!(sent.body, *body, "{}", case.name);
        assert!(sent.start.ends_with(" HTTP/1.1"), "{sent:?}");
        for (name, _) in &sent.trailers {
            let steers = NO_TRAILERS.contains(&&*name.to_lowercase());
            assert!(!steers, "{}: {name}", case.name);
        }
    }
}

#[test]
fn requests_with_a_broken_body_never_arrive_whole() {
    let scene = Scene::new();
    for case in load().iter().filter(|case| case.request) {
        let Verdict::Body { word } = &case.verdict else {
            continue;
        };
        let reason = malformed(word).reason();
        for drips in drips(case) {
            let recorded = scene.recorded(|conn| {
                if drips {
                    // The answer may come before the end.
                    conn.send_bytewise(&case.bytes).ok();
                } else {
                    conn.send(&case.bytes).unwrap();
                }
                if word == "body_cut" {
                    conn.half_close().unwrap();
                }
                let response = conn.read_response("POST").unwrap();
                check_refusal(case, &response, reason.status(), reason.as_str());
                conn.half_close().ok();
                assert_eq!(conn.read_to_end().unwrap().0, b"", "{}", case.name);
            });
            assert!(recorded.len() <= 1, "{}", case.name);
            for wire in recorded {
                let read = umay_test::http::request(&wire);
                assert!(matches!(read, Ok(None)), "{}: {read:?}", case.name);
            }
        }
    }
}

/// Whether to send a message byte by byte: no, and if it is short, yes. What comes before a fault has
/// gone on its way then.
fn drips(case: &Case) -> impl Iterator<Item = bool> {
    [false, true]
        .into_iter()
        .filter(|drips| !drips || case.bytes.len() < 300)
}

#[test]
fn heads_that_are_not_whole_go_nowhere() {
    let scene = Scene::new();
    for case in load().iter().filter(|case| case.request) {
        if case.verdict != Verdict::More {
            continue;
        }
        for first in [false, true] {
            let recorded = scene.recorded(|conn| {
                if first {
                    assert_eq!(conn.ask(GOOD).unwrap().status(), 200);
                }
                conn.send(&case.bytes).unwrap();
                conn.half_close().unwrap();
                assert_eq!(conn.read_to_end().unwrap().0, b"", "{}", case.name);
            });
            assert_eq!(recorded.len(), usize::from(first), "{}", case.name);
        }
    }
}

/// The final answer in what a client got, if it looks whole. Interim ones are skipped.
fn final_answer(mut wire: &[u8], method: &str, end: End) -> Option<(Message, Vec<u8>)> {
    loop {
        let (message, taken) =
            umay_test::http::response(wire, method, end == End::Clean).ok()??;
        wire = &wire[taken..];
        if message.status() >= 200 {
            return Some((message, wire.to_vec()));
        }
    }
}

/// The status that a case's final head has: that of its last status line.
fn final_status(case: &Case) -> u16 {
    let text = String::from_utf8_lossy(&case.bytes);
    let interim = text.starts_with("HTTP/1.1 1");
    let line = if interim {
        text.rfind("HTTP/1.")
    } else {
        Some(0)
    };
    text[line.unwrap() + 9..][..3].parse().unwrap()
}

#[test]
fn a_client_never_takes_a_broken_answer_for_a_whole_one() {
    let cases: Vec<Case> = load().into_iter().filter(|case| !case.request).collect();
    let wires: Vec<Vec<u8>> = cases.iter().map(|case| case.bytes.clone()).collect();
    let endpoint = Server::start(move |conn, _| {
        let request = conn.read_request()?.unwrap();
        let number = request.get("x-case").unwrap().parse::<usize>().unwrap();
        if request.get("x-drips") == Some("true") {
            conn.send_bytewise(&wires[number])
        } else {
            conn.send(&wires[number])
        }
    });
    let umay = umay!(
        "[[listener]]\nname = \"in\"\nlisten = \"127.0.0.1:0\"\n\
         [[route]]\nallow_connect = true\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    for (number, case) in cases.iter().enumerate() {
        let connect = case.method == "CONNECT";
        let target = if connect { "a.test:443" } else { "/" };
        let host = if connect { target } else { "a.test" };
        for drips in drips(case) {
            // To an old client, a body of unknown length ends with the connection.
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let mut conn = umay.connect();
                conn.send(format!(
                    "{} {target} {version}\r\nHost: {host}\r\nX-Case: {number}\r\n\
                     X-Drips: {drips}\r\nConnection: close\r\n\r\n",
                    case.method
                ))
                .unwrap();
                let (wire, end) = conn.read_to_end().unwrap();
                check_answer(case, &wire, end);
                // What an endpoint says unasked can be told from the next answer only if it comes
                // before the next question.
                endpoint.wait_ended(endpoint.connections());
            }
        }
    }
}

fn check_answer(case: &Case, wire: &[u8], end: End) {
    let method = &case.method[..];
    let text = String::from_utf8_lossy(wire);
    let context = || format!("{}: {:.300}", case.name, text);
    if case.name == "status line: a status beyond the classes" {
        // The test kit's reader knows no such status.
        return assert!(text.starts_with("HTTP/1.1 999 Odd\r\n"), "{}", context());
    }
    let answer = final_answer(wire, method, end);
    let refusal = |answer: &Option<(Message, Vec<u8>)>| {
        let message = answer.as_ref().filter(|(_, rest)| rest.is_empty());
        message.map(|(message, _)| (message.status(), message.reason()))
    };
    let told = |reason: &str| Some((502, Some(reason.to_owned())));
    match &case.verdict {
        Verdict::Ok { .. } if case.name.starts_with("101 that nobody asked for") => {
            assert_eq!(
                refusal(&answer),
                told("upstream_malformed"),
                "{}",
                context()
            );
        }
        Verdict::Ok { body, rest, .. } => {
            let (message, behind) = answer.unwrap_or_else(|| panic!("{}", context()));
            assert_eq!(message.status(), final_status(case), "{}", context());
            assert_eq!(message.reason(), None, "{}", context());
            assert_eq!(message.body, *body, "{}", context());
            let tunnel = method == "CONNECT" && message.status() == 200;
            let expected = if tunnel { &rest[..] } else { b"" };
            assert_eq!(behind, expected, "{}", context());
        }
        Verdict::Head { word, .. } => {
            let reason = malformed(word).upstream_reason().as_str();
            assert_eq!(refusal(&answer), told(reason), "{}", context());
        }
        Verdict::Body { word } => {
            // Told, if nothing of the answer had gone out; else it is cut.
            let reason = malformed(word).upstream_reason().as_str();
            let safe = answer.is_none() || refusal(&answer) == told(reason);
            assert!(safe, "{}", context());
        }
        Verdict::More => {
            assert_eq!(refusal(&answer), told("upstream_closed"), "{}", context());
        }
    }
}
