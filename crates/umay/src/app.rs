//! The life of the process: start everything in order, wait for a signal, end everything in order.

mod admins;
mod certificates;
mod control;
mod files;
mod inherit;
mod plan;
mod problems;
mod reload;
mod signals;
mod status;
mod supervisor;
mod syslog;
mod upgrade;

pub use inherit::Inherited;
pub use plan::{Described, Plan};
pub use reload::{Read, Source};

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Notify, mpsc, watch};
use umay_core::config::Purpose;
use umay_core::model::Model;

use crate::admin::AdminState;
use crate::drain::Phase;
use crate::export::{Exporter, Pusher};
use crate::keeper::Keeper;
use crate::listener;
use crate::original;
use crate::site::Site;
use crate::telemetry::access::AccessWriter;
use crate::telemetry::health::{Health, Stage};
use crate::telemetry::privacy;
use crate::transparent::Applied;
use crate::worker::Settings;
use crate::worker_thread::{self, Change, Setup};
use admins::Admins;
use certificates::Certificates;
use control::{Ask, Order, Reach};
use files::ConfigWatch;
use signals::{Called, Signals};
use status::Shown;
use upgrade::Came;

/// Time that what was cut has to say so in the log.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A process that serves.
pub struct App {
    plan: Plan,
    health: Health,
    admin: Admins,
    access: Option<AccessWriter>,
    exporter: Option<Exporter>,
    pusher: Option<Pusher>,
    keeper: Keeper,
    threads: Threads,
    /// Where it listens, by the listener's name.
    pub listening: Vec<(String, SocketAddr)>,
    /// The sockets of each, for who takes this process's place. They are the workers' as long as those accept.
    sockets: Vec<Vec<TcpListener>>,
    model: Arc<Model>,
    /// The limit on open files.
    files: usize,
    /// What `/status` tells of the configuration.
    shown: Arc<ArcSwap<Shown>>,
    /// Where the configuration comes from, if it can be read again.
    source: Option<Source>,
    /// The files that it was read from.
    watch: ConfigWatch,
    /// What others ask for, with where they are to be told what came of it.
    asks: mpsc::Receiver<Order>,
    /// Told when somebody asks on the admin socket for the end.
    end: Arc<Notify>,
    /// Rules that send traffic here.
    rules: Option<Applied>,
    /// What it lives in and listens to.
    signals: Option<(Runtime, Signals)>,
    /// How long certificates are still good.
    certificates: Certificates,
}

impl App {
    /// Opens all sockets and starts all threads. When it returns, connections are served.
    pub fn start(model: &Model, plan: Plan) -> anyhow::Result<Self> {
        Self::start_with(model, plan, &mut Inherited::default(), |_| Ok(None))
    }

    /// The same with sockets that are there already, and with rules that send traffic to where it listens, in force
    /// before it says that it is ready.
    pub fn start_with(
        model: &Model,
        plan: Plan,
        inherited: &mut Inherited,
        apply: impl FnOnce(&[(String, SocketAddr)]) -> anyhow::Result<Option<Applied>>,
    ) -> anyhow::Result<Self> {
        privacy::set(&model.privacy);
        let signals = listen_to_signals()?;
        let files = raise_open_files();
        let (listening, sockets) = bind_all(&plan, inherited)?;
        if plan.sites.iter().any(|site| site.wants_original) {
            original::listening(listening.iter().map(|(_, address)| *address).collect());
        }
        let health = Health::default();
        let shown = Arc::new(ArcSwap::from_pointee(Shown::of(&plan, &listening)));
        let by_hand = inherited.by_hand();
        let status = control::with_by_hand(status::status(&plan, &health, &shown), &by_hand);
        let access = open_access_log(model, &plan)?;
        let exporter = start_exporter(model, &plan)?;
        let pusher = start_pusher(model, &plan, None)?;
        let keeper = Keeper::start(&plan.upstreams, &model.dns, &by_hand)
            .context("cannot watch over upstreams")?;
        let (ask, asks) = mpsc::channel(1);
        let end = Arc::new(Notify::new());
        let reach = Reach {
            status: Arc::clone(&status),
            health: health.clone(),
            registry: Arc::clone(&plan.registry),
            commands: keeper.commands().clone(),
            served: Arc::new(ArcSwapOption::empty()),
            ask,
            end: Arc::clone(&end),
        };
        let state = AdminState {
            registry: Arc::clone(&plan.registry),
            health: health.clone(),
            status,
        };
        let mut admin = Admins::new(state, reach);
        let opened = admin.open(model, inherited)?;
        let shares = share(&sockets, plan.workers)?;
        let threads = Threads::start(
            model,
            &plan,
            shares,
            (access.as_ref(), exporter.as_ref()),
            files,
        )?;
        let rules = apply(&listening)?;
        // Who is asked instead of another process is not to say that it is not ready.
        if inherited.succeeds() {
            health.set(Stage::Ready);
        }
        admin.start(opened)?;
        let served = Arc::new(model.clone());
        admin.serve(&served, &plan);
        let certificates = Certificates::new(&plan);
        for (name, address) in &listening {
            tracing::info!(listener = name, addr = %address, "listening");
        }
        health.set(Stage::Ready);
        let connections = most_connections(model, files);
        tracing::info!(workers = plan.workers, connections, "ready");
        std::mem::take(inherited).serves();
        supervisor::ready();
        Ok(Self {
            plan,
            health,
            admin,
            access,
            exporter,
            pusher,
            keeper,
            threads,
            listening,
            sockets,
            model: served,
            files,
            shown,
            source: None,
            watch: ConfigWatch::default(),
            asks,
            end,
            rules,
            signals: Some(signals),
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
        let (runtime, signals) = self.signals.take().context("a process lives once")?;
        let code = runtime.block_on(self.live(signals))?;
        self.end();
        Ok(code)
    }

    async fn live(&mut self, mut signals: Signals) -> anyhow::Result<ExitCode> {
        let by = loop {
            let (ask, tell) = tokio::select! {
                called = signals.next() => match called {
                    Called::End(name) => break name,
                    Called::Reload if self.source.is_none() => break "SIGHUP",
                    Called::Reload => (Ask::Reload, None),
                    Called::Upgrade => (Ask::Upgrade, None),
                    Called::Reopen => {
                        self.reopen();
                        continue;
                    }
                },
                () = self.end.notified() => break "the admin socket",
                () = self.certificates.due() => {
                    self.certificates.look(&self.plan);
                    continue;
                }
                () = self.watch.changed() => {
                    self.reload_changed().await;
                    continue;
                }
                Some((ask, tell)) = self.asks.recv() => (ask, Some(tell)),
                _ = self.threads.ended.recv() => {
                    tracing::error!("a worker has ended, which it should not; please report it");
                    return Ok(ExitCode::FAILURE);
                }
            };
            let (came, handed) = match ask {
                Ask::Reload => (self.reload().await, false),
                Ask::Upgrade => match self.upgrade(&mut signals).await {
                    Came::Handed(text) => (Ok(text), true),
                    Came::Failed(why) => (Err(why), false),
                    Came::Ended(name) => break name,
                },
            };
            // It is in the log, too; and whoever asked may have gone.
            let _ = tell.map(|tell| tell.send(came));
            if handed {
                return self.finish(&mut signals).await;
            }
        };
        tracing::info!(by, "draining");
        self.health.set(Stage::Draining);
        supervisor::stopping();
        self.leave(&mut signals).await
    }

    /// Where the admin listener is, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    fn reopen(&self) {
        if let Some(access) = &self.access {
            // If it is too far behind to be told, there is worse to be seen to.
            let _ = access.reopen();
        }
    }

    /// Lets what is open finish, until the deadline or a second signal.
    async fn leave(&mut self, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        // Whoever asks for something from now on is told at once.
        self.asks.close();
        while self.asks.try_recv().is_ok() {}
        if let Some(rules) = &self.rules {
            rules.suspend();
        }
        let started = Instant::now();
        self.threads.phase.send_if_modified(|phase| {
            let before = *phase;
            *phase = before.max(Phase::Leaving);
            before != *phase
        });
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
        self.sockets.clear();
        self.threads.phase.send_replace(Phase::Draining);
        let drained =
            tokio::time::timeout(self.model.timeouts.drain, self.threads.ended.recv()).await;
        if drained.is_err() {
            let open = self.plan.registry.open_connections();
            tracing::warn!(open, "the drain's deadline has come; what is open is cut");
        }
    }

    fn end(mut self) {
        for worker in self.threads.workers {
            if worker.is_finished() {
                // A worker that panicked has said so.
                let _ = worker.join();
            }
        }
        // Before the admin listener, so that what it counts is told as long as can be.
        self.admin.stop_socket();
        drop(self.keeper);
        // One collector that does not answer is not waited for twice.
        thread::scope(|scope| {
            if let Some(pusher) = self.pusher {
                scope.spawn(|| pusher.stop(LAST_WORDS));
            }
            if let Some(exporter) = self.exporter {
                exporter.stop(LAST_WORDS);
            }
        });
        if let Some(access) = self.access {
            access.stop(LAST_WORDS);
        }
        self.admin.stop();
    }
}

fn open_access_log(model: &Model, plan: &Plan) -> anyhow::Result<Option<AccessWriter>> {
    let dropped = plan.registry.access_log_dropped().clone();
    let tls = plan.syslog.as_ref().map(|tls| tls.settings.clone());
    AccessWriter::start(&model.log, &model.privacy, tls, dropped)
        .with_context(|| format!("cannot open the access log {:?}", model.log.access))
}

fn start_exporter(model: &Model, plan: &Plan) -> anyhow::Result<Option<Exporter>> {
    let Some(tracing) = &model.tracing else {
        return Ok(None);
    };
    let started = Exporter::start(tracing, plan.collector_tls.clone(), &plan.registry.traces);
    started.map(Some).context("cannot start to export spans")
}

fn start_pusher(
    model: &Model,
    plan: &Plan,
    former: Option<&Pusher>,
) -> anyhow::Result<Option<Pusher>> {
    let Some(push) = &model.push else {
        return Ok(None);
    };
    let started = Pusher::start(push, plan.push_tls.clone(), &plan.registry, former);
    started.map(Some).context("cannot start to push metrics")
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
    /// Starts them all, each with its share of the sockets of every listener. When it returns, connections are
    /// accepted.
    fn start(
        model: &Model,
        plan: &Plan,
        mut sockets: Vec<Vec<Vec<TcpListener>>>,
        (access, exporter): (Option<&AccessWriter>, Option<&Exporter>),
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
                tracer: exporter.map(Exporter::handle),
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

/// Opens the sockets of all listeners; tells where they are, and their sockets.
#[expect(clippy::type_complexity, reason = "two lists that are used apart")]
fn bind_all(
    plan: &Plan,
    inherited: &mut Inherited,
) -> anyhow::Result<(Vec<(String, SocketAddr)>, Vec<Vec<TcpListener>>)> {
    let mut listening = Vec::new();
    let mut sockets = Vec::new();
    for site in &plan.sites {
        let own = inherited.listener(&site.listener);
        let (address, bound) = bind(site, plan.workers, own)?;
        listening.push((site.listener.name.clone(), address));
        sockets.push(bound);
    }
    Ok((listening, sockets))
}

/// Opens the sockets of a listener, one for each worker at least; those of before are used. Tells where they are.
fn bind(
    site: &Site,
    workers: usize,
    own: Vec<TcpListener>,
) -> anyhow::Result<(SocketAddr, Vec<TcpListener>)> {
    let address = site.listener.bind;
    let bound = listener::bind(address, workers, site.listener.transparent, own);
    let sockets = bound.map_err(|error| {
        let name = &site.listener.name;
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => " (is another process there? `ss -ltnp` tells)",
            _ => "",
        };
        anyhow::Error::new(error)
            .context(format!("listener {name} cannot listen on {address}{hint}"))
    })?;
    let first = sockets.first().map(TcpListener::local_addr).transpose()?;
    Ok((first.unwrap_or(address), sockets))
}

/// The sockets of all listeners, by listener and then by worker: each is for one worker, as it would be lost
/// to the kernel's spreading if nobody accepted there.
fn share(sockets: &[Vec<TcpListener>], workers: usize) -> io::Result<Vec<Vec<Vec<TcpListener>>>> {
    let of_listener = |sockets: &Vec<TcpListener>| {
        let mut shares: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        for (place, socket) in sockets.iter().enumerate() {
            if let Some(share) = shares.get_mut(place % workers.max(1)) {
                share.push(socket.try_clone()?);
            }
        }
        Ok(shares)
    };
    sockets.iter().map(of_listener).collect()
}

/// Connections that the process may have open: what is configured, or nine tenths of the files, halved.
fn most_connections(model: &Model, files: usize) -> usize {
    model.limits.connections.unwrap_or(files / 10 * 9 / 2)
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
