//! The admin listener: metrics, health and status, for scrapers, orchestrators and people.
//!
//! It only ever tells: what changes state is on a unix socket ([`Socket`]), so reaching it is reading it. It
//! has a thread of its own, so a slow scrape costs the workers nothing, and every connection carries
//! one request, so idle ones cannot pile up.

mod answers;
mod bodies;
mod client;
mod page;
#[cfg(test)]
mod page_tests;
mod requests;
mod socket;
#[cfg(test)]
mod tests;
mod unix;

pub use client::{Question, Reply, ask, endpoint_target, level, upstream_target, weight};
pub use requests::{
    Answer, Answered, Asked, Asker, Change, Control, Fault, ROUTES, Refused, Reloaded,
};
pub use socket::Socket;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::side::{self, Side};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Registry;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: u32 = 64;

/// From accepting a connection to the end of its request's head.
const HEAD: Duration = Duration::from_secs(5);

/// The whole life of a connection, so that clients which do not take their answer give up their
/// place.
const LIFE: Duration = Duration::from_secs(30);

/// What the admin listener tells about.
#[derive(Clone)]
pub struct AdminState {
    /// For `/metrics`.
    pub registry: Arc<Registry>,
    /// For `/readyz`.
    pub health: Health,
    /// For `/status` and `/`: makes the document anew each time. It is called on the admin thread,
    /// which does nothing else meanwhile.
    pub status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// Why the admin listener could not bind, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("the admin listener cannot bind {addr}: {}", advice(*addr, error))]
pub struct BindError {
    /// The address that was asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

/// Binds the admin listener, so that the caller can tell its address (port 0 picks a free one) or
/// what is wrong before anything runs.
pub fn bind(addr: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(addr).map_err(|error| BindError { addr, error })
}

/// The running admin listener. Stops when dropped.
#[derive(Debug)]
pub struct Admin {
    side: Side,
    /// For who takes this process's place; none when that has happened.
    socket: Option<TcpListener>,
    leave: Arc<Notify>,
}

impl Admin {
    /// Starts to answer on `listener`. Fails if the system gives no thread or no event queue.
    pub fn start(listener: TcpListener, state: AdminState) -> io::Result<Self> {
        let socket = listener.try_clone()?;
        let leave = Arc::new(Notify::new());
        let told = Arc::clone(&leave);
        let side = Side::start("umay-admin", || {
            let listener = side::adopt(listener)?;
            let app = answers::router(state);
            Ok(side::accept(listener, CONNECTIONS, told, move |stream| {
                let connection = side::http(stream, app.clone(), HEAD, false);
                async move {
                    // Whoever has not taken the answer by now is cut off.
                    let _ = tokio::time::timeout(LIFE, connection).await;
                }
            }))
        })?;
        Ok(Self {
            side,
            socket: Some(socket),
            leave,
        })
    }

    /// Where it listens, while it does.
    pub fn address(&self) -> Option<SocketAddr> {
        let socket = self.socket.as_ref()?;
        socket.local_addr().ok()
    }

    /// Its socket, while it accepts.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Accepts no more, for another process does. What is under way goes on.
    pub fn leave(&mut self) {
        self.socket = None;
        self.leave.notify_one();
    }

    /// Closes the listener and all its connections, and waits until that is done. Where it has left already, what is
    /// under way has so long to finish.
    pub fn stop(self, most: Duration) {
        if self.socket.is_none() {
            self.side.wait(most);
        }
    }
}

fn advice(addr: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} is in use by another process, perhaps another Umay; choose another address with \
             `admin.bind`, or switch it off with `admin.bind = \"off\"`",
            addr.port()
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine does not have the address {}; correct `admin.bind`",
            addr.ip()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "port {} needs a privilege; choose one from 1024 up with `admin.bind`",
            addr.port()
        ),
        _ => format!("{error}; see `admin.bind`"),
    }
}
