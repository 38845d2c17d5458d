//! The admin socket: what changes state, for whoever may open a file of Umay's own user.
//!
//! A unix socket that only its owner can open (mode 0600), so that neither the network nor a web page
//! reaches it. It carries plain HTTP/1, one request per connection, and answers in JSON ([`super::requests`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::requests::{self, Asker, Control};
use super::{CONNECTIONS, HEAD, LIFE, unix};
use crate::side::{self, Side};

/// The running admin socket. Stops, and takes its file away, when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    _side: Side,
}

impl Socket {
    /// Listens at `path`, in place of a socket that nobody listens at any more.
    pub fn start(path: &Path, control: Control) -> io::Result<Self> {
        let listener = unix::bind(path)?;
        let side = Side::start("umay-socket", || {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let app = requests::router(control);
            Ok(side::accept(listener, CONNECTIONS, move |stream| {
                let app = requests::asked_by(app.clone(), Asker::of(&stream));
                let connection = side::http(stream, app, HEAD, false);
                async move {
                    let _ = tokio::time::timeout(LIFE, connection).await;
                }
            }))
        })?;
        Ok(Self {
            path: path.to_owned(),
            _side: side,
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // If it is gone already, nothing is left to do.
        let _ = fs::remove_file(&self.path);
    }
}
