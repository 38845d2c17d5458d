//! A listener's site: what it serves, built from the model and shared by all workers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use umay_core::model::{self, Action, Listener, Model, PathPattern, Protocol, Scheme, Source};
use umay_core::reason::Reason;
use umay_core::route::{RouteIdx, Table};

use crate::drain::Phase;
use crate::original;
use crate::telemetry::access::{Downstream, Secured};
use crate::telemetry::metrics::{ListenerMetrics, Registry, RouteMetrics};
use crate::tls::{PeerFacts, ServerTls, TlsProblem};

/// A listener with its routes and certificates.
pub struct Site {
    /// The listener as configured.
    pub listener: Listener,
    /// Which route takes what.
    pub table: Table,
    /// TLS termination, if there is any.
    pub tls: Option<Arc<ServerTls>>,
    /// One of its routes goes to where clients were headed.
    pub wants_original: bool,
    /// Its metrics.
    pub metrics: Arc<ListenerMetrics>,
    routes: Arc<[Route]>,
}

/// A route with what it needs at run time.
#[derive(Debug)]
pub struct Route {
    /// As configured.
    pub model: model::Route,
    /// Its metrics.
    pub metrics: Arc<RouteMetrics>,
    /// What spans call it (`http.route`): the one path that it matches, else its name.
    pub pattern: String,
    /// The place of its upstream, if it has one.
    pub upstream: Option<usize>,
    /// It goes to where the client was headed.
    pub to_original: bool,
    learned: Arc<Learned>,
    /// All its endpoints have no scheme: they are spoken to in the protocol that was detected.
    undeclared: bool,
}

/// What a route has learned of its endpoints.
#[derive(Debug)]
struct Learned {
    /// Endpoints that speak before the client does, as the last silent client has shown: all of
    /// them as one, or each by itself where clients are headed to it.
    server_first: original::Table,
    /// One of its endpoints has answered in HTTP.
    speaks_http: AtomicBool,
    /// Whom it has learned that of.
    of: Option<model::Upstream>,
}

impl Learned {
    /// True if it goes for this upstream, too: it has one of the same endpoints, or finds them at the same source.
    fn holds_for(&self, upstream: Option<&model::Upstream>) -> bool {
        let (Some(of), Some(upstream)) = (&self.of, upstream) else {
            return false;
        };
        let known = |endpoint: &model::Endpoint| of.endpoints.iter().any(|e| e.is(endpoint));
        let same_source = of.discovery.is_some() && of.discovery == upstream.discovery;
        same_source || upstream.endpoints.iter().any(known)
    }
}

/// What one worker serves at a listener now. Another configuration takes its place between two requests.
#[derive(Debug)]
pub struct Door {
    site: RefCell<Arc<Site>>,
    phase: Cell<Phase>,
}

impl Door {
    /// A door to this site.
    pub fn new(site: Arc<Site>) -> Rc<Self> {
        Rc::new(Self {
            site: RefCell::new(site),
            phase: Cell::new(Phase::Open),
        })
    }

    /// True if this site is for the same listener.
    pub fn is_at(&self, site: &Site) -> bool {
        let listener = &self.site.borrow().listener;
        listener.has_socket_of(&site.listener)
    }

    /// What is served there now.
    pub fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.borrow())
    }

    /// Another site takes its place.
    pub fn set_site(&self, site: Arc<Site>) {
        self.site.replace(site);
    }

    /// Its listener is gone: connections end as in a drain.
    pub fn close(&self) {
        self.phase.set(Phase::Draining);
    }
}

/// A client's connection, as far as it is known before it says anything.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it came to.
    pub site: Arc<Site>,
    /// The same, as it is now.
    pub door: Rc<Door>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it was headed before it was redirected or caught; asked for only if a route wants it.
    pub original: Option<SocketAddr>,
    /// Tells it from all others, in logs.
    pub id: u64,
    /// When it was accepted.
    pub accepted: Instant,
    /// What TLS has shown of it.
    pub tls: Option<Box<PeerFacts>>,
}

impl Site {
    /// Puts a listener together with the routes from [`Route::build`], and reads its certificates as far as they are
    /// others than those of `old`.
    pub fn build(
        model: &Model,
        listener: &Listener,
        registry: &Registry,
        routes: &Arc<[Route]>,
        old: Option<&Arc<ServerTls>>,
    ) -> Result<Arc<Self>, Vec<TlsProblem>> {
        let table = Table::for_listener(model, &listener.name);
        let alpn = alpn(&table);
        let load = |tls| match old {
            Some(old) => old.succeed(tls, alpn, table.serves_stream()),
            None => ServerTls::load(tls, alpn, table.serves_stream()),
        };
        let tls = listener.tls.as_ref().map(load).transpose()?;
        let ours = |route: &&Route| {
            let only = &route.model.matches.listeners;
            only.is_empty() || only.contains(&listener.name)
        };
        Ok(Arc::new(Self {
            table,
            wants_original: routes.iter().filter(ours).any(|route| route.to_original),
            listener: listener.clone(),
            metrics: registry.listener(&listener.name),
            tls,
            routes: Arc::clone(routes),
        }))
    }

    /// All routes of the configuration.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// A route that the table has named.
    pub fn route(&self, idx: RouteIdx) -> Option<&Route> {
        self.routes.get(idx)
    }
}

/// The application protocols that a listener with these routes speaks, the most wanted first.
pub fn alpn(table: &Table) -> &'static [&'static [u8]] {
    match table.serves_http() {
        true => &[b"h2", b"http/1.1", b"http/1.0"],
        false => &[],
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({})", self.listener.name)
    }
}

/// Destinations of which a route remembers that they speak first.
const REMEMBERED: usize = 4096;

impl Route {
    /// Prepares all routes of a model. Those that `old` has, too, go on with what they have learned.
    pub fn build(model: &Model, registry: &Arc<Registry>, old: &[Self]) -> Arc<[Self]> {
        let place = |name: &String| model.upstreams.keys().position(|have| have == name);
        let to = |route: &model::Route| match &route.action {
            Action::Forward(name) => model.upstreams.get(name),
            Action::Redirect(_) | Action::Respond(_) => None,
        };
        let to_original = |route: &model::Route| {
            let discovery = to(route).and_then(|upstream| upstream.discovery.as_ref());
            discovery.is_some_and(|discovery| discovery.source == Source::OriginalDestination)
        };
        let learned = |route: &model::Route| {
            let same = old.iter().find(|old| old.model.name == route.name);
            let same = same.filter(|old| old.to_original == to_original(route));
            let same = same.filter(|old| old.learned.holds_for(to(route)));
            same.map(|old| Arc::clone(&old.learned)).unwrap_or_else(|| {
                Arc::new(Learned {
                    server_first: original::Table::new(match to_original(route) {
                        true => REMEMBERED,
                        false => 1,
                    }),
                    speaks_http: AtomicBool::new(false),
                    of: to(route).cloned(),
                })
            })
        };
        let build = |route: &model::Route| Self {
            to_original: to_original(route),
            learned: learned(route),
            model: route.clone(),
            metrics: registry.route(&route.name),
            pattern: pattern(route),
            upstream: match &route.action {
                Action::Forward(name) => place(name),
                Action::Redirect(_) | Action::Respond(_) => None,
            },
            undeclared: to(route).is_some_and(|upstream| {
                // What one destination speaks says nothing about the others.
                !to_original(route) && upstream.schemes().all(|scheme| scheme == Scheme::Detected)
            }),
        };
        model.routes.iter().map(build).collect()
    }

    /// True if its endpoints, or the one that this client was headed to, are known to speak first.
    pub fn is_server_first(&self, client: &Client) -> bool {
        let table = &self.learned.server_first;
        table.contains(&self.spoken_to(client))
    }

    /// Remembers who spoke first on it.
    pub fn learn_server_first(&self, client: &Client, server_first: bool) {
        let (table, to) = (&self.learned.server_first, self.spoken_to(client));
        match (table.contains(&to), server_first) {
            (false, true) => drop(table.insert(&to)),
            (true, false) => table.remove(table.key(&to)),
            _ => {}
        }
    }

    /// Whom a client speaks to on it: where it was headed, or all endpoints as one.
    fn spoken_to(&self, client: &Client) -> Option<SocketAddr> {
        client.original.filter(|_| self.to_original)
    }

    /// True if raw streams may take the route. Where endpoints have no scheme and one has answered
    /// in HTTP, they may not: what is nearly HTTP would reach it unchecked, as a stream.
    pub fn takes_streams(&self) -> bool {
        !(self.undeclared && self.learned.speaks_http.load(Relaxed))
    }

    /// Remembers that an endpoint has answered in HTTP.
    pub fn learn_http(&self) {
        let speaks_http = &self.learned.speaks_http;
        if self.undeclared && !speaks_http.load(Relaxed) {
            speaks_http.store(true, Relaxed);
        }
    }
}

/// The path that a route matches, if that is one, else its name.
fn pattern(route: &model::Route) -> String {
    match &route.matches.paths[..] {
        [PathPattern::Exact(path)] => path.clone(),
        [PathPattern::Prefix(path)] => format!("{path}/*"),
        _ => route.name.clone(),
    }
}

impl Client {
    /// How far the end has come, for it: that of the worker, or of its listener.
    pub fn phase(&self, worker: Phase) -> Phase {
        worker.max(self.door.phase.get())
    }

    /// The same client where it is now; `None` if nothing has changed.
    pub fn renewed(&self) -> Option<Self> {
        let same = Arc::ptr_eq(&self.site, &self.door.site.borrow());
        (!same).then(|| Self {
            site: self.door.site(),
            ..self.clone()
        })
    }

    /// The server name that was asked for.
    pub fn sni(&self) -> Option<&str> {
        self.tls.as_ref()?.sni.as_deref()
    }

    /// Where it was headed, or why it cannot take this route to an endpoint.
    pub fn headed(&self, route: &Route) -> Result<Option<SocketAddr>, (Reason, &'static str)> {
        let Some(headed) = self.original else {
            let unknown = (Reason::OriginalDestinationUnknown, "");
            return (!route.to_original).then_some(None).ok_or(unknown);
        };
        if route.to_original && original::is_own(headed) {
            return Err((Reason::LoopDetected, "it was headed to a listener of Umay"));
        }
        if original::is_outgoing(self.peer, headed) {
            let detail = "a connection of Umay's own was redirected: exempt its mark or its user";
            return Err((Reason::LoopDetected, detail));
        }
        Ok(Some(headed))
    }

    /// The route of a raw stream from it.
    pub fn stream_route(&self, protocol: Protocol) -> Option<&Route> {
        let cert = self.tls.as_ref().and_then(|tls| tls.client_cert.as_ref());
        let idx = self.site.table.match_stream(protocol, self.sni(), cert)?;
        self.site.route(idx).filter(|route| route.takes_streams())
    }

    /// Its side of a log entry; `ip` is who it is behind trusted proxies.
    pub fn downstream(&self, ip: IpAddr) -> Downstream<'_> {
        Downstream {
            client: ip,
            peer: self.peer,
            listener: &self.site.listener.name,
            sni: self.sni(),
            tls: self.tls.as_ref().map(|tls| Secured {
                version: tls.version.as_str(),
                group: tls.group,
                resumed: tls.resumed,
            }),
        }
    }
}
