//! What is made from a configuration before anything runs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::thread;

use umay_core::config::{Place, Shown, Sources};
use umay_core::model::{Collector, Model, Name};

use super::certificates;
use super::syslog::ToSyslog;
use crate::discover;
use crate::site::{Route, Site};
use crate::telemetry::metrics::Registry;
use crate::tls::{self, CertificateInfo, ClientTls, ServerTls, TlsProblem};
use crate::upstream::Upstream;

/// Everything that is made from the model before a socket is opened.
pub struct Plan {
    pub(super) registry: Arc<Registry>,
    pub(super) upstreams: Arc<[Arc<Upstream>]>,
    pub(super) sites: Vec<Arc<Site>>,
    pub(super) workers: usize,
    /// TLS to the collector of traces, if that is spoken to over it.
    pub(super) collector_tls: Option<ClientTls>,
    /// TLS to the syslog of the access log, the same way.
    pub(super) syslog: Option<ToSyslog>,
    /// The same to the collector of metrics.
    pub(super) push_tls: Option<ClientTls>,
    /// What is questionable about files that are read again and again.
    doubts: Vec<TlsProblem>,
    /// Certificates that have expired or soon will; of the first plan only, since the process goes on telling itself.
    expiring: Vec<TlsProblem>,
    /// What was unfit in the plan before.
    told: HashSet<TlsProblem>,
    /// What it was made from, for who asks.
    pub(super) described: Arc<Described>,
}

/// What a configuration was read from.
#[derive(Debug, Default)]
pub struct Described {
    /// All that was read.
    pub sources: Sources,
    /// Where each route stands.
    pub places: BTreeMap<Name, Place>,
}

impl Plan {
    /// Reads the files that the model names and builds what workers share. Fails with all that is
    /// wrong.
    pub fn build(model: &Model) -> Result<Self, Vec<TlsProblem>> {
        tls::install_provider();
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let workers = model.workers.unwrap_or_else(cores);
        let mut plan = Self::build_on(model, workers, Registry::new(workers), (&[], &[], &[]))?;
        plan.expiring = certificates::expiring(&plan);
        Ok(plan)
    }

    /// What takes the place of this one: workers and metrics stay, and so does what has not changed.
    pub fn succeed(&self, model: &Model) -> Result<Self, Vec<TlsProblem>> {
        let registry = Arc::clone(&self.registry);
        let routes = self.sites.first().map(|site| site.routes());
        let old = (&*self.upstreams, routes.unwrap_or_default(), &*self.sites);
        let mut plan = Self::build_on(model, self.workers, registry, old)?;
        plan.told = self.unfit().cloned().collect();
        Ok(plan)
    }

    fn build_on(
        model: &Model,
        workers: usize,
        registry: Arc<Registry>,
        (old, old_routes, old_sites): (&[Arc<Upstream>], &[Route], &[Arc<Site>]),
    ) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let mut upstreams = Vec::new();
        for upstream in model.upstreams.values() {
            let name = &upstream.name;
            let metrics = (registry.upstream(name), registry.discovery(name));
            let old = old.iter().find(|old| old.name == *name);
            match Upstream::build(upstream, model.zone.as_deref(), metrics, old) {
                Ok(upstream) => upstreams.push(upstream),
                Err(more) => problems.extend(more),
            }
        }
        let routes = Route::build(model, &registry, old_routes);
        let mut sites = Vec::new();
        for listener in model.listeners.values() {
            let same = |old: &&Arc<Site>| old.listener.name == listener.name;
            let old = old_sites.iter().find(same);
            let old = old.and_then(|old| old.tls.as_ref());
            match Site::build(model, listener, &registry, &routes, old) {
                Ok(site) => sites.push(site),
                Err(more) => problems.extend(more),
            }
        }
        let spans = model.tracing.as_ref().map(|tracing| &tracing.collector);
        let collector_tls = collector_tls(spans, &mut problems);
        let metrics = model.push.as_ref().map(|push| &push.collector);
        // What is wrong with the files of one collector is told once.
        let shared = metrics.map(|to| &to.tls) == spans.map(|to| &to.tls);
        let push_tls = match shared && !problems.is_empty() {
            true => None,
            false => self::collector_tls(metrics, &mut problems),
        };
        let syslog = ToSyslog::load(model).unwrap_or_else(|more| {
            problems.extend(more);
            None
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let doubts = model.upstreams.values().filter_map(discover::doubt);
        Ok(Self {
            registry,
            upstreams: upstreams.into(),
            sites,
            workers,
            collector_tls,
            syslog,
            push_tls,
            doubts: doubts.collect(),
            expiring: Vec::new(),
            told: HashSet::new(),
            described: Arc::default(),
        })
    }

    /// Remembers what it was made from.
    pub fn describe(&mut self, described: Described) {
        self.described = Arc::new(described);
    }

    /// Notes in the metrics that it is served from now on.
    pub(super) fn is_served(&self, model: &Arc<Model>) {
        let (described, model) = (Arc::clone(&self.described), Arc::clone(model));
        self.registry.config.serve(move || {
            let shown = Shown::new(&described.sources, &model).to_toml(false);
            tls::sha256(shown.as_bytes())
        });
    }

    /// What is questionable but no error, as far as it is news.
    pub fn warnings(&self) -> impl Iterator<Item = &TlsProblem> {
        /// Pairs that are named; if there are more, something is wrong with all of them.
        const MOST: usize = 50;
        let news = self.newly_unfit().take(MOST);
        news.chain(&self.doubts).chain(&self.expiring)
    }

    /// Those that were not unfit before.
    pub(super) fn newly_unfit(&self) -> impl Iterator<Item = &TlsProblem> {
        self.unfit().filter(|problem| !self.told.contains(problem))
    }

    /// Pairs of certificate and key that could not be used as they are now, so that what was read before is served.
    pub fn unfit(&self) -> impl Iterator<Item = &TlsProblem> {
        self.tls().flat_map(|(_, tls)| tls.warnings())
    }

    /// The certificates of each listener that has some.
    pub fn tls(&self) -> impl Iterator<Item = (&str, &Arc<ServerTls>)> {
        self.sites
            .iter()
            .filter_map(|site| Some((site.listener.name.as_str(), site.tls.as_ref()?)))
    }

    /// The certificates that endpoints are shown, by upstream.
    pub(super) fn shown_to_endpoints(&self) -> impl Iterator<Item = (&str, &CertificateInfo)> {
        self.upstreams.iter().filter_map(|upstream| {
            let certificate = upstream.tls()?.certificate()?;
            Some((upstream.name.as_str(), certificate))
        })
    }
}

/// TLS to a collector, if there is one that is spoken to over it.
fn collector_tls(
    collector: Option<&Collector>,
    problems: &mut Vec<TlsProblem>,
) -> Option<ClientTls> {
    let collector = collector.filter(|collector| collector.endpoint.scheme.is_tls())?;
    match ClientTls::load(&collector.tls) {
        Ok(tls) => Some(tls),
        Err(more) => {
            problems.extend(more);
            None
        }
    }
}
