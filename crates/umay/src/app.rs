//! The life of the process: start everything in order, wait for a signal, end everything in order.

mod certificates;
mod files;
mod plan;
mod reload;
mod signals;
mod status;
mod supervisor;

pub use plan::Plan;
pub use reload::{Read, Source};

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use umay_core::config::Purpose;
use umay_core::model::Model;

use crate::admin::{self, Admin, AdminState, Control, Socket};
use crate::drain::Phase;
use crate::keeper::{self, Keeper};
use crate::listener;
use crate::original;
use crate::site::Site;
use crate::telemetry::access::AccessWriter;
use crate::telemetry::health::{Health, Stage};
use crate::transparent::Applied;
use crate::worker::Settings;
use crate::worker_thread::{self, Change, Setup};
use certificates::Certificates;
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
    /// Where the configuration comes from, if it can be read again.
    source: Option<Source>,
    /// The files that it was read from.
    watch: ConfigWatch,
    /// Those who ask for a reload.
    reloads: mpsc::Receiver<oneshot::Sender<Result<String, String>>>,
    /// Rules that send traffic here.
    rules: Option<Applied>,
    /// How long certificates are still good.
    certificates: Certificates,
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
        let status = status::status(&plan, &health, &shown);
        let (admin, admin_address) = start_admin(model, &plan, &health, &status)?;
        let dropped = plan.registry.access_log_dropped().clone();
        let access = AccessWriter::start(&model.log.access, dropped)
            .with_context(|| format!("cannot open the access log {:?}", model.log.access))?;
        let keeper =
            Keeper::start(&plan.upstreams, &model.dns).context("cannot watch over upstreams")?;
        let (ask, reloads) = mpsc::channel(1);
        let socket = start_socket(model, &status, &keeper, ask)?;
        let threads = Threads::start(model, &plan, sockets, access.as_ref(), files)?;
        let rules = apply(&listening)?;
        let certificates = Certificates::new(&plan);
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
            source: None,
            watch: ConfigWatch::default(),
            reloads,
            rules,
            certificates,
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
        files: &[(PathBuf, Purpose)],
    ) -> anyhow::Result<ExitCode> {
        self.source = source;
        self.watch.follow(files);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let code = runtime.block_on(self.live())?;
        self.end();
        Ok(code)
    }

    async fn live(&mut self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
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
                () = self.watch.changed() => self.reload_changed().await,
                () = self.certificates.due() => self.certificates.look(&self.plan),
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

/// Opens the admin socket, if there is to be one.
fn start_socket(
    model: &Model,
    status: &Status,
    keeper: &Keeper,
    ask: mpsc::Sender<oneshot::Sender<Result<String, String>>>,
) -> anyhow::Result<Option<Socket>> {
    let Some(path) = &model.admin_socket else {
        return Ok(None);
    };
    let commands = keeper.commands().clone();
    let control = Control {
        status: Arc::clone(status),
        reload: Arc::new(move || {
            let ask = ask.clone();
            Box::pin(async move {
                let (tell, told) = oneshot::channel();
                let gone = "Umay is ending".to_owned();
                if ask.send(tell).await.is_err() {
                    return Err(gone);
                }
                told.await.unwrap_or(Err(gone))
            })
        }),
        drain: Arc::new(move |upstream, endpoint, drain| {
            Box::pin(keeper::drain(commands.clone(), upstream, endpoint, drain))
        }),
    };
    let socket = Socket::start(path, control)
        .with_context(|| format!("cannot listen on admin.socket {}", path.display()))?;
    Ok(Some(socket))
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
