//! A reload: another configuration takes the place of the one that is served, whole or not at all.
//!
//! All that can go wrong comes first: reading, checking, opening new sockets. What is equal is not touched: listeners
//! keep their sockets, upstreams their endpoints with all that is known of them. Each worker goes over in one
//! step, and connections with their next request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;
use umay_core::config::Purpose;
use umay_core::model::{EventFormat, Log, Model};

use super::status::Shown;
use super::{
    App, Plan, bind, most_connections, open_access_log, share, start_exporter, start_pusher,
    supervisor,
};
use crate::export::{Exporter, Pusher};
use crate::original;
use crate::site::Site;
use crate::telemetry::access::{AccessLog, AccessWriter};
use crate::telemetry::{events, privacy};
use crate::worker::Settings;
use crate::worker_thread::Change;

/// How long a worker may take to go over.
const PATIENCE: Duration = Duration::from_secs(10);

/// A configuration that was read and can be served.
pub struct Read {
    /// What it says.
    pub model: Model,
    /// What was made from it.
    pub plan: Plan,
    /// What is questionable, for people.
    pub warnings: Vec<String>,
    /// The files that are to be watched.
    pub files: Vec<(PathBuf, Purpose)>,
}

/// Reads the configuration again, to take the place of what is served; an error is for people.
pub type Source = Box<dyn FnMut(&Plan) -> Result<Read, String>>;

impl App {
    /// Reads the configuration again and goes over to it, or says why not.
    pub(super) async fn reload(&mut self) -> Result<String, String> {
        let started = Instant::now();
        let read = self.read();
        self.go_over(read, started).await
    }

    /// The same because files have changed: those that make no sense yet may be half written. A pair that stays so
    /// does not hold up the rest for longer.
    pub(super) async fn reload_changed(&mut self) {
        let started = Instant::now();
        let read = self.read();
        let is_good = |read: &Read| read.plan.newly_unfit().next().is_none();
        if read.as_ref().is_ok_and(is_good) || !self.watch.is_to_try_again() {
            // What came of it is in the log.
            let _ = self.go_over(read, started).await;
        }
    }

    fn read(&mut self) -> Result<Read, String> {
        self.watch.note();
        match &mut self.source {
            Some(source) => source(&self.plan),
            None => Err("this Umay has no configuration to read again".to_owned()),
        }
    }

    async fn go_over(
        &mut self,
        read: Result<Read, String>,
        started: Instant,
    ) -> Result<String, String> {
        supervisor::reloading();
        let came = match read {
            Ok(read) => self.adopt(read).await,
            Err(why) => Err(why),
        };
        supervisor::ready();
        let metrics = &self.plan.registry.config;
        match came {
            Ok(()) => {
                metrics.reload();
                let took = started.elapsed();
                tracing::info!(?took, "configuration reloaded");
                let unfit = match self.plan.unfit().count() {
                    0 => String::new(),
                    unfit => format!(
                        " Certificates that could not be used: {unfit}; the log says which."
                    ),
                };
                Ok(format!(
                    "The configuration is served, after {} ms.{unfit}",
                    took.as_millis()
                ))
            }
            Err(why) => {
                metrics.refuse();
                self.shown.store(Arc::new(self.shown.load().refusing(&why)));
                tracing::error!("configuration refused, the old one is served: {why}");
                Err(why)
            }
        }
    }

    async fn adopt(&mut self, read: Read) -> Result<(), String> {
        let Read {
            model,
            plan,
            warnings,
            files,
        } = read;
        let old = |site: &Site| {
            let same = |have: &Arc<Site>| have.listener.has_socket_of(&site.listener);
            self.plan.sites.iter().position(same)
        };
        let mut listening = Vec::new();
        // Those of listeners that stay are where they were.
        let mut opened = Vec::new();
        for site in &plan.sites {
            let name = &site.listener.name;
            let kept = old(site).and_then(|place| self.listening.get(place));
            let (address, sockets) = match kept {
                Some((_, address)) => (*address, Vec::new()),
                None => {
                    let bound = bind(site, plan.workers, Vec::new());
                    let (address, bound) = bound.map_err(|error| format!("{error:#}"))?;
                    tracing::info!(listener = name, addr = %address, "listening");
                    (address, bound)
                }
            };
            listening.push((name.clone(), address));
            opened.push(sockets);
        }
        let shares = share(&opened, plan.workers).map_err(|error| error.to_string())?;
        let admin = self.admin.open_other(&model, &self.model);
        let admin = admin.map_err(|error| format!("{error:#}"))?;
        let access = self.other_access_log(&model, &plan)?;
        let exporter = self.other_exporter(&model, &plan)?;
        let pusher = self.other_pusher(&model, &plan)?;
        // From here on nothing can go wrong.
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        self.keeper.follow(&plan.upstreams, &model.dns);
        if plan.sites.iter().any(|site| site.wants_original) {
            original::listening(listening.iter().map(|(_, address)| *address).collect());
        }
        let kept: Vec<_> = plan.sites.iter().map(|site| old(site)).collect();
        self.keep_sockets(&kept, opened);
        let logs = access.as_ref().map(Option::as_ref);
        let tracers = exporter.as_ref().map(Option::as_ref);
        self.tell_workers(&model, &plan, shares, (logs, tracers))
            .await;
        if let Some(access) = access
            && let Some(former) = std::mem::replace(&mut self.access, access)
        {
            // It ends when all is written, which nobody has to wait for.
            drop(tokio::task::spawn_blocking(|| former.stop(PATIENCE)));
        }
        if let Some(exporter) = exporter
            && let Some(former) = std::mem::replace(&mut self.exporter, exporter)
        {
            // It has all spans that were recorded before.
            drop(tokio::task::spawn_blocking(|| former.stop(PATIENCE)));
        }
        if let Some(pusher) = pusher
            && let Some(former) = std::mem::replace(&mut self.pusher, pusher)
        {
            // Its collector is told how all stood in the end.
            drop(tokio::task::spawn_blocking(|| former.stop(PATIENCE)));
        }
        if let Err(error) = self.admin.start(admin) {
            tracing::error!(%error, "the admin listener could not be started");
        }
        self.say_what_stays(&model);
        privacy::set(&model.privacy);
        events::set_form(model.log.events);
        if let Err(error) = events::set_level(&model.log.level) {
            tracing::error!(%error, "log.level");
        }
        self.closed(&listening);
        self.watch.follow(&files);
        self.shown.store(Arc::new(Shown::of(&plan, &listening)));
        let model = Arc::new(model);
        self.admin.serve(&model, &plan);
        (self.listening, self.plan, self.model) = (listening, plan, model);
        self.certificates.follow(&self.plan);
        Ok(())
    }

    /// Holds the sockets of listeners: those that stay from their former places on, and those that were opened. What is
    /// left is closed as soon as the workers have gone over.
    fn keep_sockets(&mut self, kept: &[Option<usize>], opened: Vec<Vec<std::net::TcpListener>>) {
        let mut before = std::mem::take(&mut self.sockets);
        let places = kept.iter().zip(opened);
        self.sockets = places
            .map(|(place, opened)| {
                let kept = place.and_then(|place| before.get_mut(place));
                kept.map_or(opened, std::mem::take)
            })
            .collect();
    }

    /// Lets every worker go over, and waits until all have.
    async fn tell_workers(
        &self,
        model: &Model,
        plan: &Plan,
        mut shares: Vec<Vec<Vec<std::net::TcpListener>>>,
        (access, tracers): (Option<Option<&AccessWriter>>, Option<Option<&Exporter>>),
    ) {
        let mut all = Vec::new();
        for tell in &self.threads.changes {
            let (done, is_done) = oneshot::channel();
            let sites = plan.sites.iter().cloned();
            let change = Change {
                upstreams: Arc::clone(&plan.upstreams),
                listeners: sites
                    .zip(
                        shares
                            .iter_mut()
                            .map(|shares| shares.pop().unwrap_or_default()),
                    )
                    .collect(),
                settings: Settings::of(model),
                most: most_connections(model, self.files),
                access: access.map(|log| log.map_or_else(AccessLog::off, AccessWriter::handle)),
                tracer: tracers.map(|exporter| exporter.map(Exporter::handle).unwrap_or_default()),
                done,
            };
            // One that has ended is told of by itself.
            let _ = tell.send(change);
            all.push(is_done);
        }
        for is_done in all {
            if timeout(PATIENCE, is_done).await.is_err() {
                tracing::error!("a worker has not gone over to the new configuration yet");
            }
        }
    }

    /// Says which listeners are gone.
    fn closed(&self, listening: &[(String, SocketAddr)]) {
        for (name, address) in &self.listening {
            if !listening.iter().any(|(_, have)| have == address) {
                tracing::info!(listener = name, addr = %address, "closed");
            }
        }
    }

    /// The access log of a model, if it is another than that of now.
    fn other_access_log(
        &self,
        model: &Model,
        plan: &Plan,
    ) -> Result<Option<Option<AccessWriter>>, String> {
        // What is of the event log only.
        let events = |log: &Log| Log {
            level: String::new(),
            events: EventFormat::Text,
            ..log.clone()
        };
        let same = events(&model.log) == events(&self.model.log);
        let files = match (&plan.syslog, &self.plan.syslog) {
            (Some(new), Some(old)) => new.has_files_of(old),
            _ => true,
        };
        if same && files && model.privacy == self.model.privacy {
            return Ok(None);
        }
        let opened = open_access_log(model, plan);
        opened.map(Some).map_err(|error| format!("{error:#}"))
    }

    /// What exports the spans of a model, if that is another than now.
    fn other_exporter(
        &self,
        model: &Model,
        plan: &Plan,
    ) -> Result<Option<Option<Exporter>>, String> {
        let tls = plan.collector_tls.as_ref();
        let same = match (&self.exporter, &model.tracing) {
            (Some(exporter), Some(tracing)) => exporter.is_for(tracing, tls),
            (None, None) => true,
            _ => false,
        };
        if same {
            return Ok(None);
        }
        let started = start_exporter(model, plan);
        started.map(Some).map_err(|error| format!("{error:#}"))
    }

    /// What pushes the metrics of a model, if that is another than now.
    fn other_pusher(&self, model: &Model, plan: &Plan) -> Result<Option<Option<Pusher>>, String> {
        let same = match (&self.pusher, &model.push) {
            (Some(pusher), Some(push)) => pusher.is_for(push, plan.push_tls.as_ref()),
            (None, None) => true,
            _ => false,
        };
        if same {
            return Ok(None);
        }
        let started = start_pusher(model, plan, self.pusher.as_ref());
        started.map(Some).map_err(|error| format!("{error:#}"))
    }

    /// Says what takes effect with the next start only.
    fn say_what_stays(&self, model: &Model) {
        if self.model.workers != model.workers {
            tracing::warn!("`workers` takes effect with the next start, or with `umay upgrade`");
        }
    }
}
