//! Probes of endpoints: what they ask, what they make of the answers, and that nothing an endpoint does
//! keeps them or fills memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod floods;
mod grpc;
mod http;
mod programs;
mod reach;
mod rows;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use umay::tls::ClientTls;
use umay_core::model::{Endpoint, Probe, ProbeKind, Scheme, UpstreamTls};
use umay_test::{Certs, DEADLINE};

/// A probe that has as much time as a busy machine needs.
fn probe(kind: ProbeKind) -> Probe {
    Probe {
        kind,
        port: None,
        interval: Duration::from_secs(5),
        timeout: DEADLINE,
        rise: 2,
        fall: 3,
    }
}

/// One that is to find that nothing comes.
fn impatient(kind: ProbeKind) -> Probe {
    Probe {
        timeout: Duration::from_millis(300),
        ..probe(kind)
    }
}

fn get(path: &str) -> ProbeKind {
    ProbeKind::Http {
        path: path.to_owned(),
        host: None,
        expect: vec![(200, 299)],
    }
}

fn health(service: &str) -> ProbeKind {
    ProbeKind::Grpc {
        service: service.to_owned(),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Asks the endpoint that has this address.
fn ask(probe: &Probe, scheme: Scheme, addr: SocketAddr) -> Result<(), String> {
    ask_at(probe, scheme, &[addr])
}

/// Asks the endpoint that has these addresses, of which the first is its name.
fn ask_at(probe: &Probe, scheme: Scheme, addresses: &[SocketAddr]) -> Result<(), String> {
    let first = addresses.first().copied();
    let first = first.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 1)));
    let endpoint = Endpoint::new(scheme, first.ip().to_string(), first.port());
    ask_of(probe, &endpoint, addresses, None)
}

/// Asks over TLS for `a.test`, which this authority is to stand for.
fn ask_tls(probe: &Probe, scheme: Scheme, addr: SocketAddr, certs: &Certs) -> Result<(), String> {
    let tls = trusting(certs);
    let endpoint = Endpoint::new(scheme, "a.test", addr.port());
    ask_of(probe, &endpoint, &[addr], Some(&tls))
}

fn trusting(certs: &Certs) -> ClientTls {
    let tls = UpstreamTls {
        ca: Some(certs.ca()),
        ..UpstreamTls::default()
    };
    ClientTls::load(&tls).unwrap()
}

fn ask_of(
    probe: &Probe,
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    tls: Option<&ClientTls>,
) -> Result<(), String> {
    let asking = umay::probe::ask(probe, endpoint, addresses, tls);
    runtime().block_on(async {
        let asked = timeout(2 * DEADLINE, movable(asking)).await;
        asked.expect("a probe ends")
    })
}

/// What may go to another thread.
fn movable<F: Future + Send>(future: F) -> F {
    future
}

fn told(outcome: Result<(), String>) -> String {
    outcome.err().unwrap_or_else(|| "well".to_owned())
}
