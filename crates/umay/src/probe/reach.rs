//! The way to an endpoint and back: a connection, TLS over it, and its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use umay_core::model::Endpoint;

use super::io::{Io, Metered};
use super::words::{broken, tidy};
use super::{Failure, Limit, PARTING};
use crate::conn::is_ours;
use crate::original;
use crate::tls::{self, ClientTls, Offer};

/// Connects to the first address that takes it. Each may use half of the time that is left, and the last one
/// all of it, so that one which is silent does not speak for the next.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    port: Option<u16>,
    limit: Limit,
) -> Result<TcpStream, Failure> {
    let mut failures = Vec::new();
    let mut ours = false;
    for (place, address) in addresses.iter().enumerate() {
        let mut address = *address;
        if let Some(port) = port {
            address.set_port(port);
        }
        let now = Instant::now();
        let left = limit.end.saturating_duration_since(now);
        let is_last = place + 1 == addresses.len();
        let wait = if is_last { left } else { left / 2 };
        let came = match timeout_at(now + wait, original::marked(address)).await {
            Ok(Ok(stream)) => {
                // Without it an answer is late, not wrong.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => {
                ours |= is_ours(&error);
                broken(&error)
            }
            Err(_) if addresses.len() == 1 => limit.silence(),
            Err(_) => format!("no answer in {} ms", wait.as_millis()),
        };
        failures.push(format!("connect to {address}: {came}"));
    }
    if failures.is_empty() {
        return Err(Failure::new("connect", "the name has no address"));
    }
    let why = tidy(&failures.join("; "));
    Err(Failure { why, ours })
}

/// Shakes hands as requests do, but verifies anew each time: a session that is resumed shows no
/// certificate, and one ticket after the other could hide for ever that it has expired.
pub(super) async fn secure(
    stream: Metered,
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
    offer: Offer,
    limit: Limit,
) -> Result<Io, Failure> {
    let asked = question(endpoint, tls);
    let Some(tls) = tls else {
        return Err(Failure::new(&asked, "TLS was not prepared"));
    };
    let name = tls.server_name(endpoint);
    let name = name.map_err(|error| Failure::new(&asked, &error.to_string()))?;
    let mut config = ClientConfig::clone(tls.config(offer));
    config.resumption = Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let secured = async {
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| tls::connect_reason(&error).1)
    };
    match limit.hold(secured).await {
        Ok(secured) => Ok(Io::Tls(Box::new(secured))),
        Err(came) => Err(Failure::new(&asked, &came)),
    }
}

/// What a handshake asks for.
fn question(endpoint: &Endpoint, tls: Option<&ClientTls>) -> String {
    match tls.map(|tls| tls.server_name(endpoint)) {
        Some(Ok(name)) => format!("TLS with {}", name.to_str()),
        _ => format!("TLS with {}", endpoint.host),
    }
}

/// Ends TLS in order and hears what the endpoint says to that. In TLS 1.3 only here do we learn that it does not take our
/// certificate; anything else that it does now is well.
pub(super) async fn part(
    mut io: Io,
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
) -> Result<(), Failure> {
    let parting = async {
        io.shutdown().await?;
        let mut block = [0; 4096];
        while io.read(&mut block).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    match timeout(PARTING, parting).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Failure::new(&question(endpoint, tls), &broken(&error)))
        }
        _ => Ok(()),
    }
}

/// Ends a connection in order, as far as that does not take long.
pub(super) async fn leave(mut io: Io) {
    let _ = timeout(PARTING, io.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_we_lack_says_nothing_of_the_endpoint() {
        for (errno, ours) in [
            (Errno::MFILE, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::CONNREFUSED, false),
            (Errno::HOSTUNREACH, false),
            (Errno::TIMEDOUT, false),
        ] {
            assert_eq!(is_ours(&errno.into()), ours, "{errno}");
        }
        assert!(!is_ours(&io::ErrorKind::InvalidData.into()));
    }
}
