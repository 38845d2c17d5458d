//! An upstream whose endpoints are followed, for tests of discovery: on a thread with a small runtime of
//! its own, as in the product.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{oneshot, watch};
use umay::discover::{self, Resolver, State};
use umay::telemetry::metrics::{DiscoveryMetrics, Format, Origin, Registry, Update};
use umay_core::model::{Discovery, Dns, Endpoint, Scheme, Source, Upstream, UpstreamTls};
use umay_test::eventually;

/// Discovery at work; ends when dropped.
pub(crate) struct Followed {
    state: watch::Receiver<State>,
    registry: Arc<Registry>,
    metrics: Arc<DiscoveryMetrics>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Followed {
    /// Follows the endpoints with these names, and what the source says.
    pub(crate) fn start(endpoints: Vec<Endpoint>, source: Option<Source>, dns: &Dns) -> Self {
        let mut upstream = Upstream::new("app", endpoints);
        upstream.discovery = source.map(|source| Discovery {
            source,
            scheme: Scheme::Http,
            tls: UpstreamTls::default(),
        });
        let (tell, state) = watch::channel(State::unasked(&upstream));
        let registry = Registry::new(1);
        let metrics = registry.discovery("app");
        let (stop, stopped) = oneshot::channel();
        let (counted, resolver) = (Arc::clone(&metrics), Resolver::new(dns));
        let thread = thread::spawn(move || {
            let mut builder = runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = discover::run(Arc::new(upstream), resolver, counted, tell) => {}
                }
            });
        });
        Self {
            state,
            registry,
            metrics,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What was told last.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The endpoints that were told last, see [`lines`].
    pub(crate) fn found(&self) -> Vec<String> {
        lines(&self.state())
    }

    /// Waits for a state.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is: impl Fn(&State) -> bool) -> State {
        let last = std::cell::RefCell::default();
        let awaited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || {
                let state = self.state();
                *last.borrow_mut() = format!("{:?} {:?}", lines(&state), state.error);
                is(&state).then_some(state)
            })
        }));
        awaited.unwrap_or_else(|_| panic!("never saw {what}, but {}", last.borrow()))
    }

    /// Waits for exactly these endpoints, without a problem.
    #[track_caller]
    pub(crate) fn until_found(&self, expected: &[&str]) -> State {
        self.until(&format!("{expected:?}"), |state| {
            lines(state) == expected && state.error.is_none()
        })
    }

    /// Waits for a problem whose text has this in it.
    #[track_caller]
    pub(crate) fn until_error(&self, part: &str) -> State {
        self.until(part, |state| {
            state
                .error
                .as_ref()
                .is_some_and(|error| error.contains(part))
        })
    }

    /// Answers that were counted.
    pub(crate) fn updates(&self, origin: Origin, result: Update) -> u64 {
        self.metrics.updates(origin, result)
    }

    /// A series of the metrics as they are published.
    pub(crate) fn series(&self, name: &str) -> Option<f64> {
        let text = self.registry.encode(Format::OpenMetrics);
        let text = String::from_utf8(text).unwrap();
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
        values.next()?.trim().parse().ok()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// Endpoints as `host:port=address,…`, with `*weight` and `!priority` where they are not the usual; sorted.
pub(crate) fn lines(state: &State) -> Vec<String> {
    let mut lines: Vec<String> = state
        .found
        .iter()
        .map(|found| {
            let endpoint = &found.endpoint;
            let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
            let mut line = format!("{}={}", endpoint.host, addresses.join(","));
            if endpoint.weight != 1 {
                line += &format!("*{}", endpoint.weight);
            }
            if endpoint.priority != 0 {
                line += &format!("!{}", endpoint.priority);
            }
            line
        })
        .collect();
    lines.sort();
    lines
}

/// Names are asked for at this server only, often, and given up soon.
pub(crate) fn dns(server: std::net::SocketAddr) -> Dns {
    Dns {
        servers: vec![server],
        min_ttl: Duration::from_millis(200),
        max_ttl: Duration::from_secs(2),
        timeout: Duration::from_millis(500),
        grace: Duration::from_secs(600),
    }
}

/// An endpoint by name.
pub(crate) fn http(host: &str, port: u16) -> Endpoint {
    Endpoint::new(Scheme::Http, host, port)
}
