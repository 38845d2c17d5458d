//! What is made from a configuration before anything runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use umay_core::config::{Place, Sources};
use umay_core::model::{Model, Name};

use crate::discover;
use crate::site::{Route, Site};
use crate::telemetry::metrics::Registry;
use crate::tls::{self, TlsProblem};
use crate::upstream::Upstream;

/// Everything that is made from the model before a socket is opened.
pub struct Plan {
    pub(super) registry: Arc<Registry>,
    pub(super) upstreams: Arc<[Arc<Upstream>]>,
    pub(super) sites: Vec<Arc<Site>>,
    pub(super) workers: usize,
    /// What is questionable about files that are read again and again.
    doubts: Vec<TlsProblem>,
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
        if !problems.is_empty() {
            return Err(problems);
        }
        let doubts = model.upstreams.values().filter_map(discover::doubt);
        Ok(Self {
            registry,
            upstreams: upstreams.into(),
            sites,
            workers,
            doubts: doubts.collect(),
            described: Arc::default(),
        })
    }

    /// Remembers what it was made from.
    pub fn describe(&mut self, described: Described) {
        self.described = Arc::new(described);
    }

    /// What is questionable but no error.
    pub fn warnings(&self) -> impl Iterator<Item = &TlsProblem> {
        let sites = self.sites.iter().filter_map(|site| site.tls.as_ref());
        let upstreams = self.upstreams.iter().filter_map(|upstream| upstream.tls());
        sites
            .flat_map(|tls| tls.warnings())
            .chain(upstreams.flat_map(|tls| tls.warnings()))
            .chain(&self.doubts)
    }
}
