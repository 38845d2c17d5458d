//! Lines read back as JSON, under hostile input.

mod forms;
mod sinks;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use umay_core::model::{self, Log, LogFormat, Privacy};

use super::line::{LONGEST, escape};
use super::sink::Sink;
use super::*;
use crate::telemetry::metrics::SharedCounter;

const PATIENCE: Duration = Duration::from_secs(10);

fn downstream() -> Downstream<'static> {
    Downstream {
        client: "203.0.113.7".parse().unwrap(),
        peer: "[::ffff:10.0.0.1]:4321".parse().unwrap(),
        listener: "web",
        sni: Some("a.example"),
        tls: Some(Secured {
            version: "1.3",
            group: "X25519MLKEM768",
            resumed: false,
        }),
    }
}

const OWN: Duration = Duration::from_micros(225_560);

fn request() -> HttpEntry<'static> {
    HttpEntry {
        request_id: b"0190a1b2",
        trace: Some(Traced {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: Some(0x00f0_67aa_0ba9_02b7),
        }),
        wanted: true,
        downstream: downstream(),
        proto: "http/1.1",
        method: b"GET",
        scheme: "https",
        host: b"a.example:8443",
        path: b"/x",
        query: Some(b"q=1&token=s3cret"),
        route: Some("app"),
        status: 502,
        reason: Some(Reason::ConnectRefused),
        detail: "10.1.0.9:80 refused",
        bytes_in: 0,
        bytes_out: u64::MAX,
        ended: Instant::now(),
        duration: Duration::from_micros(1_234_567),
        header: Some(Duration::from_millis(2)),
        upload: None,
        first_byte: Some(Duration::from_micros(7)),
        body: Some(Duration::from_secs(1)),
        overhead: Some(OWN),
        attempts: Attempts {
            count: 2,
            upstream: Some("app"),
            endpoint: Some("10.1.0.9:80"),
            members: &[],
            reused: false,
            queue: Some(Duration::from_millis(4)),
            connect: Some(Duration::from_millis(3)),
            tls: Some(Duration::from_millis(1)),
        },
        user_agent: Some(b"curl/8"),
        referer: Some(b"https://b.example/?code=s3cret"),
    }
}

/// A bare entry: everything that can be absent is.
fn bare() -> HttpEntry<'static> {
    HttpEntry {
        request_id: b"",
        trace: None,
        downstream: Downstream {
            client: "2001:db8::1".parse().unwrap(),
            peer: "[2001:db8::1]:9".parse().unwrap(),
            sni: None,
            tls: None,
            ..downstream()
        },
        query: None,
        route: None,
        reason: None,
        detail: "",
        header: None,
        upload: None,
        first_byte: None,
        body: None,
        overhead: None,
        attempts: Attempts::default(),
        user_agent: None,
        referer: None,
        ..request()
    }
}

/// A sink that keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn text(&self) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text
    }

    fn values(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }
}

/// A writer without more.
fn writer(sink: impl Write + Send + 'static, dropped: &SharedCounter) -> AccessWriter {
    let sink = Sink::stream(Box::new(sink));
    let (log, privacy) = (json_log(), Privacy::default());
    AccessWriter::spawn(sink, &log, &privacy, dropped.clone()).unwrap()
}

/// What is written while `log` is given to `work`.
fn logged(work: impl FnOnce(&AccessLog)) -> Vec<Value> {
    logged_as(&json_log(), &Privacy::default(), work).values()
}

/// The same in another way.
fn logged_as(log: &Log, privacy: &Privacy, work: impl FnOnce(&AccessLog)) -> Kept {
    let kept = Kept::default();
    let dropped = SharedCounter::default();
    let sink = Sink::stream(Box::new(kept.clone()));
    let writer = AccessWriter::spawn(sink, log, privacy, dropped.clone()).unwrap();
    let log = writer.handle();
    work(&log);
    drop(log);
    assert!(writer.stop(PATIENCE));
    assert_eq!(dropped.get(), 0);
    kept
}

/// Also where tests run on a terminal.
fn json_log() -> Log {
    Log {
        format: LogFormat::Json,
        ..Log::default()
    }
}

fn without_ts(mut value: Value) -> Value {
    let ts = value.as_object_mut().unwrap().shift_remove("ts").unwrap();
    assert_eq!(ts.as_str().unwrap().len(), "2026-11-23T16:51:22.042Z".len());
    value
}

#[test]
fn a_request_has_its_members_in_order() {
    let lines = logged(|log| log.http(&request()));
    let expected = json!({
        "request_id": "0190a1b2",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "00f067aa0ba902b7",
        "client_ip": "203.0.113.7",
        "client_ip_source": "forwarded",
        "peer": "10.0.0.1:4321",
        "listener": "web",
        "sni": "a.example",
        "tls": "1.3",
        "tls_group": "X25519MLKEM768",
        "tls_resumed": false,
        "proto": "http/1.1",
        "method": "GET",
        "scheme": "https",
        "host": "a.example:8443",
        "path": "/x",
        "query": "q=1&token=***",
        "route": "app",
        "status": 502,
        "reason": "connect_refused",
        "detail": "10.1.0.9:80 refused",
        "bytes_in": 0,
        "bytes_out": u64::MAX,
        "dur_ms": 1234.567,
        "header_ms": 2.0,
        "queue_ms": 4.0,
        "connect_ms": 3.0,
        "tls_ms": 1.0,
        "ttfb_ms": 0.007,
        "body_ms": 1000.0,
        "overhead_ms": 225.56,
        "upstream": "app",
        "endpoint": "10.1.0.9:80",
        "attempts": 2,
        "reused": false,
        "user_agent": "curl/8",
        "referer": "https://b.example/?code=***",
    });
    // Compared as text, because the order counts.
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(without_ts(line.clone()).to_string(), expected.to_string());
}

#[test]
fn what_is_written_beforehand_says_the_same() {
    let (upstream, endpoint) = ("a \"b\"\n", "10.1.0.9:80");
    let members = endpoint_members(upstream, endpoint);
    let mut entry = request();
    (entry.attempts.upstream, entry.attempts.endpoint) = (Some(upstream), Some(endpoint));
    let lines = logged(|log| {
        log.http(&entry);
        entry.attempts.members = &members;
        log.http(&entry);
    });
    let [one, other] = <[Value; 2]>::try_from(lines).unwrap();
    assert_eq!(one["upstream"], upstream);
    assert_eq!(without_ts(one), without_ts(other));
}

#[test]
fn what_is_absent_is_left_out() {
    let tcp = TcpEntry {
        conn_id: 0xabc,
        wanted: true,
        trace: None,
        downstream: bare().downstream,
        proto: "mqtt",
        alpn: None,
        route: None,
        reason: None,
        detail: "",
        bytes_in: 1,
        bytes_out: 2,
        duration: Duration::from_secs(3600),
        attempts: Attempts::default(),
    };
    let full = TcpEntry {
        alpn: Some(b"mqtt"),
        route: Some("iot"),
        reason: Some(Reason::IdleTimeout),
        ..tcp
    };
    let lines = logged(|log| {
        log.http(&bare());
        log.tcp(&tcp);
        log.tcp(&full);
    });
    let expected = [
        json!({
            "client_ip": "2001:db8::1", "client_ip_source": "peer", "client_port": 9, "listener": "web", "proto": "http/1.1",
            "method": "GET", "scheme": "https", "host": "a.example:8443", "path": "/x", "status": 502,
            "bytes_in": 0, "bytes_out": u64::MAX, "dur_ms": 1234.567,
        }),
        json!({
            "conn_id": "0000000000000abc",
            "client_ip": "2001:db8::1", "client_ip_source": "peer", "client_port": 9, "listener": "web", "proto": "mqtt",
            "bytes_in": 1, "bytes_out": 2, "dur_ms": 3_600_000.0,
        }),
        json!({
            "conn_id": "0000000000000abc",
            "client_ip": "2001:db8::1", "client_ip_source": "peer", "client_port": 9, "listener": "web", "proto": "mqtt",
            "alpn": "mqtt", "route": "iot", "reason": "idle_timeout",
            "bytes_in": 1, "bytes_out": 2, "dur_ms": 3_600_000.0,
        }),
    ];
    let lines: Vec<Value> = lines.into_iter().map(without_ts).collect();
    assert_eq!(lines, expected);
}

/// What a reader of the log gets for a value.
fn told(bytes: &[u8]) -> String {
    let mut out = vec![b'"'];
    escape(&mut out, bytes);
    out.push(b'"');
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains(umay_core::legible::misleads), "{text:?}");
    serde_json::from_str(&text).expect(&text)
}

#[test]
fn escapes_say_what_was_sent() {
    for text in [
        "",
        "plain",
        "exactly8",
        "\"",
        "\\",
        "\\\"\\",
        "a\nb\rc\td",
        "\0\u{1}\u{1f}\u{7f}",
        "naïve ☃ 𝄞",
        "\u{85}\u{9b}31m",
        "\u{2028}\u{2029}",
        "\u{202e}txt.exe",
        "\u{61c}\u{feff}\u{ad}",
        "\u{e0041}\u{e0042}\u{10ffff}",
        "1234567\"",
        "12345678\"",
        "é\"é\n",
        "\"}\n{\"ts\":\"forged\"}",
    ] {
        assert_eq!(told(text.as_bytes()), text);
    }
    assert_eq!(told(b"a\xffb\xc3"), "a\u{fffd}b\u{fffd}");
    assert_eq!(told(b"\xed\xa0\x80"), "\u{fffd}\u{fffd}\u{fffd}");
}

#[test]
fn each_byte_at_each_place_of_a_word() {
    for byte in 0..=255_u8 {
        for place in 0..20 {
            let mut bytes = [b'a'; 20];
            bytes[place] = byte;
            assert_eq!(told(&bytes), String::from_utf8_lossy(&bytes));
        }
    }
}

/// Xorshift, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// Bytes of a kind that likes to break things.
    fn bytes(&mut self) -> Vec<u8> {
        const PIECES: [&[u8]; 14] = [
            b"\"",
            b"\\",
            b"\n",
            b"}",
            b"\x00",
            b"\x7f",
            b"\xff",
            b"\xe2\x80",
            "\u{2028}".as_bytes(),
            "é".as_bytes(),
            b"token=",
            b"&",
            b"%",
            b"abcdefghij",
        ];
        let mut out = Vec::new();
        for _ in 0..self.next(40) {
            match self.next(3) {
                0 => out.push(self.next(256) as u8),
                _ => out.extend_from_slice(PIECES[self.next(PIECES.len() as u64) as usize]),
            }
        }
        if self.next(50) == 0 {
            out = out.repeat(100);
        }
        out
    }
}

#[test]
fn no_line_can_be_forged() {
    const ROUNDS: usize = 3000;
    let mut random = Random(0x5eed_0f00_dcaf_e001);
    let mut sent = Vec::new();
    let lines = logged(|log| {
        for _ in 0..ROUNDS {
            let values: [Vec<u8>; 7] = std::array::from_fn(|_| random.bytes());
            let [id, method, host, path, query, agent, referer] = &values;
            let sni = String::from_utf8_lossy(host).into_owned();
            log.http(&HttpEntry {
                request_id: id,
                method,
                host,
                path,
                query: Some(query),
                user_agent: Some(agent),
                referer: Some(referer),
                downstream: Downstream {
                    sni: Some(&sni),
                    ..downstream()
                },
                ..request()
            });
            sent.push(values);
        }
    });
    assert_eq!(lines.len(), ROUNDS);
    for (line, [_, method, host, path, _, agent, _]) in lines.iter().zip(&sent) {
        let mut names = line.as_object().unwrap().keys();
        assert!(
            names.len() >= 27 && names.next_back().unwrap() == "referer",
            "{line}"
        );
        for (name, value) in [
            ("method", method),
            ("host", host),
            ("path", path),
            ("user_agent", agent),
        ] {
            let text = line[name].as_str().unwrap();
            // What comes behind that in a path may be a credential.
            if name == "path" && value.contains(&b';') {
                continue;
            }
            if value.len() <= LONGEST {
                assert_eq!(text, String::from_utf8_lossy(value), "{name}");
            } else {
                assert!(text.ends_with('…'), "{name}");
            }
        }
    }
}

#[test]
fn long_values_are_cut() {
    for (length, cut) in [(LONGEST, false), (LONGEST + 1, true), (100_000, true)] {
        let path = vec![b'p'; length];
        let lines = logged(|log| {
            log.http(&HttpEntry {
                path: &path,
                query: Some(&path),
                ..request()
            });
        });
        for name in ["path", "query"] {
            let text = lines[0][name].as_str().unwrap();
            assert_eq!(text.trim_end_matches('…').len(), length.min(LONGEST));
            assert_eq!(text.ends_with('…'), cut);
        }
    }
}
