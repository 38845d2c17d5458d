//! All metrics of the process, and their text.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::cell::SharedCounter;
use super::certificates::Ends;
use super::configuration::ConfigMetrics;
use super::discovery::DiscoveryMetrics;
use super::format::Format;
use super::listener::ListenerMetrics;
use super::page::{Page, Sink};
use super::places::Kinds;
use super::prometheus::Messages;
use super::pushes::PushMetrics;
use super::route::{LeftRoutes, RouteMetrics};
use super::text::Text;
use super::traces::TraceMetrics;
use super::upstream::{LeftUpstreams, UpstreamMetrics};
use super::worker::WorkerMetrics;

/// What is counted by name. Holds no life: a name that no table uses any more is forgotten.
type Named<T> = Mutex<BTreeMap<String, Weak<T>>>;

/// All metrics of the process.
#[derive(Debug)]
pub struct Registry {
    workers: Box<[Arc<WorkerMetrics>]>,
    listeners: Named<ListenerMetrics>,
    routes: Named<RouteMetrics>,
    upstreams: Named<UpstreamMetrics>,
    discoveries: Named<DiscoveryMetrics>,
    places: Kinds,
    left_routes: LeftRoutes,
    left_upstreams: LeftUpstreams,
    left_discoveries: Arc<DiscoveryMetrics>,
    access_log_dropped: SharedCounter,
    /// What became of spans.
    pub traces: Arc<TraceMetrics>,
    /// What became of pushes of all this.
    pub pushes: PushMetrics,
    /// Configurations that were read while the process ran.
    pub config: ConfigMetrics,
    /// For how long certificates are good; another one takes its place with another configuration.
    pub certificates: ArcSwap<Ends>,
    started: SystemTime,
}

impl Registry {
    /// A registry with a shard for each worker.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            listeners: Mutex::default(),
            routes: Mutex::default(),
            upstreams: Mutex::default(),
            discoveries: Mutex::default(),
            places: Kinds::default(),
            left_routes: Arc::default(),
            left_upstreams: UpstreamMetrics::none_left(),
            left_discoveries: DiscoveryMetrics::none_left(),
            access_log_dropped: SharedCounter::default(),
            traces: Arc::default(),
            pushes: PushMetrics::default(),
            config: ConfigMetrics::default(),
            certificates: ArcSwap::default(),
            started: SystemTime::now(),
        })
    }

    /// The shard of a worker, by its index; `None` if there is no such worker.
    pub fn worker(&self, index: usize) -> Option<&Arc<WorkerMetrics>> {
        self.workers.get(index)
    }

    /// Connections from clients that are open now.
    pub fn open_connections(&self) -> usize {
        let open = self.workers.iter().map(|w| w.connections.active.get());
        // Each shard is read at another moment, so the sum can be off.
        usize::try_from(open.sum::<i64>()).unwrap_or(0)
    }

    /// The metrics of the listener with this name; they live as those of a route do.
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        let workers = self.workers.len();
        named(&self.listeners, name, || {
            ListenerMetrics::new(name, workers)
        })
    }

    /// The metrics of the route with this name. A table that replaces another while a reload is under
    /// way is given the same ones, so counting goes on; when the last holder is gone, so is the series.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        let workers = self.workers.len();
        named(&self.routes, name, || {
            RouteMetrics::new(name, workers, &self.places.routes, &self.left_routes)
        })
    }

    /// The metrics of the upstream with this name; they live as those of a route do.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        let workers = self.workers.len();
        named(&self.upstreams, name, || {
            UpstreamMetrics::new(name, workers, &self.places, &self.left_upstreams)
        })
    }

    /// What is counted of finding out the endpoints of the upstream with this name; it lives as that of a
    /// route does.
    pub fn discovery(&self, name: &str) -> Arc<DiscoveryMetrics> {
        named(&self.discoveries, name, || {
            DiscoveryMetrics::new(name, &self.places.discoveries, &self.left_discoveries)
        })
    }

    /// Counts the lines that the access log could not write.
    pub fn access_log_dropped(&self) -> &SharedCounter {
        &self.access_log_dropped
    }

    /// Everything, in a format for scrapers.
    pub fn encode(&self, format: Format) -> Vec<u8> {
        let text = |open_metrics| {
            let mut text = Text::new(open_metrics);
            self.describe(&mut text);
            text.finish().into_bytes()
        };
        match format {
            Format::OpenMetrics => text(true),
            Format::Classic => text(false),
            Format::Protobuf => {
                let mut messages = Messages::new();
                self.describe(&mut messages);
                messages.finish()
            }
        }
    }

    /// Writes everything down. Takes time in proportion to the number of routes; not for workers.
    pub fn describe(&self, sink: &mut dyn Sink) {
        Page(sink).all(self);
    }

    pub(super) fn workers(&self) -> &[Arc<WorkerMetrics>] {
        &self.workers
    }

    pub(super) fn live_listeners(&self) -> Vec<Arc<ListenerMetrics>> {
        live(&self.listeners)
    }

    pub(super) fn live_routes(&self) -> Vec<Arc<RouteMetrics>> {
        RouteMetrics::listed(live(&self.routes), &self.left_routes)
    }

    pub(super) fn live_upstreams(&self) -> Vec<Arc<UpstreamMetrics>> {
        UpstreamMetrics::listed(live(&self.upstreams), &self.left_upstreams)
    }

    pub(super) fn live_discoveries(&self) -> Vec<Arc<DiscoveryMetrics>> {
        DiscoveryMetrics::listed(live(&self.discoveries), &self.left_discoveries)
    }

    pub(super) fn started(&self) -> SystemTime {
        self.started
    }
}

fn named<T>(all: &Named<T>, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(name).and_then(Weak::upgrade) {
        return known;
    }
    let made = Arc::new(make());
    all.insert(name.to_owned(), Arc::downgrade(&made));
    made
}

fn live<T>(all: &Named<T>) -> Vec<Arc<T>> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, metrics| metrics.strong_count() > 0);
    all.values().filter_map(Weak::upgrade).collect()
}
