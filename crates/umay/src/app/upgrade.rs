//! An upgrade: the program's file, as it is now, is started with the sockets of this process, and when it serves,
//! this process only finishes what it has.
//!
//! Whatever goes wrong before that leaves this process as it was. Nothing is closed that another has not taken over,
//! and streams that are open are never cut by it unless `timeouts.upgrade` says when.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::inherit::{self, Handover, MARK, Parcel, Said};
use super::signals::{Called, Signals};
use super::{App, LAST_WORDS, supervisor};
use crate::drain::Phase;

/// How long a successor may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is to take the place of this one.
struct Successor {
    child: Child,
    said: oneshot::Receiver<Said>,
}

impl Successor {
    /// Starts it. It reads the configuration by itself, as this process did.
    fn start(parcel: Parcel) -> io::Result<Self> {
        let mut words = std::env::args_os();
        let program = words.next().unwrap_or_else(|| OsString::from("umay"));
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let child = Command::new(program)
            .args(words)
            .env(MARK, "1")
            .stdin(OwnedFd::from(theirs))
            .spawn()?;
        let (tell, said) = oneshot::channel();
        std::thread::Builder::new()
            .name("umay-upgrade".to_owned())
            .spawn(move || {
                if let Err(error) = parcel.send(&ours) {
                    // What it says of that counts more.
                    tracing::debug!(%error, "the sockets could not be sent");
                }
                // Whoever has asked may have given up.
                let _ = tell.send(inherit::hear(&ours));
            })?;
        Ok(Self { child, said })
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What has come of trying.
pub(super) enum Came {
    /// This process serves on, and why.
    Failed(String),
    /// Another process serves; what to tell whoever asked.
    Handed(String),
    /// A signal came that ends this process.
    Ended(&'static str),
}

impl App {
    /// Starts a successor and waits until it serves.
    pub(super) async fn upgrade(&mut self, signals: &mut Signals) -> Came {
        let came = self.try_upgrade(signals).await;
        match &came {
            Came::Failed(why) => tracing::error!("not upgraded, this process serves on: {why}"),
            Came::Handed(text) => tracing::info!("{text}"),
            Came::Ended(_) => {}
        }
        came
    }

    async fn try_upgrade(&mut self, signals: &mut Signals) -> Came {
        if self.source.is_none() {
            return Came::Failed("only `umay run` can be upgraded".to_owned());
        }
        if std::process::id() == 1 {
            let why = "this is the first process of a container, which ends with it: replace the container instead";
            return Came::Failed(why.to_owned());
        }
        let started = self.parcel().and_then(Successor::start);
        let mut successor = match started {
            Ok(successor) => successor,
            Err(error) => {
                return Came::Failed(format!("the program could not be started: {error}"));
            }
        };
        let pid = successor.child.id();
        tracing::info!(pid, "upgrading: the new process is being started");
        let said = tokio::select! {
            said = &mut successor.said => said,
            name = signals.end() => {
                successor.kill();
                return Came::Ended(name);
            }
        };
        let failed = || Said::Failed("it could not be heard".to_owned());
        match said.unwrap_or_else(|_| failed()) {
            Said::Serves { control } => {
                self.hand_over(pid, control);
                let open = self.plan.registry.open_connections();
                Came::Handed(format!(
                    "Process {pid} serves; this one, {}, accepts nothing more and finishes what is open: {open} connections.",
                    std::process::id()
                ))
            }
            Said::Failed(why) => {
                successor.kill();
                Came::Failed(format!("the new process could not start: {why}"))
            }
        }
    }

    fn parcel(&self) -> io::Result<Parcel> {
        let sites = self.plan.sites.iter().map(|site| &site.listener);
        let sockets = self.sockets.iter().map(|sockets| &**sockets);
        let (admin, control) = self.admin.sockets();
        Handover {
            listeners: sites.zip(sockets).collect(),
            admin: self.model.admin.zip(admin),
            control: self.model.admin_socket.as_deref().zip(control),
            by_hand: self.keeper.by_hand().carried(),
        }
        .pack()
    }

    /// Another process serves: what is accepted from now on is its.
    fn hand_over(&mut self, pid: u32, control: bool) {
        supervisor::main_process(pid);
        self.sockets.clear();
        self.threads.phase.send_replace(Phase::Succeeded);
        self.admin.leave(control);
    }

    /// The rest of the life of a process that has been succeeded.
    pub(super) async fn finish(&mut self, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let deadline = self.model.timeouts.upgrade;
        let late = async {
            match deadline {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(late);
        loop {
            tokio::select! {
                _ = self.threads.ended.recv() => break,
                () = &mut late => {
                    let open = self.plan.registry.open_connections();
                    tracing::warn!(open, "timeouts.upgrade has come; what is open is cut");
                    self.threads.phase.send_replace(Phase::Cutting);
                    let _ = tokio::time::timeout(LAST_WORDS, self.threads.ended.recv()).await;
                    break;
                }
                called = signals.next() => match called {
                    Called::End(name) => {
                        tracing::info!(signal = name, "draining");
                        return self.leave(signals).await;
                    }
                    Called::Reopen => self.reopen(),
                    Called::Reload | Called::Upgrade => {
                        tracing::warn!("another process serves; this one only finishes what is open");
                    }
                },
            }
        }
        tracing::info!(pid = std::process::id(), after = ?started.elapsed(), "ended, for another process serves");
        Ok(ExitCode::SUCCESS)
    }
}
