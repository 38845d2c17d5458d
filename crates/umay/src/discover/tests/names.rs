//! Names: the system's files, and answers that a good name server does not give.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use umay_core::model::{Dns, Upstream};
use umay_test::{TempDir, eventually};

use super::super::Resolver;
use super::name_server::{A, AAAA, FINE, NameServer, Reply, SERVER_FAILURE};
use super::{Followed, QUICK, http, lines};
use crate::telemetry::metrics::{Origin, Update};

fn dns(server: &NameServer) -> Dns {
    Dns {
        servers: vec![server.addr],
        min_ttl: Duration::from_millis(50),
        max_ttl: Duration::from_millis(200),
        timeout: Duration::from_millis(300),
        grace: Duration::from_secs(600),
    }
}

fn follow(dns: &Dns) -> Followed {
    let upstream = Upstream::new("app", vec![http("app.test", 80)]);
    Followed::start(
        upstream,
        QUICK,
        Resolver::with_files(dns, "/dev/null", "/dev/null"),
    )
}

fn v4(ttl: u32, last: u8) -> (u32, Vec<u8>) {
    (ttl, vec![127, 0, 0, last])
}

fn v6(ttl: u32, last: u8) -> (u32, Vec<u8>) {
    (ttl, [&[0; 15][..], &[last]].concat())
}

/// Answers that can be changed: of A, and of AAAA.
type Replies = Arc<Mutex<(Option<Reply>, Option<Reply>)>>;

fn server(a: Option<Reply>, aaaa: Option<Reply>) -> (Replies, NameServer) {
    let replies: Replies = Arc::new(Mutex::new((a, aaaa)));
    let given = Arc::clone(&replies);
    let server = NameServer::start(move |kind| {
        let replies = given.lock().unwrap().clone();
        match kind {
            A => replies.0,
            AAAA => replies.1,
            _ => None,
        }
    });
    (replies, server)
}

#[test]
fn a_kind_of_addresses_can_fail_alone() {
    let fine_v6: Option<Reply> = Some((FINE, vec![v6(0, 1)]));
    let (replies, server) = server(Some((FINE, vec![v4(0, 1)])), fine_v6.clone());
    let both = ["app.test=[::1]:80,127.0.0.1:80"];
    let followed = follow(&dns(&server));
    followed.until_found(&both);
    for failure in [None, Some((SERVER_FAILURE, Vec::new()))] {
        replies.lock().unwrap().1 = failure;
        // The other kind goes on.
        replies.lock().unwrap().0 = Some((FINE, vec![v4(0, 2)]));
        followed.until("the other kind to go on", |state| {
            lines(state) == ["app.test=[::1]:80,127.0.0.2:80"] && state.error.is_some()
        });
        *replies.lock().unwrap() = (Some((FINE, vec![v4(0, 1)])), fine_v6.clone());
        followed.until_found(&both);
    }
}

/// Some servers never answer about IPv6: that is no problem to tell.
#[test]
fn a_kind_of_addresses_that_never_was_is_not_missed() {
    let (_, server) = server(
        Some((FINE, vec![v4(0, 1)])),
        Some((SERVER_FAILURE, Vec::new())),
    );
    let followed = follow(&dns(&server));
    followed.until_found(&["app.test=127.0.0.1:80"]);
}

#[test]
fn a_server_failure_takes_nothing_away() {
    let failure: Option<Reply> = Some((SERVER_FAILURE, Vec::new()));
    let (replies, server) = server(Some((FINE, vec![v4(0, 1)])), Some((FINE, Vec::new())));
    let followed = follow(&dns(&server));
    followed.until_found(&["app.test=127.0.0.1:80"]);
    *replies.lock().unwrap() = (failure.clone(), failure);
    let state = followed.until_error("asked for `app.test`: Server Failure");
    assert_eq!(lines(&state), ["app.test=127.0.0.1:80"]);
}

/// A name that is "blocked" has no address, whatever becomes of the other kind.
#[test]
fn an_address_of_nobody_is_none() {
    let (replies, server) = server(Some((FINE, vec![v4(0, 1)])), Some((FINE, Vec::new())));
    let followed = follow(&dns(&server));
    followed.until_found(&["app.test=127.0.0.1:80"]);
    let nobody: Option<Reply> = Some((FINE, vec![(0, vec![0; 4])]));
    for other in [None, Some((FINE, Vec::new())), Some((FINE, vec![v6(0, 0)]))] {
        *replies.lock().unwrap() = (nobody.clone(), other);
        let state = followed.until_error("no address that can be connected to");
        assert_eq!(lines(&state), ["app.test=127.0.0.1:80"]);
        *replies.lock().unwrap() = (Some((FINE, vec![v4(0, 1)])), Some((FINE, Vec::new())));
        followed.until_found(&["app.test=127.0.0.1:80"]);
    }
}

/// Whatever a TTL says, a name is asked for neither all the time nor never.
#[test]
fn ttls_are_kept_within_bounds() {
    let asked = Arc::new(AtomicUsize::new(0));
    for ttl in [0, u32::MAX] {
        asked.store(0, Ordering::SeqCst);
        let counted = Arc::clone(&asked);
        let server = NameServer::start(move |kind| {
            if kind != A {
                return Some((FINE, Vec::new()));
            }
            counted.fetch_add(1, Ordering::SeqCst);
            Some((FINE, vec![v4(ttl, 1)]))
        });
        let began = Instant::now();
        let followed = follow(&dns(&server));
        eventually("six questions", || {
            (asked.load(Ordering::SeqCst) >= 6).then_some(())
        });
        assert!(began.elapsed() >= Duration::from_millis(50) * 5);
        assert!(began.elapsed() < Duration::from_secs(15));
        assert_eq!(followed.metrics.updates(Origin::Dns, Update::Changed), 1);
    }
}

#[test]
fn answers_that_make_no_sense_are_survived() {
    type Garble = fn(&[u8]) -> Vec<u8>;
    let garbles: [Garble; 5] = [
        |_| Vec::new(),
        |_| vec![0xff; 1500],
        // The head says that there are 65,535 answers, but there are none.
        |question| {
            let mut answer = question.to_vec();
            answer[2] = 0x81;
            answer[6..8].fill(0xff);
            answer
        },
        // A name that points at itself.
        |question| {
            let mut answer = question.to_vec();
            answer[2] = 0x81;
            answer[7] = 1;
            let at = u8::try_from(answer.len()).unwrap();
            answer.extend([0xc0, at, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
            answer
        },
        // Another question's answer.
        |question| {
            let mut answer = question.to_vec();
            answer[0] ^= 0xff;
            answer[2] = 0x81;
            answer
        },
    ];
    for garble in garbles {
        let server = NameServer::raw(move |question| Some(garble(question)));
        let followed = follow(&dns(&server));
        let state = followed.until("a problem", |state| state.error.is_some());
        assert!(state.found.is_empty() && state.settled);
        eventually("another try", || {
            (followed.metrics.updates(Origin::Dns, Update::Failed) >= 2).then_some(())
        });
    }
}

/// The file of hosts counts before any server, needs none, and is read again when it changes.
#[test]
fn the_file_of_hosts_is_read_again() {
    let dir = TempDir::new();
    let hosts = dir.write("hosts", "127.0.0.1 app.test\n");
    let (conf, max_ttl) = (dir.path().join("resolv.conf"), Duration::from_millis(50));
    let dns = Dns {
        max_ttl,
        min_ttl: max_ttl,
        ..Dns::default()
    };
    let upstream = Upstream::new("app", vec![http("App.Test", 80), http("localhost.", 81)]);
    let followed = Followed::start(upstream, QUICK, Resolver::with_files(&dns, &conf, &hosts));
    // There is nobody to ask for the other.
    let state = followed.until_error("resolv.conf: No such file");
    assert_eq!(lines(&state), ["App.Test=127.0.0.1:80"]);
    dir.write("hosts", "127.0.0.2 app.test # moved\n127.0.0.3 localhost\n");
    followed.until_found(&["App.Test=127.0.0.2:80", "localhost.=127.0.0.3:81"]);
}

/// The servers' file is read again when it changes: what was found by the first way is now asked for
/// elsewhere. (Servers in it have port 53, so none can answer here.)
#[test]
fn the_file_of_servers_is_read_again() {
    let dir = TempDir::new();
    let hosts = dir.write("hosts", "");
    let conf = dir.write("resolv.conf", "# nobody\n");
    let quick = Duration::from_millis(100);
    let dns = Dns {
        max_ttl: quick,
        min_ttl: quick,
        timeout: quick,
        ..Dns::default()
    };
    let upstream = Upstream::new("app", vec![http("app.test", 80)]);
    let followed = Followed::start(upstream, QUICK, Resolver::with_files(&dns, &conf, hosts));
    followed.until_error("no nameservers found");
    dir.write("resolv.conf", "nameserver 127.255.255.254\nsearch a.test\n");
    followed.until("a question to the server", |state| {
        let error = state.error.as_deref().unwrap_or_default();
        error.contains("about `app.test`")
            || error.contains("for `app.test`")
            || error.contains("reached")
    });
}
