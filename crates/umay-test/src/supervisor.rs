//! A supervisor that is told things, as systemd is (`sd_notify(3)`).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::tools::{DEADLINE, TempDir};

/// A supervisor that listens.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Supervisor {
    /// Listens at a socket of its own.
    pub fn new() -> Self {
        let dir = TempDir::new();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, dir }
    }

    /// What `NOTIFY_SOCKET` is to be.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("notify")
    }

    /// What it is told next.
    ///
    /// # Panics
    /// If it is told nothing.
    #[track_caller]
    pub fn told(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}
