//! One worker's thread: its runtime, its sockets, its clock, and its part in the drain.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval};
use umay_core::model::{Http2, Limits, Timeouts};

use crate::conn::TICK;
use crate::drain::Phase;
use crate::front::Front;
use crate::listener::Acceptor;
use crate::site::Site;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Registry;
use crate::upstream::{Upstream, Upstreams};
use crate::worker::Worker;

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
    /// All upstreams.
    pub upstreams: Arc<[Arc<Upstream>]>,
    /// Its sockets.
    pub sockets: Vec<(Arc<Site>, TcpListener)>,
    /// Waits.
    pub timeouts: Timeouts,
    /// Caps.
    pub limits: Limits,
    /// How HTTP/2 is spoken.
    pub http2: Http2,
    /// Connections that the process may have open.
    pub most: usize,
    /// Pipes that the worker may have open.
    pub pipes: usize,
    /// The process's phase.
    pub phase: watch::Receiver<Phase>,
    /// Told when connections are accepted, or why they are not.
    pub started: SyncSender<io::Result<()>>,
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
        setup.timeouts,
        setup.limits,
        setup.http2,
        setup.pipes,
    );
    let upstreams = Rc::new(Upstreams::new(&setup.upstreams, &worker, setup.workers));
    let front = Front::new(&worker, &upstreams);
    let mut acceptors = JoinSet::new();
    for (site, socket) in setup.sockets {
        let acceptor = Acceptor::new(&worker, &front, &site, socket, registry, setup.most)?;
        acceptors.spawn_local(acceptor.run(setup.phase.clone()));
    }
    let clock = spawn_local(tick(Rc::clone(&worker), upstreams));
    let _ = setup.started.send(Ok(()));
    let drained = async {
        while acceptors.join_next().await.is_some() {}
        worker.drain.emptied().await;
    };
    tokio::select! {
        () = drained => {}
        () = follow(&worker, setup.phase) => {}
    }
    clock.abort();
    worker.access.flush();
    Ok(())
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
async fn tick(worker: Rc<Worker>, upstreams: Rc<Upstreams>) {
    /// Ticks between two looks at the pools: a second.
    const SWEEP: u64 = 20;
    let mut interval = interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u64;
    loop {
        interval.tick().await;
        worker.timers.tick();
        worker.access.flush();
        ticks += 1;
        if ticks.is_multiple_of(SWEEP) {
            upstreams.sweep();
        }
    }
}
