//! The signals that the process listens to.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// To end; with the signal's name.
    End(&'static str),
    /// SIGUSR1: to open the access log anew after a rotation.
    Reopen,
    /// SIGUSR2: to start the program's file anew and let it take over.
    Upgrade,
    /// SIGHUP: to read the configuration again, or to end if there is none.
    Reload,
}

/// The signals.
pub(super) struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    hup: unix::Signal,
    usr1: unix::Signal,
    usr2: unix::Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            term: unix::signal(SignalKind::terminate())?,
            int: unix::signal(SignalKind::interrupt())?,
            hup: unix::signal(SignalKind::hangup())?,
            usr1: unix::signal(SignalKind::user_defined1())?,
            usr2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// The next.
    pub(super) async fn next(&mut self) -> Called {
        tokio::select! {
            _ = self.term.recv() => Called::End("SIGTERM"),
            _ = self.int.recv() => Called::End("SIGINT"),
            _ = self.hup.recv() => Called::Reload,
            _ = self.usr1.recv() => Called::Reopen,
            _ = self.usr2.recv() => Called::Upgrade,
        }
    }

    /// The next that ends the process.
    pub(super) async fn end(&mut self) -> &'static str {
        loop {
            if let Called::End(name) = self.next().await {
                return name;
            }
        }
    }
}
