//! Registries that want to cost memory or time.

use std::io;
use std::time::{Duration, Instant};

use umay_core::model::{Consul, Etcd, Source};
use umay_test::{Conn, Server, Stuck, eventually, peak_rss};

use super::super::pace::Pace;
use super::{Followed, QUICK, at};
use crate::telemetry::metrics::Origin;

const ENDLESS: &str = "HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Asks a peer that does this with each request, as both registries.
fn suffer(
    pace: Pace,
    told: &str,
    script: impl Fn(&mut Conn) -> io::Result<()> + Clone + Send + Sync + 'static,
) {
    let server = {
        Server::start(move |conn, _| {
            conn.read_request()?;
            script(conn)
        })
    };
    let consul = Source::Consul(Consul {
        service: "web".to_owned(),
        agents: vec![at(server.addr())],
        tag: None,
        datacenter: None,
        token_file: None,
    });
    let etcd = Source::Etcd(Etcd {
        prefix: String::new(),
        members: vec![at(server.addr())],
        login: None,
    });
    for source in [consul, etcd] {
        let followed = Followed::source(source, pace);
        let state = followed.until_error(told);
        assert!(state.found.is_empty());
    }
}

#[test]
fn an_answer_without_an_end_is_cut() {
    let before = peak_rss(std::process::id());
    let patient = Pace {
        answer: Duration::from_secs(60),
        ..QUICK
    };
    suffer(patient, "more than 16777216 bytes", |conn| {
        conn.send(ENDLESS)?;
        let piece = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
        loop {
            conn.send(&piece)?;
        }
    });
    let grown = peak_rss(std::process::id()) - before;
    assert!(grown < 160 << 20, "{grown} bytes");
}

#[test]
fn a_head_without_an_end_is_cut() {
    suffer(QUICK, "message head is too large", |conn| {
        conn.send("HTTP/1.1 200 OK\r\nA: ")?;
        loop {
            conn.send("a".repeat(1000))?;
        }
    });
}

#[test]
fn slowness_has_an_end() {
    suffer(QUICK, "no answer in 700ms", |conn| {
        conn.read_to_end()?;
        Ok(())
    });
    suffer(QUICK, "no end of the answer in 700ms", |conn| {
        conn.send(ENDLESS)?;
        loop {
            conn.send("1\r\n[\r\n")?;
            // The other side gives up meanwhile, which ends this.
            if !conn.stays_silent(Duration::from_millis(50)) {
                return Ok(());
            }
        }
    });
}

#[test]
fn a_connection_that_is_never_accepted_is_given_up() {
    let stuck = Stuck::new();
    let pace = Pace {
        connect: Duration::from_millis(300),
        ..QUICK
    };
    let consul = Consul {
        service: "web".to_owned(),
        agents: vec![at(stuck.addr())],
        tag: None,
        datacenter: None,
        token_file: None,
    };
    let followed = Followed::source(Source::Consul(consul), pace);
    followed.until("a problem", |state| state.error.is_some());
}

/// An agent that answers at once, always with news: it is asked only so often.
#[test]
fn haste_is_not_caught() {
    let server = Server::start(|conn, number| {
        conn.read_request()?;
        let head = format!("HTTP/1.1 200 OK\r\nX-Consul-Index: {}\r\n", number + 1);
        conn.send(format!("{head}Content-Length: 2\r\n\r\n[]"))
    });
    let consul = Consul {
        service: "web".to_owned(),
        agents: vec![at(server.addr())],
        tag: None,
        datacenter: None,
        token_file: None,
    };
    let began = Instant::now();
    let followed = Followed::source(Source::Consul(consul), QUICK);
    eventually("ten questions", || {
        (server.connections() >= 10).then_some(())
    });
    assert!(began.elapsed() >= QUICK.pause * 9);
    assert_eq!(followed.failures(Origin::Consul), 0);
}
