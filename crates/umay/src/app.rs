//! The life of the process: start everything in order, wait for a signal, end everything in order.

mod control;
mod files;
mod plan;
mod reload;
mod signals;
mod status;
mod supervisor;

pub use plan::{Described, Plan};
pub use reload::{Read, Source};

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use umay_core::model::Model;

use crate::admin::{self, Admin, AdminState, Socket};
use crate::drain::Phase;
use crate::keeper::{AllByHand, Keeper};
use crate::listener;
use crate::original;
use crate::site::Site;
use crate::telemetry::access::AccessWriter;
use crate::telemetry::health::{Health, Stage};
use crate::transparent::Applied;
use crate::worker::Settings;
use crate::worker_thread::{self, Change, Setup};
use control::{Reach, Served};
use files::ConfigWatch;
use signals::{Asked, Signals};
use status::{Shown, Status};

/// Time that what was cut has to say so in the log.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A process that serves.
pub struct App {
    plan: Plan,
    health: Health,
    admin: Option<Admin>,
    access: Option<AccessWriter>,
    keeper: Keeper,
    socket: Option<Socket>,
    threads: Threads,
    /// Where it listens, by the listener's name.
    pub listening: Vec<(String, SocketAddr)>,
    /// Where the admin listener is, if there is one.
    pub admin_address: Option<SocketAddr>,
    model: Model,
    /// The limit on open files.
    files: usize,
    /// What `/status` tells of the configuration.
    shown: Arc<ArcSwap<Shown>>,
    /// What the admin socket tells of it, if there is one.
    served: Arc<ArcSwapOption<Served>>,
    /// Told when somebody asks on the admin socket for the end.
    end: Arc<Notify>,
    /// Where the configuration comes from, if it can be read again.
    source: Option<Source>,
    /// The files that it was read from.
    watch: ConfigWatch,
    /// Those who ask for a reload.
    reloads: mpsc::Receiver<oneshot::Sender<Result<String, String>>>,
    /// Rules that send traffic here.
    rules: Option<Applied>,
    /// What it lives in and listens to.
    signals: Option<(Runtime, Signals)>,
}

impl App {
    /// Opens all sockets and starts all threads. When it returns, connections are served.
    pub fn start(model: &Model, plan: Plan) -> anyhow::Result<Self> {
        Self::start_with(model, plan, |_| Ok(None))
    }

    /// The same with rules that send traffic to where it listens, in force before it says that it
    /// is ready.
    pub fn start_with(
        model: &Model,
        plan: Plan,
        apply: impl FnOnce(&[(String, SocketAddr)]) -> anyhow::Result<Option<Applied>>,
    ) -> anyhow::Result<Self> {
        let signals = listen_to_signals()?;
        let files = raise_open_files();
        let mut sockets = Vec::new();
        let mut listening = Vec::new();
        for site in &plan.sites {
            let bound = bind(site, plan.workers)?;
            if let Some(first) = bound.first() {
                listening.push((site.listener.name.clone(), first.local_addr()?));
            }
            sockets.push(bound);
        }
        if plan.sites.iter().any(|site| site.wants_original) {
            original::listening(listening.iter().map(|(_, address)| *address).collect());
        }
        let health = Health::default();
        let shown = Arc::new(ArcSwap::from_pointee(Shown::of(model, &plan, &listening)));
        let by_hand = AllByHand::default();
        let status = control::with_by_hand(status::status(&plan, &health, &shown), &by_hand);
        let (admin, admin_address) = start_admin(model, &plan, &health, &status)?;
        let dropped = plan.registry.access_log_dropped().clone();
        let access = AccessWriter::start(&model.log.access, dropped)
            .with_context(|| format!("cannot open the access log {:?}", model.log.access))?;
        let keeper = Keeper::start(&plan.upstreams, &model.dns, &by_hand)
            .context("cannot watch over upstreams")?;
        let (ask, reloads) = mpsc::channel(1);
        let served = Arc::new(ArcSwapOption::empty());
        let end = Arc::new(Notify::new());
        let socket = control::start(
            model,
            &plan,
            Reach {
                status: Arc::clone(&status),
                health: health.clone(),
                registry: Arc::clone(&plan.registry),
                commands: keeper.commands().clone(),
                served: Arc::clone(&served),
                reload: ask,
                end: Arc::clone(&end),
            },
        )?;
        let threads = Threads::start(model, &plan, sockets, access.as_ref(), files)?;
        let rules = apply(&listening)?;
        for (name, address) in &listening {
            tracing::info!(listener = name, addr = %address, "listening");
        }
        if let Some(address) = admin_address {
            tracing::info!(addr = %address, "admin");
        }
        health.set(Stage::Ready);
        let connections = most_connections(model, files);
        tracing::info!(workers = plan.workers, connections, "ready");
        supervisor::ready();
        Ok(Self {
            plan,
            health,
            admin,
            access,
            keeper,
            socket,
            threads,
            listening,
            admin_address,
            model: model.clone(),
            files,
            shown,
            served,
            end,
            source: None,
            watch: ConfigWatch::default(),
            reloads,
            rules,
            signals: Some(signals),
        })
    }

    /// Serves until SIGTERM, SIGINT or SIGHUP, then drains: readiness goes off, connections are accepted
    /// for a while longer, then what is open may finish until the deadline. A second signal ends at
    /// once.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.run_from(None, &[])
    }

    /// The same; SIGHUP reads the configuration again from this source, if there is one, and so does a change of
    /// one of these files.
    pub fn run_from(
        mut self,
        source: Option<Source>,
        files: &[PathBuf],
    ) -> anyhow::Result<ExitCode> {
        self.source = source;
        self.watch.follow(files);
        let Some((runtime, signals)) = self.signals.take() else {
            anyhow::bail!("a process lives once");
        };
        let code = runtime.block_on(self.live(signals))?;
        self.end();
        Ok(code)
    }

    async fn live(&mut self, mut signals: Signals) -> anyhow::Result<ExitCode> {
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::End(name) => {
                        tracing::info!(signal = name, "draining");
                        break;
                    }
                    Asked::Reload if self.source.is_none() => {
                        tracing::info!(signal = "SIGHUP", "draining");
                        break;
                    }
                    // What came of it is in the log.
                    Asked::Reload => drop(self.reload().await),
                    Asked::Reopen => {
                        if let Some(access) = &self.access {
                            let _ = access.reopen();
                        }
                    }
                },
                () = self.end.notified() => {
                    tracing::info!("asked to end, draining");
                    break;
                }
                () = self.watch.changed() => self.reload_changed().await,
                Some(tell) = self.reloads.recv() => {
                    let came = self.reload().await;
                    // Whoever asked may have gone.
                    let _ = tell.send(came);
                }
                _ = self.threads.ended.recv() => {
                    tracing::error!("a worker has ended, which it should not; please report it");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        self.health.set(Stage::Draining);
        supervisor::stopping();
        // Whoever asks for a reload from now on is told at once.
        self.reloads.close();
        while self.reloads.try_recv().is_ok() {}
        if let Some(rules) = &self.rules {
            rules.suspend();
        }
        let started = Instant::now();
        self.threads.phase.send_replace(Phase::Leaving);
        let code = tokio::select! {
            () = self.drain() => ExitCode::SUCCESS,
            name = signals.end() => {
                tracing::warn!(signal = name, "a second signal: ending at once");
                ExitCode::FAILURE
            }
        };
        self.threads.phase.send_replace(Phase::Cutting);
        // Returns nothing when all workers have ended.
        let _ = tokio::time::timeout(LAST_WORDS, self.threads.ended.recv()).await;
        tracing::info!(after = ?started.elapsed(), "ended");
        Ok(code)
    }

    async fn drain(&mut self) {
        tokio::time::sleep(self.model.timeouts.drain_delay).await;
        self.threads.phase.send_replace(Phase::Draining);
        let drained =
            tokio::time::timeout(self.model.timeouts.drain, self.threads.ended.recv()).await;
        if drained.is_err() {
            let open = self.plan.registry.open_connections();
            tracing::warn!(open, "the drain's deadline has come; what is open is cut");
        }
    }

    fn end(self) {
        for worker in self.threads.workers {
            if worker.is_finished() {
                // A worker that panicked has said so.
                let _ = worker.join();
            }
        }
        drop(self.socket);
        drop(self.keeper);
        if let Some(access) = self.access {
            access.stop(LAST_WORDS);
        }
        if let Some(admin) = self.admin {
            admin.stop();
        }
    }
}

/// The workers' threads, and how they are spoken to.
struct Threads {
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    /// Where workers are told of other configurations.
    changes: Vec<mpsc::UnboundedSender<Change>>,
    /// Closed when the last worker has ended.
    ended: mpsc::Receiver<()>,
}

impl Threads {
    /// Starts them all, each with a socket of every listener. When it returns, connections are accepted.
    fn start(
        model: &Model,
        plan: &Plan,
        mut sockets: Vec<Vec<TcpListener>>,
        access: Option<&AccessWriter>,
        files: usize,
    ) -> anyhow::Result<Self> {
        let (phase, _) = watch::channel(Phase::Open);
        let (alive, ended) = mpsc::channel(1);
        let mut workers = Vec::new();
        let mut changes = Vec::new();
        let mut ready = Vec::new();
        for index in (0..plan.workers).rev() {
            let (started, is_started) = std::sync::mpsc::sync_channel(1);
            let (tell, told) = mpsc::unbounded_channel();
            changes.push(tell);
            let setup = Setup {
                index,
                workers: plan.workers,
                registry: Arc::clone(&plan.registry),
                access: access.map(AccessWriter::handle),
                upstreams: Arc::clone(&plan.upstreams),
                sockets: plan
                    .sites
                    .iter()
                    .cloned()
                    .zip(sockets.iter_mut().filter_map(Vec::pop))
                    .collect(),
                settings: Settings::of(model),
                changes: told,
                most: most_connections(model, files),
                // Two files each: a twentieth, of what connections leave.
                pipes: files / 40 / plan.workers.max(1),
                phase: phase.subscribe(),
                started,
            };
            workers.push(worker_thread::spawn(setup, alive.clone())?);
            ready.push(is_started);
        }
        for is_started in ready {
            is_started.recv().context("a worker did not start")??;
        }
        Ok(Self {
            phase,
            workers,
            changes,
            ended,
        })
    }
}

/// Listens to signals from now on: whoever is told that the process is ready may end it the moment after, in order.
fn listen_to_signals() -> io::Result<(Runtime, Signals)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _within = runtime.enter();
        Signals::new()?
    };
    Ok((runtime, signals))
}

fn bind(site: &Site, workers: usize) -> anyhow::Result<Vec<TcpListener>> {
    let address = site.listener.bind;
    let bound = listener::bind(address, workers, site.listener.transparent);
    bound.map_err(|error| {
        let name = &site.listener.name;
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => " (is another process there? `ss -ltnp` tells)",
            _ => "",
        };
        anyhow::Error::new(error)
            .context(format!("listener {name} cannot listen on {address}{hint}"))
    })
}

/// Connections that the process may have open: what is configured, or nine tenths of the files, halved.
fn most_connections(model: &Model, files: usize) -> usize {
    model.limits.connections.unwrap_or(files / 10 * 9 / 2)
}

fn start_admin(
    model: &Model,
    plan: &Plan,
    health: &Health,
    status: &Status,
) -> anyhow::Result<(Option<Admin>, Option<SocketAddr>)> {
    let Some(address) = model.admin else {
        return Ok((None, None));
    };
    let socket = admin::bind(address)?;
    let address = socket.local_addr()?;
    let state = AdminState {
        registry: Arc::clone(&plan.registry),
        health: health.clone(),
        status: Arc::clone(status),
    };
    Ok((Some(Admin::start(socket, state)?), Some(address)))
}

/// Raises the limit on open files as far as the process may. Returns what it is.
fn raise_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// What there is if there is no limit: a million.
    const PLENTY: u64 = 1 << 20;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(PLENTY);
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => limit.current.unwrap_or(PLENTY),
    };
    usize::try_from(now).unwrap_or(usize::MAX)
}
