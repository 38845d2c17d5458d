//! Endpoints that are discovered, with Umay running: what a change in the world does to requests, and
//! what it does not do to what is open.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod consul;
mod etcd;
mod files;
mod leaving;
mod names;
mod outages;
mod races;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use umay_test::{Server, Setup, Umay, Value, eventually, umay, unique_address};

/// Servers at addresses of their own with one port for all, since a name has no ports. Each answers with
/// its letter, from `a` on.
fn servers(count: u8) -> Vec<Server> {
    let addresses = addresses(count);
    let letters = (b'a'..).map(|letter| char::from(letter).to_string());
    let pairs = addresses.into_iter().zip(letters);
    pairs
        .map(|(addr, letter)| Server::ok_at(addr, None, &letter))
        .collect()
}

/// Addresses that only the caller uses, with one port for all.
fn addresses(count: u8) -> Vec<SocketAddr> {
    let port = unique_address().port();
    let fresh = (0..count).map(|_| SocketAddr::new(unique_address().ip(), port));
    fresh.collect()
}

/// Lines of a hosts file that give `name` the addresses of these.
fn hosts<'a>(name: &str, servers: impl IntoIterator<Item = &'a Server>) -> String {
    let line = |server: &Server| format!("{} {name}\n", server.addr().ip());
    servers.into_iter().map(line).collect()
}

/// A configuration's part about names: this server only, asked often.
fn dns(server: SocketAddr) -> String {
    format!(
        "[dns]\nservers = [\"{server}\"]\nmin_ttl = \"200ms\"\nmax_ttl = \"1s\"\ntimeout = \"500ms\"\n"
    )
}

/// Umay before an upstream `app`, of which this is said. Each of its endpoints has its turn, so that a few
/// requests tell who they are.
fn before(app: &str, more: &str) -> Umay {
    setup(app, more).start()
}

/// The same before it is started.
fn setup(app: &str, more: &str) -> Setup {
    umay!().config(format!(
        "listen = \"127.0.0.1:0\"\nto = \"app\"\n{more}\n\
         [upstream.app]\nbalance = \"round_robin\"\n{app}\n"
    ))
}

/// The body of one answer, which has to be a good one.
#[track_caller]
fn ask(umay: &Umay) -> String {
    let answer = umay.get("a.test", "/");
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text()
}

/// Who answers so many requests, and how often.
#[track_caller]
fn shares(umay: &Umay, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(ask(umay)).or_insert(0) += 1;
    }
    shares
}

/// Asks until so many requests in a row were answered by exactly these, all of them with success. Tells
/// how long it took until the first of them.
#[track_caller]
fn until_served_by(umay: &Umay, names: &[&str]) -> Duration {
    let started = Instant::now();
    eventually(&format!("answers by {names:?}"), || {
        let begun = started.elapsed();
        let shares = shares(umay, 8 * names.len());
        shares.keys().eq(names).then_some(begun)
    })
}

/// What `/status` says of the upstream `app`.
fn status(umay: &Umay) -> Value {
    let status: Value = serde_json::from_slice(&umay.admin_get("/status").body).unwrap();
    status["upstreams"][0].clone()
}

/// Questions about `app` that were answered so.
fn updates(umay: &Umay, source: &str, result: &str) -> f64 {
    let labels = [("upstream", "app"), ("source", source), ("result", result)];
    umay.metric("umay_discovery_updates_total", &labels)
}

/// Asks until discovery has failed twice, all with success.
#[track_caller]
fn served_while_it_fails(umay: &Umay, source: &str) {
    let before = updates(umay, source, "failed");
    eventually("two more failures", || {
        ask(umay);
        (updates(umay, source, "failed") >= before + 2.0).then_some(())
    });
}
