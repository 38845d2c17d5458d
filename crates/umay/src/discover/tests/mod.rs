//! Discovery without the outer world: its rules as tables, files as they change, registries that are
//! scripted, and what hostile ones can do. Real name servers and a real etcd are in `crates/umay/tests`.

mod attacks;
mod consul;
mod entries;
mod etcd;
mod files;
mod name_server;
mod names;
mod table;
mod tasks;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{oneshot, watch};
use umay_core::model::{Discovery, Dns, Endpoint, Scheme, Source, Upstream, UpstreamTls};
use umay_test::eventually;

use super::pace::Pace;
use super::{Resolver, State, run_at};
use crate::telemetry::metrics::{DiscoveryMetrics, Origin, Registry, Update};

/// Short times, so that a test sees the end of them.
const QUICK: Pace = Pace {
    connect: Duration::from_secs(2),
    answer: Duration::from_millis(700),
    quiet: Duration::from_secs(3),
    pause: Duration::from_millis(20),
    first: Duration::from_millis(20),
    longest: Duration::from_millis(100),
    look: Duration::from_secs(60),
};

/// Discovery at work, on a thread of its own; ends when dropped.
struct Followed {
    state: watch::Receiver<State>,
    metrics: Arc<DiscoveryMetrics>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Followed {
    fn source(source: Source, pace: Pace) -> Self {
        Self::tls(source, pace, UpstreamTls::default())
    }

    fn tls(source: Source, pace: Pace, tls: UpstreamTls) -> Self {
        let mut upstream = Upstream::new("app", Vec::new());
        upstream.discovery = Some(Discovery {
            source,
            scheme: Scheme::Http,
            tls,
        });
        Self::start(upstream, pace, Resolver::new(&Dns::default()))
    }

    fn start(upstream: Upstream, pace: Pace, resolver: Arc<Resolver>) -> Self {
        let (tell, state) = watch::channel(State::unasked(&upstream));
        let metrics = Registry::new(1).discovery("app");
        let (stop, stopped) = oneshot::channel();
        let counted = Arc::clone(&metrics);
        let thread = thread::spawn(move || {
            let mut builder = runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap().block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = run_at(pace, Arc::new(upstream), resolver, counted, tell) => {}
                }
            });
        });
        Self {
            state,
            metrics,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn state(&self) -> State {
        self.state.borrow().clone()
    }

    #[track_caller]
    fn until(&self, what: &str, is: impl Fn(&State) -> bool) -> State {
        let last = RefCell::default();
        let awaited = catch_unwind(AssertUnwindSafe(|| {
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
    fn until_found(&self, expected: &[&str]) -> State {
        let what = format!("{expected:?}");
        self.until(&what, |state| {
            lines(state) == expected && state.error.is_none()
        })
    }

    /// Waits for a problem whose text has this in it.
    #[track_caller]
    fn until_error(&self, part: &str) -> State {
        let has = |error: &String| error.contains(part);
        self.until(part, |state| state.error.as_ref().is_some_and(has))
    }

    fn failures(&self, origin: Origin) -> u64 {
        self.metrics.updates(origin, Update::Failed)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok());
        }
    }
}

/// Endpoints as `host=address,…`, with `*weight`, `!priority` and `@zone` where they are not the usual;
/// sorted.
fn lines(state: &State) -> Vec<String> {
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
            if let Some(zone) = &endpoint.zone {
                line += &format!("@{zone}");
            }
            line
        })
        .collect();
    lines.sort();
    lines
}

fn http(host: &str, port: u16) -> Endpoint {
    Endpoint::new(Scheme::Http, host, port)
}

fn at(address: SocketAddr) -> Endpoint {
    http(&address.ip().to_string(), address.port())
}
