//! Asking endpoints whether they are well: one probe ([`ask`]), and one after the other for as long as
//! an endpoint is known ([`watch()`]).
//!
//! A probe opens a connection of its own, asks as requests would ask, reads as little as it can and
//! leaves. Whatever an endpoint does, a probe ends in time and in little memory: one deadline covers all of
//! it, and no more than [`Metered::MOST`] bytes are ever taken from the socket. None of it stands on the
//! path of a request, so it is short rather than fast.

mod get;
mod grpc;
mod health;
mod io;
mod multiplex;
mod reach;
mod watch;
mod words;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use umay_core::model::{Endpoint, Probe, ProbeKind, Scheme};

use crate::tls::{ClientTls, Offer};
use get::Get;
use io::{Io, Metered};
use words::tidy;

pub use watch::{Health, watch};

/// What probes call themselves.
const USER_AGENT: &str = "umay-probe";

/// A head may be so large: 16 KiB, and the same for what HTTP/2 counts of its fields.
const HEAD: u32 = 16 * 1024;

/// How long the words of parting may take; whether they are heard changes nothing.
const PARTING: Duration = Duration::from_millis(250);

/// Asks an endpoint once whether it is well. `addresses` are those that its host stands for, with the
/// port that requests use; they are tried in order until one takes the connection. Without `tls` those
/// that have to be asked over TLS are ill.
///
/// It takes no longer than the probe's timeout, and a moment for parting. The error is a sentence:
/// what was asked, and what came.
pub async fn ask(
    probe: &Probe,
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    tls: Option<&ClientTls>,
) -> Result<(), String> {
    let asked = verdict(probe, endpoint, addresses, tls).await;
    asked.map_err(|failure| failure.why)
}

/// Why a probe failed.
#[derive(Debug)]
struct Failure {
    /// What was asked and what came.
    why: String,
    /// It is ours, not the endpoint's: we lack descriptors, ports or memory. It says nothing of the endpoint.
    ours: bool,
}

impl Failure {
    /// The endpoint's. Parts of the words may come from there too.
    fn new(asked: &str, came: &str) -> Self {
        Self {
            why: tidy(&format!("{asked}: {came}")),
            ours: false,
        }
    }
}

/// The moment when a probe ends, whatever it is busy with.
#[derive(Clone, Copy, Debug)]
struct Limit {
    whole: Duration,
    end: Instant,
}

impl Limit {
    fn new(timeout: Duration) -> Self {
        // Far enough, and near enough for a clock.
        const LONGEST: Duration = Duration::from_secs(86_400);
        Self {
            whole: timeout,
            end: Instant::now() + timeout.min(LONGEST),
        }
    }

    /// Waits for an answer. Words of parting are not to be in it: what was heard in time counts.
    async fn hold<T>(self, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let answer = timeout_at(self.end, answer).await;
        answer.unwrap_or_else(|_| Err(self.silence()))
    }

    fn silence(self) -> String {
        format!("no answer in {:?}", self.whole)
    }
}

async fn verdict(
    probe: &Probe,
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    tls: Option<&ClientTls>,
) -> Result<(), Failure> {
    let limit = Limit::new(probe.timeout);
    let stream = reach::connect(addresses, probe.port, limit).await?;
    if probe.kind == ProbeKind::Tcp {
        return Ok(());
    }
    let (stream, scheme) = (Metered::new(stream), endpoint.scheme);
    let offer = offer(&probe.kind, scheme);
    let io = if scheme.is_tls() || probe.kind == ProbeKind::Tls {
        reach::secure(stream, endpoint, tls, offer, limit).await?
    } else {
        Io::Plain(stream)
    };
    let port = probe.port.unwrap_or(endpoint.port);
    match &probe.kind {
        ProbeKind::Tcp => Ok(()),
        ProbeKind::Tls => reach::part(io, endpoint, tls).await,
        ProbeKind::Http { path, host, expect } => {
            let host = host.clone().unwrap_or_else(|| authority(endpoint, port));
            let speaks_http2 = match scheme {
                Scheme::H2 | Scheme::H2c => true,
                _ => io.alpn() == Some(b"h2"),
            };
            let get = Get { path, host: &host };
            let asked = format!("GET {path}");
            let status = get.status(io, speaks_http2, limit).await;
            let judged = status.and_then(|status| get::judge(status, expect));
            judged.map_err(|came| Failure::new(&asked, &came))
        }
        ProbeKind::Grpc { service } => {
            let host = authority(endpoint, port);
            let asked = match &**service {
                "" => "grpc.health.v1.Health/Check".to_owned(),
                service => format!("grpc.health.v1.Health/Check of {service}"),
            };
            let checked = grpc::check(io, &host, service, limit).await;
            checked.map_err(|came| Failure::new(&asked, &came))
        }
    }
}

/// What is offered under TLS: what requests would offer.
fn offer(kind: &ProbeKind, scheme: Scheme) -> Offer {
    match (kind, scheme) {
        (ProbeKind::Grpc { .. }, _) | (_, Scheme::H2) => Offer::Http2,
        (_, Scheme::Https) => Offer::Either,
        (ProbeKind::Http { .. }, _) => Offer::Http1,
        (ProbeKind::Tls | ProbeKind::Tcp, _) => Offer::Nothing,
    }
}

/// Host and port as they stand in `Host` and `:authority`.
fn authority(endpoint: &Endpoint, port: u16) -> String {
    match &endpoint.host {
        v6 if v6.contains(':') => format!("[{v6}]:{port}"),
        host => format!("{host}:{port}"),
    }
}
