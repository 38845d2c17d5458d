//! One worker's thread: its runtime, its sockets, its clock, and its part in the drain.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::conn::TICK;
use crate::drain::Phase;
use crate::front::Front;
use crate::listener::Acceptor;
use crate::site::{Door, Site};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Registry;
use crate::telemetry::spans::Tracer;
use crate::upstream::{Upstream, Upstreams};
use crate::worker::{Settings, Worker};

/// What a worker is started with.
pub struct Setup {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub workers: usize,
    /// All metrics.
    pub registry: Arc<Registry>,
    /// Its end of the access log; `None` if that is off.
    pub access: Option<AccessLog>,
    /// Its end of what is traced; `None` if nothing is.
    pub tracer: Option<Tracer>,
    /// All upstreams.
    pub upstreams: Arc<[Arc<Upstream>]>,
    /// Its sockets.
    pub sockets: Vec<(Arc<Site>, Vec<TcpListener>)>,
    /// Waits, caps, and how HTTP/2 is spoken.
    pub settings: Settings,
    /// Connections that the process may have open.
    pub most: usize,
    /// Pipes that the worker may have open.
    pub pipes: usize,
    /// Other configurations, as they come.
    pub changes: mpsc::UnboundedReceiver<Change>,
    /// The process's phase.
    pub phase: watch::Receiver<Phase>,
    /// Told when connections are accepted, or why they are not.
    pub started: SyncSender<io::Result<()>>,
}

/// Another configuration, for one worker.
#[derive(Debug)]
pub struct Change {
    /// All upstreams.
    pub upstreams: Arc<[Arc<Upstream>]>,
    /// All listeners; with sockets for those that the worker does not have.
    pub listeners: Vec<(Arc<Site>, Vec<TcpListener>)>,
    /// Waits, caps, and how HTTP/2 is spoken.
    pub settings: Settings,
    /// Connections that the process may have open.
    pub most: usize,
    /// Another access log, if it is another.
    pub access: Option<AccessLog>,
    /// Another end of what is traced, if it is another.
    pub tracer: Option<Tracer>,
    /// Told when the worker has gone over to it.
    pub done: oneshot::Sender<()>,
}

/// Starts a worker. `alive` is dropped when it ends.
pub fn spawn(setup: Setup, alive: mpsc::Sender<()>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("umay-worker-{}", setup.index))
        .spawn(move || {
            let started = setup.started.clone();
            if let Err(error) = run(setup) {
                // Nobody listens any more if it had started well.
                let _ = started.send(Err(error));
            }
            drop(alive);
        })
}

fn run(setup: Setup) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(live(setup))
}

async fn live(mut setup: Setup) -> io::Result<()> {
    let registry = &setup.registry;
    let metrics = registry.worker(setup.index);
    let metrics = metrics.ok_or_else(|| io::Error::other("there is no such worker"))?;
    let worker = Worker::new(
        setup.index,
        Arc::clone(metrics),
        setup.access.take().unwrap_or_else(AccessLog::off),
        setup.settings,
        setup.pipes,
    );
    worker
        .tracer
        .replace(setup.tracer.take().unwrap_or_default());
    let upstreams = Rc::new(Upstreams::new(&setup.upstreams, &worker, setup.workers));
    let front = Front::new(&worker, &upstreams);
    let mut doors = Doors {
        workers: setup.workers,
        registry: Arc::clone(registry),
        phase: setup.phase.clone(),
        worker: Rc::clone(&worker),
        upstreams: Rc::new(RefCell::new(upstreams)),
        front: Rc::new(RefCell::new(front)),
        most: Rc::new(Cell::new(setup.most)),
        open: Vec::new(),
        acceptors: JoinSet::new(),
    };
    for (site, sockets) in setup.sockets {
        doors.open(site, sockets)?;
    }
    let clock = spawn_local(tick(Rc::clone(&worker), Rc::clone(&doors.upstreams)));
    let _ = setup.started.send(Ok(()));
    tokio::select! {
        () = doors.serve(setup.changes) => {}
        () = follow(&worker, setup.phase) => {}
    }
    clock.abort();
    worker.access.flush();
    // Connections that are not closed yet hold the worker, too.
    worker.tracer.replace(Tracer::default());
    Ok(())
}

/// What a worker has open, and what it serves there.
struct Doors {
    workers: usize,
    registry: Arc<Registry>,
    phase: watch::Receiver<Phase>,
    worker: Rc<Worker>,
    /// As they are now.
    upstreams: Rc<RefCell<Rc<Upstreams>>>,
    front: Rc<RefCell<Rc<Front>>>,
    most: Rc<Cell<usize>>,
    open: Vec<(Rc<Door>, Vec<Rc<Notify>>)>,
    acceptors: JoinSet<()>,
}

impl Doors {
    /// Accepts at the sockets of a listener.
    fn open(&mut self, site: Arc<Site>, sockets: Vec<TcpListener>) -> io::Result<()> {
        let door = Door::new(site);
        let (front, most) = (&self.front, &self.most);
        let mut closed = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let acceptor = Acceptor::new(&self.worker, front, &door, socket, &self.registry, most)?;
            closed.push(acceptor.closed());
            self.acceptors.spawn_local(acceptor.run(self.phase.clone()));
        }
        self.open.push((door, closed));
        Ok(())
    }

    /// Follows changes until the worker has drained.
    async fn serve(mut self, mut changes: mpsc::UnboundedReceiver<Change>) {
        let mut drain = self.phase.clone();
        loop {
            tokio::select! {
                Some(change) = changes.recv() => self.change(change),
                _ = drain.wait_for(|phase| *phase >= Phase::Succeeded) => break,
            }
        }
        while self.acceptors.join_next().await.is_some() {}
        self.worker.drain.emptied().await;
    }

    /// Goes over to another configuration: at once, so that no request sees half of it.
    fn change(&mut self, change: Change) {
        self.worker = self.worker.with(change.settings);
        let old = Rc::clone(&self.upstreams.borrow());
        let upstreams = Rc::new(old.succeed(&change.upstreams, &self.worker, self.workers));
        self.upstreams.replace(Rc::clone(&upstreams));
        let front = self.front.borrow().succeed(&self.worker, &upstreams);
        self.front.replace(front);
        self.most.set(change.most);
        if let Some(access) = change.access {
            self.worker.access.replace(access);
        }
        if let Some(tracer) = change.tracer {
            self.worker.tracer.replace(tracer);
        }
        let mut old = std::mem::take(&mut self.open);
        for (site, sockets) in change.listeners {
            let same = |(door, _): &(Rc<Door>, _)| door.is_at(&site);
            match old.iter().position(same) {
                Some(place) if sockets.is_empty() => {
                    let open = old.swap_remove(place);
                    open.0.set_site(site);
                    self.open.push(open);
                }
                _ => {
                    if let Err(error) = self.open(site, sockets) {
                        tracing::error!(%error, "a socket could not be taken over");
                    }
                }
            }
        }
        for (door, closed) in old {
            door.close();
            closed.iter().for_each(|closed| closed.notify_one());
        }
        while self.acceptors.try_join_next().is_some() {}
        // Those that wait look at what has changed around them.
        self.worker.timers.wake_all();
        // Whoever asked may have gone.
        let _ = change.done.send(());
    }
}

/// Tells the worker's connections of each phase. Returns when what was cut has had its time.
async fn follow(worker: &Worker, mut phase: watch::Receiver<Phase>) {
    while phase.changed().await.is_ok() {
        let phase = *phase.borrow_and_update();
        worker.drain.enter(phase);
        worker.timers.wake_all();
    }
}

/// The worker's clock.
async fn tick(worker: Rc<Worker>, upstreams: Rc<RefCell<Rc<Upstreams>>>) {
    /// Ticks between two looks at the pools, and between two batches of spans: a second.
    const SWEEP: u64 = 20;
    let mut interval = interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u64;
    loop {
        let due = interval.tick().await;
        let late = Instant::now().saturating_duration_since(due);
        worker.metrics.clock.lag.observe(late, None);
        worker.timers.tick();
        worker.access.flush();
        ticks += 1;
        if ticks.is_multiple_of(SWEEP) {
            upstreams.borrow().sweep();
            worker.tracer.flush();
        }
    }
}
