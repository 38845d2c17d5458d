//! The admin socket: what changes state, for whoever may open a file of Umay's own user.
//!
//! A unix socket that only its owner can open (mode 0600), so that neither the network nor a web page
//! reaches it. It carries plain HTTP/1, one request per connection, and answers in JSON ([`super::requests`]).

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::requests::{self, Asker, Control};
use super::{CONNECTIONS, HEAD, unix};
use crate::side::{self, Side};

/// The whole life of a connection: an upgrade is the longest that anything takes.
const LIFE: Duration = Duration::from_secs(90);

/// The running admin socket. Stops, and takes its file away, when dropped.
#[derive(Debug)]
pub struct Socket {
    /// Its file, unless another process has taken it over.
    path: Option<PathBuf>,
    /// For who takes this process's place; none when that has happened.
    listener: Option<UnixListener>,
    leave: Arc<Notify>,
    side: Side,
}

impl Socket {
    /// Listens at `path`, in place of a socket that nobody listens at any more.
    pub fn start(path: &Path, control: Control) -> io::Result<Self> {
        Self::start_at(path, unix::bind(path)?, control)
    }

    /// The same with a socket that is at `path` already.
    pub fn start_at(path: &Path, listener: UnixListener, control: Control) -> io::Result<Self> {
        let kept = listener.try_clone()?;
        let leave = Arc::new(Notify::new());
        let told = Arc::clone(&leave);
        let side = Side::start("umay-socket", || {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let app = requests::router(control);
            Ok(side::accept(listener, CONNECTIONS, told, move |stream| {
                let app = requests::asked_by(app.clone(), Asker::of(&stream));
                let connection = side::http(stream, app, HEAD, false);
                async move {
                    let _ = tokio::time::timeout(LIFE, connection).await;
                }
            }))
        })?;
        Ok(Self {
            path: Some(path.to_owned()),
            listener: Some(kept),
            leave,
            side,
        })
    }

    /// Its socket, while it accepts.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Accepts no more. What is under way goes on. The file stays if another process was `handed` the socket.
    pub fn leave(&mut self, handed: bool) {
        match self.path.take() {
            Some(path) if !handed => remove(&path),
            _ => {}
        }
        self.listener = None;
        self.leave.notify_one();
    }

    /// Ends it; see [`super::Admin::stop`].
    pub fn stop(self, most: Duration) {
        if self.listener.is_none() {
            self.side.wait(most);
        }
    }
}

fn remove(path: &Path) {
    // If it is gone already, nothing is left to do.
    let _ = fs::remove_file(path);
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            remove(path);
        }
    }
}
