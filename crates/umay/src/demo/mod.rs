//! The demo: small endpoints for a proxy to stand before, and what to try against it.

mod guide;
mod http;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::side::{self, Side};

pub use guide::{Step, guide, steps};

/// Connections that each endpoint takes at a time.
const CONNECTIONS: u32 = 1024;

/// How long an endpoint waits for the next request on a connection, and for all of its head.
const HEAD: Duration = Duration::from_secs(60);

/// How long the TCP endpoint waits for a byte, or for the peer to take one.
const IDLE: Duration = Duration::from_secs(600);

/// Where the demo's endpoints listen, all on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoEndpoints {
    /// Two that speak HTTP and WebSocket and are alike but for their names, `one` and `two`.
    pub http: [SocketAddr; 2],
    /// One that sends back every byte it gets.
    pub tcp: SocketAddr,
}

/// The running endpoints. They stop when dropped.
#[derive(Debug)]
pub struct Demo {
    endpoints: DemoEndpoints,
    side: Side,
}

/// Starts the endpoints on free ports of 127.0.0.1, on one thread of their own. Fails if the system
/// gives no port, no thread or no event queue.
pub fn start() -> io::Result<Demo> {
    let [one, two, tcp] = [listen()?, listen()?, listen()?];
    let endpoints = DemoEndpoints {
        http: [one.local_addr()?, two.local_addr()?],
        tcp: tcp.local_addr()?,
    };
    let side = Side::start("umay-demo", || {
        let (one, two, tcp) = (side::adopt(one)?, side::adopt(two)?, side::adopt(tcp)?);
        let (first, second) = (http::router("one"), http::router("two"));
        Ok(async move {
            tokio::join!(
                side::accept(one, CONNECTIONS, std::sync::Arc::default(), move |stream| {
                    side::http(stream, first.clone(), HEAD, true)
                }),
                side::accept(two, CONNECTIONS, std::sync::Arc::default(), move |stream| {
                    side::http(stream, second.clone(), HEAD, true)
                }),
                side::accept(
                    tcp,
                    CONNECTIONS,
                    std::sync::Arc::default(),
                    async |stream| {
                        // Whoever left or stalled needs no echo.
                        let _ = echo(stream).await;
                    }
                ),
            );
        })
    })?;
    Ok(Demo { endpoints, side })
}

impl Demo {
    /// Where the endpoints listen.
    pub fn endpoints(&self) -> DemoEndpoints {
        self.endpoints
    }

    /// Closes the endpoints and all their connections, and waits until that is done.
    pub fn stop(self) {
        drop(self.side);
    }
}

fn listen() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Sends back what comes until the peer has sent its last byte, then closes.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = timeout(IDLE, stream.read(&mut buffer)).await??;
        match buffer.get(..read) {
            None | Some([]) => return stream.shutdown().await,
            Some(bytes) => timeout(IDLE, stream.write_all(bytes)).await??,
        }
    }
}
