//! Endpoints that are watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use umay::probe::{Health, watch};
use umay_core::model::{Endpoint, Probe, Scheme};
use umay_test::{DEADLINE, Server, answer};

use super::{get, movable, probe, runtime};

fn often() -> Probe {
    Probe {
        interval: Duration::from_millis(20),
        ..probe(get("/healthz"))
    }
}

async fn next(changes: &mut UnboundedReceiver<(u64, Health)>) -> Health {
    let told = timeout(DEADLINE, changes.recv()).await;
    let (id, health) = told
        .expect("a change in time")
        .expect("a watch that goes on");
    assert_eq!(id, 7);
    health
}

#[test]
fn changes_are_told_after_rows() {
    let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
    let (shown, counted) = (Arc::clone(&status), Arc::clone(&asked));
    let server = Server::http(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let status = shown.load(Ordering::SeqCst);
        answer(&format!("{status} So"), "", "")
    });
    let addr = server.addr();
    let endpoint = Endpoint::new(Scheme::Http, "127.0.0.1", addr.port());
    runtime().block_on(async {
        let (tell, mut changes) = unbounded_channel();
        let watching = movable(watch(7, often(), endpoint, move || vec![addr], None, tell));
        let watching = tokio::spawn(watching);
        assert_eq!(next(&mut changes).await, Health::Well);
        for (shown, rows, health) in [
            (
                503,
                3,
                Health::Ill("GET /healthz: status 503, expected 200-299".to_owned()),
            ),
            (200, 2, Health::Well),
        ] {
            let before = asked.load(Ordering::SeqCst);
            status.store(shown, Ordering::SeqCst);
            assert_eq!(next(&mut changes).await, health);
            // One more may have been under way.
            let took = asked.load(Ordering::SeqCst) - before;
            assert!((rows..=rows + 2).contains(&took), "{took} for {shown}");
        }
        // It ends with whoever listens.
        drop(changes);
        timeout(DEADLINE, watching).await.unwrap().unwrap();
    });
}

#[test]
fn addresses_are_asked_for_each_time() {
    let server = Server::ok("fine");
    let addr = server.addr();
    let endpoint = Endpoint::new(Scheme::Http, "a.test", addr.port());
    runtime().block_on(async {
        let (tell, mut changes) = unbounded_channel();
        let mut times = 0;
        let addresses = move || {
            times += 1;
            if times > 3 { vec![addr] } else { Vec::new() }
        };
        let watching = tokio::spawn(watch(7, often(), endpoint, addresses, None, tell));
        let words = "connect: the name has no address".to_owned();
        assert_eq!(next(&mut changes).await, Health::Ill(words));
        assert_eq!(next(&mut changes).await, Health::Well);
        watching.abort();
        assert!(watching.await.unwrap_err().is_cancelled());
        assert_eq!(changes.recv().await, None);
    });
}

#[test]
fn the_pace_is_that_of_the_interval() {
    let server = Server::ok("fine");
    let addr = server.addr();
    let endpoint = Endpoint::new(Scheme::Http, "127.0.0.1", addr.port());
    let mut paced = often();
    paced.interval = Duration::from_millis(100);
    runtime().block_on(async {
        let (tell, mut changes) = unbounded_channel();
        let started = Instant::now();
        let watching = tokio::spawn(watch(7, paced, endpoint, move || vec![addr], None, tell));
        assert_eq!(next(&mut changes).await, Health::Well);
        let six = async {
            while server.connections() < 6 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(DEADLINE, six).await.unwrap();
        // Five times at least four fifths of the interval; how much more, the machine decides.
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(5 * 80), "{took:?}");
        watching.abort();
    });
}

#[test]
fn a_watch_that_waits_is_small() {
    let endpoint = Endpoint::new(Scheme::Http, "127.0.0.1", 1);
    let (tell, _changes) = unbounded_channel();
    let watching = watch(7, often(), endpoint, Vec::new, None, tell);
    let size = size_of_val(&watching);
    assert!(size < 1024, "{size}");
}
