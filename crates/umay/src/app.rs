//! The life of the process: start everything in order, wait for a signal, end everything in order.

mod status;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use umay_core::model::Model;

use crate::admin::{self, Admin, AdminState, Control, Socket};
use crate::discover;
use crate::drain::Phase;
use crate::keeper::{self, Keeper};
use crate::listener;
use crate::original;
use crate::site::{Route, Site};
use crate::telemetry::access::AccessWriter;
use crate::telemetry::health::{Health, Stage};
use crate::telemetry::metrics::Registry;
use crate::tls::{self, TlsProblem};
use crate::transparent::Applied;
use crate::upstream::Upstream;
use crate::worker::Settings;
use crate::worker_thread::{self, Change, Setup};

/// Time that what was cut has to say so in the log.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Everything that is made from the model before a socket is opened.
pub struct Plan {
    registry: Arc<Registry>,
    upstreams: Arc<[Arc<Upstream>]>,
    sites: Vec<Arc<Site>>,
    workers: usize,
    /// What is questionable about files that are read again and again.
    doubts: Vec<TlsProblem>,
}

impl Plan {
    /// Reads the files that the model names and builds what workers share. Fails with all that is
    /// wrong.
    pub fn build(model: &Model) -> Result<Self, Vec<TlsProblem>> {
        tls::install_provider();
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let workers = model.workers.unwrap_or_else(cores);
        let registry = Registry::new(workers);
        let mut problems = Vec::new();
        let mut upstreams = Vec::new();
        for upstream in model.upstreams.values() {
            let name = &upstream.name;
            let metrics = (registry.upstream(name), registry.discovery(name));
            match Upstream::build(upstream, model.zone.as_deref(), metrics) {
                Ok(upstream) => upstreams.push(upstream),
                Err(more) => problems.extend(more),
            }
        }
        let routes = Route::build(model, &registry);
        let mut sites = Vec::new();
        for listener in model.listeners.values() {
            match Site::build(model, listener, &routes) {
                Ok(site) => sites.push(site),
                Err(more) => problems.extend(more),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let doubts = model.upstreams.values().filter_map(discover::doubt);
        Ok(Self {
            registry,
            upstreams: upstreams.into(),
            sites,
            workers,
            doubts: doubts.collect(),
        })
    }

    /// What is questionable but no error.
    pub fn warnings(&self) -> impl Iterator<Item = &TlsProblem> {
        let sites = self.sites.iter().filter_map(|site| site.tls.as_ref());
        let upstreams = self.upstreams.iter().filter_map(|upstream| upstream.tls());
        sites
            .flat_map(|tls| tls.warnings())
            .chain(upstreams.flat_map(|tls| tls.warnings()))
            .chain(&self.doubts)
    }
}

/// A process that serves.
pub struct App {
    plan: Plan,
    health: Health,
    admin: Option<Admin>,
    access: Option<AccessWriter>,
    keeper: Keeper,
    socket: Option<Socket>,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    /// Where workers are told of other configurations.
    changes: Vec<mpsc::UnboundedSender<Change>>,
    /// Closed when the last worker has ended.
    ended: mpsc::Receiver<()>,
    /// Where it listens, by the listener's name.
    pub listening: Vec<(String, SocketAddr)>,
    /// Where the admin listener is, if there is one.
    pub admin_address: Option<SocketAddr>,
    timeouts: umay_core::model::Timeouts,
    /// Rules that send traffic here.
    rules: Option<Applied>,
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
        let (admin, admin_address) = start_admin(model, &plan, &health, &listening)?;
        let dropped = plan.registry.access_log_dropped().clone();
        let access = AccessWriter::start(&model.log.access, dropped)
            .with_context(|| format!("cannot open the access log {:?}", model.log.access))?;
        let keeper =
            Keeper::start(&plan.upstreams, &model.dns).context("cannot watch over upstreams")?;
        let socket = start_socket(model, &plan, &health, &listening, &keeper)?;
        let most = model.limits.connections.unwrap_or(files / 10 * 9 / 2);
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
                access: access.as_ref().map(AccessWriter::handle),
                upstreams: Arc::clone(&plan.upstreams),
                sockets: plan
                    .sites
                    .iter()
                    .cloned()
                    .zip(sockets.iter_mut().filter_map(Vec::pop))
                    .collect(),
                settings: Settings::of(model),
                changes: told,
                most,
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
        let rules = apply(&listening)?;
        for (name, address) in &listening {
            tracing::info!(listener = name, addr = %address, "listening");
        }
        if let Some(address) = admin_address {
            tracing::info!(addr = %address, "admin");
        }
        health.set(Stage::Ready);
        tracing::info!(workers = plan.workers, connections = most, "ready");
        Ok(Self {
            plan,
            health,
            admin,
            access,
            keeper,
            socket,
            phase,
            workers,
            changes,
            ended,
            listening,
            admin_address,
            timeouts: model.timeouts.clone(),
            rules,
        })
    }

    /// Serves until SIGTERM, SIGINT or SIGHUP, then drains: readiness goes off, connections are accepted
    /// for a while longer, then what is open may finish until the deadline. A second signal ends at
    /// once.
    pub fn run(mut self) -> anyhow::Result<ExitCode> {
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
                name = signals.next() => match (name, &self.access) {
                    (Some(name), _) => {
                        tracing::info!(signal = name, "draining");
                        break;
                    }
                    (None, Some(access)) => drop(access.reopen()),
                    (None, None) => {}
                },
                _ = self.ended.recv() => {
                    tracing::error!("a worker has ended, which it should not; please report it");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        self.health.set(Stage::Draining);
        if let Some(rules) = &self.rules {
            rules.suspend();
        }
        let started = Instant::now();
        self.phase.send_replace(Phase::Leaving);
        let code = tokio::select! {
            () = self.drain() => ExitCode::SUCCESS,
            name = signals.end() => {
                tracing::warn!(signal = name, "a second signal: ending at once");
                ExitCode::FAILURE
            }
        };
        self.phase.send_replace(Phase::Cutting);
        // Returns nothing when all workers have ended.
        let _ = tokio::time::timeout(LAST_WORDS, self.ended.recv()).await;
        tracing::info!(after = ?started.elapsed(), "ended");
        Ok(code)
    }

    async fn drain(&mut self) {
        tokio::time::sleep(self.timeouts.drain_delay).await;
        self.phase.send_replace(Phase::Draining);
        let drained = tokio::time::timeout(self.timeouts.drain, self.ended.recv()).await;
        if drained.is_err() {
            let open = self.plan.registry.open_connections();
            tracing::warn!(open, "the drain's deadline has come; what is open is cut");
        }
    }

    fn end(self) {
        for worker in self.workers {
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

/// The signals that the process listens to.
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
    usr1: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The name of a signal that ends the process; `None` for SIGUSR1, which opens the access log
    /// anew after a rotation.
    async fn next(&mut self) -> Option<&'static str> {
        tokio::select! {
            _ = self.term.recv() => Some("SIGTERM"),
            _ = self.int.recv() => Some("SIGINT"),
            _ = self.hup.recv() => Some("SIGHUP"),
            _ = self.usr1.recv() => None,
        }
    }

    async fn end(&mut self) -> &'static str {
        loop {
            if let Some(name) = self.next().await {
                return name;
            }
        }
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

/// Opens the admin socket, if there is to be one.
fn start_socket(
    model: &Model,
    plan: &Plan,
    health: &Health,
    listening: &[(String, SocketAddr)],
    keeper: &Keeper,
) -> anyhow::Result<Option<Socket>> {
    let Some(path) = &model.admin_socket else {
        return Ok(None);
    };
    let commands = keeper.commands().clone();
    let control = Control {
        status: status::status(model, plan, health, listening),
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
    listening: &[(String, SocketAddr)],
) -> anyhow::Result<(Option<Admin>, Option<SocketAddr>)> {
    let Some(address) = model.admin else {
        return Ok((None, None));
    };
    let socket = admin::bind(address)?;
    let address = socket.local_addr()?;
    let state = AdminState {
        registry: Arc::clone(&plan.registry),
        health: health.clone(),
        status: status::status(model, plan, health, listening),
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
