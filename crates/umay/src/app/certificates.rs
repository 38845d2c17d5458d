//! How long certificates are still good: in metrics, and in the log, once for each step towards their end. Beside the
//! workers, keys are taken apart that nobody has asked for yet, so that a damaged one is told before.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use umay_core::expiry::{Step, Told};

use super::Plan;
use crate::conn::unix_now;
use crate::telemetry::metrics::{CertificateEnd, Ends, ListenerEnds, MOST_CERTIFICATES, Registry};
use crate::tls::{CertificateInfo, ServerTls, TlsProblem};

/// Certificates are held against the calendar as often as this, and after each reload.
const LOOK: Duration = Duration::from_secs(3600);

/// So many are named when they come to their end at once; the others are counted.
const NAMED: usize = 50;

/// A certificate, as long as it is not renewed: its file and its end.
type Key = (PathBuf, u64);

/// Of which certificates was told.
#[derive(Default)]
struct Memory {
    ends: Told<Key>,
    /// Those that were not good yet.
    early: HashSet<Key>,
}

/// What is known of the ends of all certificates.
pub(super) struct Certificates {
    told: Memory,
    next: Instant,
    prover: Option<Prover>,
}

impl Certificates {
    /// Of the first configuration, whose warnings were told when it was loaded.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut told = Memory::default();
        due(&mut told, plan, unix_now());
        publish(plan);
        Self {
            told,
            next: Instant::now() + LOOK,
            prover: Prover::start(plan),
        }
    }

    /// Another configuration is served.
    pub(super) fn follow(&mut self, plan: &Plan) {
        // What it would publish is not what is served any more.
        self.prover = None;
        publish(plan);
        self.look(plan);
        self.prover = Prover::start(plan);
    }

    /// Returns when they are to be looked at. To be dropped and called again as one likes.
    pub(super) async fn due(&self) {
        sleep_until(self.next).await;
    }

    /// Tells of those that have come a step nearer to their end.
    pub(super) fn look(&mut self, plan: &Plan) {
        self.next = Instant::now() + LOOK;
        let now = unix_now();
        let due = due(&mut self.told, plan, now);
        for problem in told(&due, now) {
            tracing::warn!("{problem}");
        }
    }
}

/// What a configuration that is new to the process says of the calendar.
pub(super) fn expiring(plan: &Plan) -> Vec<TlsProblem> {
    let now = unix_now();
    told(&due(&mut Memory::default(), plan, now), now)
}

fn all(plan: &Plan) -> impl Iterator<Item = &CertificateInfo> {
    let served = plan.tls().flat_map(|(_, tls)| tls.certificates());
    served.chain(plan.shown_to_endpoints().map(|(_, info)| info))
}

/// Those that are to be told of at `now`, the nearest to its end first.
fn due<'a>(told: &mut Memory, plan: &'a Plan, now: u64) -> Vec<&'a CertificateInfo> {
    let key = |info: &CertificateInfo| (info.cert_file.clone(), info.not_after);
    let is_near = |info: &&CertificateInfo| Step::at(info.not_after, now).is_some();
    let near = all(plan).filter(is_near);
    let steps = told
        .ends
        .due(near.map(|info| (key(info), info.not_after)), now);
    let early: HashSet<Key> = all(plan)
        .filter(|info| now < info.not_before)
        .map(key)
        .collect();
    let mut news: HashSet<Key> = early.difference(&told.early).cloned().collect();
    news.extend(steps.into_iter().map(|(key, _)| key));
    told.early = early;
    // What stands in two places is told of once.
    let mut due: Vec<_> = all(plan).filter(|info| news.remove(&key(info))).collect();
    due.sort_by_key(|info| info.not_after);
    due
}

/// The words for these, for as many as can be read.
fn told(due: &[&CertificateInfo], now: u64) -> Vec<TlsProblem> {
    let warning = |info: &&CertificateInfo| info.warning(now);
    let mut told: Vec<_> = due.iter().take(NAMED).filter_map(warning).collect();
    let more = due.len().saturating_sub(NAMED);
    if more > 0 {
        told.push(TlsProblem::more(more));
    }
    told
}

/// Lets the metrics tell of what is served now.
fn publish(plan: &Plan) {
    let upstreams = plan.shown_to_endpoints();
    let upstreams = upstreams.map(|(name, info)| (name.to_owned(), info.not_after));
    let ends = Ends {
        upstreams: upstreams.collect(),
        ..of_listeners(plan.tls())
    };
    plan.registry.certificates.store(Arc::new(ends));
}

fn of_listeners<'a>(all: impl Iterator<Item = (&'a str, &'a Arc<ServerTls>)>) -> Ends {
    let mut ends = Ends::default();
    let mut infos = Vec::new();
    for (listener, tls) in all {
        let certificates = tls.certificates();
        ends.listeners.push(ListenerEnds {
            listener: listener.to_owned(),
            count: certificates.len(),
            unfit: tls.unfit().count(),
            first: tls.certificates().map(|info| info.not_after).min(),
        });
        infos.extend(certificates.map(|info| (listener, info)));
    }
    infos.sort_by_key(|(_, info)| info.not_after);
    let end = |(listener, info): &(&str, &CertificateInfo)| CertificateEnd {
        listener: (*listener).to_owned(),
        name: info.names.first().cloned().unwrap_or_default(),
        file: info.cert_file.display().to_string(),
        not_after: info.not_after,
    };
    ends.certificates = infos.iter().take(MOST_CERTIFICATES).map(end).collect();
    ends
}

/// A thread that takes keys apart. Ends with it.
struct Prover {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Prover {
    /// Starts it if there is something to prove.
    fn start(plan: &Plan) -> Option<Self> {
        let all = plan
            .tls()
            .map(|(name, tls)| (name.to_owned(), Arc::clone(tls)));
        let all: Vec<_> = all.collect();
        if all.iter().all(|(_, tls)| tls.is_proven()) {
            return None;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, registry) = (Arc::clone(&stop), Arc::clone(&plan.registry));
        let prove = move || prove(&all, &registry, &stopped);
        let thread = thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(prove);
        // Without it a damaged key is told when somebody asks for its certificate.
        let thread =
            thread.inspect_err(|error| tracing::warn!(%error, "keys are not looked at beforehand"));
        Some(Self {
            stop,
            thread: thread.ok(),
        })
    }
}

impl Drop for Prover {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

fn prove(all: &[(String, Arc<ServerTls>)], registry: &Registry, stop: &AtomicBool) {
    let damaged: usize = all.iter().map(|(_, tls)| tls.prove(stop)).sum();
    if damaged > 0 && !stop.load(Relaxed) {
        let all = all.iter().map(|(name, tls)| (name.as_str(), tls));
        let listeners = of_listeners(all).listeners;
        let old = registry.certificates.load();
        let ends = Ends {
            listeners,
            certificates: old.certificates.clone(),
            upstreams: old.upstreams.clone(),
        };
        registry.certificates.store(Arc::new(ends));
    }
}
