//! What is made from a configuration before anything runs.

use std::sync::Arc;
use std::thread;

use umay_core::model::Model;

use crate::discover;
use crate::site::{Route, Site};
use crate::telemetry::metrics::Registry;
use crate::tls::{self, ClientTls, TlsProblem};
use crate::upstream::Upstream;

/// Everything that is made from the model before a socket is opened.
pub struct Plan {
    pub(super) registry: Arc<Registry>,
    pub(super) upstreams: Arc<[Arc<Upstream>]>,
    pub(super) sites: Vec<Arc<Site>>,
    pub(super) workers: usize,
    /// TLS to the collector of traces, if that is spoken to over it.
    pub(super) collector_tls: Option<ClientTls>,
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
        Self::build_on(model, workers, Registry::new(workers), (&[], &[]))
    }

    /// What takes the place of this one: workers and metrics stay, and so does what has not changed.
    pub fn succeed(&self, model: &Model) -> Result<Self, Vec<TlsProblem>> {
        let registry = Arc::clone(&self.registry);
        let routes = self.sites.first().map(|site| site.routes());
        let old = (&*self.upstreams, routes.unwrap_or_default());
        Self::build_on(model, self.workers, registry, old)
    }

    fn build_on(
        model: &Model,
        workers: usize,
        registry: Arc<Registry>,
        (old, old_routes): (&[Arc<Upstream>], &[Route]),
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
            match Site::build(model, listener, &routes) {
                Ok(site) => sites.push(site),
                Err(more) => problems.extend(more),
            }
        }
        let collector = model.tracing.as_ref().map(|tracing| &tracing.collector);
        let collector = collector.filter(|collector| collector.endpoint.scheme.is_tls());
        let collector_tls = collector.map(|collector| ClientTls::load(&collector.tls));
        let collector_tls = collector_tls.transpose().unwrap_or_else(|more| {
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
            doubts: doubts.collect(),
        })
    }

    /// What is questionable but no error.
    pub fn warnings(&self) -> impl Iterator<Item = &TlsProblem> {
        let sites = self.sites.iter().filter_map(|site| site.tls.as_ref());
        let upstreams = self.upstreams.iter().filter_map(|upstream| upstream.tls());
        let upstreams = upstreams.chain(&self.collector_tls);
        sites
            .flat_map(|tls| tls.warnings())
            .chain(upstreams.flat_map(|tls| tls.warnings()))
            .chain(&self.doubts)
    }
}
