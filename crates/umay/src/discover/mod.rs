//! Discovery: which endpoints an upstream has, found out beside the workers.
//!
//! [`run`] follows one upstream until it is dropped. The endpoints that the configuration names and
//! those of the source ([`model::Source`]) are put together, their host names are resolved, and each
//! new [`State`] is told through a channel that always holds the last one. Every name and the source
//! is a part of its own (a task here): one that fails keeps its last good answer while the others go
//! on, and is asked again with growing pauses. A name's good answer is kept for the grace time of
//! [`model::Dns`], and so are SRV records; a file's and a registry's for as long as it fails.
//!
//! What a registry, a file or a name server says is taken as hostile: answers have caps and
//! deadlines, hosts are checked as those of the configuration are, and what cannot be used is left
//! out and told.

pub(crate) mod client;
mod consul;
mod document;
mod entry;
mod etcd;
mod file;
mod names;
mod pace;
mod resolver;
mod table;
pub(crate) mod watch;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch as channel};
use tokio::task::{JoinHandle, JoinSet};
use umay_core::model::{self, Source};

use crate::telemetry::metrics::{DiscoveryMetrics, Origin};
use crate::tls::{Severity, TlsProblem};

pub use resolver::Resolver;

use client::Client;
use pace::Pace;
use table::{News, Table};

/// The endpoints that one upstream may have. More are an error, and the last good ones stay.
pub const MAX_ENDPOINTS: usize = 10_000;

/// The host names that are followed for one upstream. More are an error, and the last good ones stay.
pub const MAX_NAMES: usize = 1_000;

/// Reports that wait to be looked at; who reports more waits.
const QUEUE: usize = 64;

/// The pause before a part that has panicked begins again.
const RESTART: Duration = Duration::from_secs(30);

/// An endpoint, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The endpoint. Its host stays the name, for TLS and Host.
    pub endpoint: model::Endpoint,
    /// Where to connect to: one address, or an IPv6 and an IPv4 one, to be raced (RFC 8305), if the name
    /// has exactly one of each. A name with more addresses is several endpoints.
    pub addresses: Vec<SocketAddr>,
}

/// What is known of an upstream's endpoints.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The endpoints, in an order that depends on nothing but them. No two have the same scheme and
    /// address.
    pub found: Arc<[Found]>,
    /// What is wrong now; what is in `found` then is what was known before, as far as it still counts.
    pub error: Option<String>,
    /// When all that is asked had last been answered well: of the last good answers of the names and the
    /// source the oldest. `None` if one of them never was, or nothing has to be asked.
    pub since: Option<Instant>,
    /// True once all that is asked has been answered, well or not: no more endpoints are to be expected
    /// soon.
    pub settled: bool,
}

impl State {
    /// What is known of an upstream without asking anybody: the endpoints that are configured by address.
    pub fn unasked(upstream: &model::Upstream) -> Self {
        Table::new(upstream).state()
    }
}

/// Follows the endpoints of an upstream until dropped, on a tokio runtime with time and I/O. Tells
/// through `tell` when something has changed other than [`State::since`], which is kept up silently.
pub async fn run(
    upstream: Arc<model::Upstream>,
    resolver: Arc<Resolver>,
    metrics: Arc<DiscoveryMetrics>,
    tell: channel::Sender<State>,
) {
    run_at(Pace::default(), upstream, resolver, metrics, tell).await;
}

/// What is wrong with an upstream's file of endpoints now. It may be repaired, or come, while Umay runs,
/// so that is a warning.
pub fn doubt(upstream: &model::Upstream) -> Option<TlsProblem> {
    let discovery = upstream.discovery.as_ref()?;
    let Source::File(path) = &discovery.source else {
        return None;
    };
    let what = file::doubt(path, discovery.scheme)?;
    Some(TlsProblem {
        severity: Severity::Warning,
        file: Some(path.clone()),
        what,
        hint: "until it can be read it gives no endpoints".to_owned(),
    })
}

async fn run_at(
    pace: Pace,
    upstream: Arc<model::Upstream>,
    resolver: Arc<Resolver>,
    metrics: Arc<DiscoveryMetrics>,
    tell: channel::Sender<State>,
) {
    let (news, mut reports) = mpsc::channel(QUEUE);
    let mut table = Table::new(&upstream);
    let _source = follow_source(pace, &upstream, &resolver, &news);
    let mut names: HashMap<Arc<str>, Task> = HashMap::new();
    loop {
        if let Some(wanted) = table.new_names() {
            names.retain(|name, _| wanted.contains(name));
            for name in wanted {
                names.entry(name).or_insert_with_key(|name| {
                    let (name, resolver) = (Arc::clone(name), Arc::clone(&resolver));
                    let news = news.clone();
                    Task::start(move || {
                        names::follow(Arc::clone(&name), Arc::clone(&resolver), news.clone())
                    })
                });
            }
        }
        publish(&upstream.name, table.state(), &metrics, &tell);
        // Never the end: this task holds a sender.
        let Some(first) = reports.recv().await else {
            return;
        };
        // All that has come meanwhile is told in one go.
        let mut next = Some(first);
        let mut room = QUEUE;
        while let Some(report) = next {
            let (origin, update) = table.take(report, Instant::now());
            metrics.updated(origin, update);
            room = room.saturating_sub(1);
            next = (room > 0).then(|| reports.try_recv().ok()).flatten();
        }
    }
}

/// Tells a state if it says something new, and logs when an error comes, changes or goes.
fn publish(name: &str, state: State, metrics: &DiscoveryMetrics, tell: &channel::Sender<State>) {
    metrics.found(state.found.len());
    if let Some(since) = state.since {
        metrics.good(since);
    }
    tell.send_if_modified(|told| {
        let other_error = told.error != state.error;
        let other = other_error || told.found != state.found || told.settled != state.settled;
        if other_error {
            let endpoints = state.found.len();
            match &state.error {
                Some(error) => {
                    tracing::warn!(upstream = name, endpoints, error, "discovery has a problem");
                }
                None => tracing::info!(upstream = name, endpoints, "discovery is well again"),
            }
        }
        *told = state;
        other
    });
}

/// Starts the task that asks the upstream's source, if it has one that is asked.
fn follow_source(
    pace: Pace,
    upstream: &model::Upstream,
    resolver: &Arc<Resolver>,
    news: &mpsc::Sender<News>,
) -> Option<Task> {
    let discovery = upstream.discovery.clone()?;
    let (resolver, news) = (Arc::clone(resolver), news.clone());
    let scheme = discovery.scheme;
    Some(match discovery.source {
        Source::Srv(name) => Task::start(move || {
            names::follow_srv(name.clone(), scheme, Arc::clone(&resolver), news.clone())
        }),
        Source::File(path) => {
            Task::start(move || file::follow(path.clone(), scheme, pace, news.clone()))
        }
        Source::Consul(consul) => {
            let client = Client::new(consul.agents.clone(), discovery.tls, resolver, pace);
            let (consul, client) = (Arc::new(consul), Arc::new(client));
            Task::start(move || {
                consul::follow(
                    Arc::clone(&consul),
                    scheme,
                    Arc::clone(&client),
                    news.clone(),
                )
            })
        }
        Source::Etcd(etcd) => {
            let client = Client::new(etcd.members.clone(), discovery.tls, resolver, pace);
            let (etcd, client) = (Arc::new(etcd), Arc::new(client));
            Task::start(move || {
                etcd::follow(Arc::clone(&etcd), scheme, Arc::clone(&client), news.clone())
            })
        }
        Source::OriginalDestination => return None,
    })
}

/// What counts the answers of a source.
fn origin(source: &Source) -> Option<Origin> {
    match source {
        Source::Srv(_) => Some(Origin::Srv),
        Source::File(_) => Some(Origin::File),
        Source::Consul(_) => Some(Origin::Consul),
        Source::Etcd(_) => Some(Origin::Etcd),
        Source::OriginalDestination => None,
    }
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Task {
    /// Starts work that never ends by itself. Parsers of others look at what others sent there: should
    /// one panic, the work begins again, and the other parts never notice.
    fn start<F>(work: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::restarting(RESTART, work)
    }

    fn restarting<F>(pause: Duration, work: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(tokio::spawn(async move {
            loop {
                // A set, since it takes its task along when this one is aborted.
                let mut one = JoinSet::new();
                one.spawn(work());
                let ended = one.join_next().await;
                tracing::error!(?ended, "a part of discovery ended; please report it");
                tokio::time::sleep(pause).await;
            }
        }))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
