//! A new connection to an endpoint: name, TCP, TLS, each with its deadline, and for each way to
//! fail a reason.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};
use umay_core::model;
use umay_core::reason::Reason;

use super::pool::Life;
use super::room::Berth;
use super::{Endpoint, Lease, Share};
use crate::conn::{Conn, Deadline, Io, Plain, is_ours, prepare, until};
use crate::original::{self, Outgoing};
use crate::tls::{self, Offer};

/// Why there is no connection.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// More about it, for people; may be empty.
    pub detail: String,
}

impl Failure {
    /// A failure for this reason.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

/// How long a connection took to open.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// All of it.
    pub whole: Duration,
    /// TLS, if there is TLS.
    pub tls: Option<Duration>,
}

/// A new connection.
pub(super) struct Connected {
    pub(super) conn: Conn,
    pub(super) took: Took,
    pub(super) berth: Option<Berth>,
    pub(super) life: Life,
}

impl Share {
    /// Opens a connection to the leased endpoint. No byte of a request
    /// is sent before TLS, if the endpoint wants it, is established and verified.
    pub(super) async fn connect(
        self: &Rc<Self>,
        lease: &Lease,
        offer: Offer,
        deadline: &Deadline,
    ) -> Result<Connected, Failure> {
        let Some(berth) = Berth::take(self, lease.local()) else {
            return Err(Failure::new(Reason::QueueFull, "no room for a connection"));
        };
        let endpoint = lease.endpoint();
        let started = Instant::now();
        let wait = self.worker.timeouts.connect;
        deadline.set(wait);
        let reached = until(deadline, reach(endpoint)).await;
        let (stream, outgoing) = reached.unwrap_or_else(|| {
            let detail = format!("no answer to the connect in {wait:?}");
            Err(Failure::new(Reason::ConnectTimeout, detail))
        })?;
        prepare(&stream);
        let plain = Plain::keeping(stream, outgoing);
        let mut connected = None;
        let io = if endpoint.address.scheme.is_tls() {
            connected = Some(Instant::now());
            deadline.set(wait);
            let secured = until(deadline, self.secure(plain, &endpoint.address, offer)).await;
            secured.unwrap_or_else(|| {
                let detail = format!("no end of the TLS handshake in {wait:?}");
                Err(Failure::new(Reason::ConnectTimeout, detail))
            })?
        } else {
            Io::Plain(plain)
        };
        self.worker.metrics.pool.opened.inc();
        let took = Took {
            whole: started.elapsed(),
            tls: connected.map(|connected| connected.elapsed()),
        };
        let metrics = &self.upstream.metrics;
        metrics.connected(self.worker.index, took.whole);
        Ok(Connected {
            conn: Conn::new(io, &self.worker.buffers),
            took,
            berth,
            life: Life::new(self, lease.local()),
        })
    }

    async fn secure(
        &self,
        plain: Plain,
        address: &model::Endpoint,
        offer: Offer,
    ) -> Result<Io, Failure> {
        let Some(tls) = &self.upstream.tls else {
            return Err(Failure::new(Reason::Internal, "TLS was not prepared"));
        };
        let name = tls
            .server_name(address)
            .map_err(|error| Failure::new(Reason::UpstreamTlsFailed, error.to_string()))?;
        let connector = TlsConnector::from(tls.config(offer).clone());
        match connector.connect(name, plain).await {
            Ok(stream) => Ok(Io::Tls(Box::new(TlsStream::from(stream)))),
            Err(error) => {
                let (reason, detail) = tls::connect_reason(&error);
                Err(Failure { reason, detail })
            }
        }
    }
}

/// A socket, and what has to be kept as long as it is open.
type Dialled = (TcpStream, Option<Outgoing>);

/// Connects to the endpoint.
async fn reach(endpoint: &Endpoint) -> Result<Dialled, Failure> {
    match endpoint.addresses[..] {
        [] => {
            let detail = "the name has no address";
            Err(Failure::new(Reason::EndpointUnresolved, detail))
        }
        [address] => dial(address).await,
        [first, second, ..] => race(first, second).await,
    }
}

/// Connects to whichever of two addresses answers first. The second is tried when the first has failed, or has
/// not answered for a while (RFC 8305 section 5).
async fn race(first: SocketAddr, second: SocketAddr) -> Result<Dialled, Failure> {
    /// As the RFC recommends.
    const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
    let mut one = pin!(dial(first));
    if let Ok(done) = timeout(ATTEMPT_DELAY, one.as_mut()).await {
        return match done {
            Ok(dialled) => Ok(dialled),
            Err(_) => dial(second).await,
        };
    }
    let mut two = pin!(dial(second));
    tokio::select! {
        done = &mut one => match done {
            Ok(dialled) => Ok(dialled),
            Err(_) => two.await,
        },
        done = &mut two => match done {
            Ok(dialled) => Ok(dialled),
            Err(_) => one.await,
        },
    }
}

async fn dial(address: SocketAddr) -> Result<Dialled, Failure> {
    original::connect(address)
        .await
        .map_err(|error| Failure::new(dial_reason(&error), format!("{address}: {error}")))
}

fn dial_reason(error: &io::Error) -> Reason {
    match error.kind() {
        ErrorKind::ConnectionRefused => Reason::ConnectRefused,
        ErrorKind::TimedOut => Reason::ConnectTimeout,
        _ if is_ours(error) => Reason::Overloaded,
        _ => Reason::ConnectFailed,
    }
}
