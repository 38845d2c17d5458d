//! What would become of a request or a stream, and why: of a configuration, and of a process as it is now.
//!
//! One explanation for both: a process has its certificates as it has loaded them, and can say how its endpoints are.

mod live;
mod question;
mod target;
mod text;
mod words;

pub use question::Question;
pub use target::Target;
pub use text::Text;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use umay_core::config::Place;
use umay_core::message::Fields;
use umay_core::model::{self, Action, Listener, Model, Name, Protocol};
use umay_core::route::{self, Explanation, HttpQuery, Query, Table, has_dot_segments};

use crate::site::{Site, alpn};
use crate::telemetry::access::rfc3339;
use crate::tls::{Choice, ServerTls, TlsProblem};
use crate::upstream::Upstream;
use words::{destination, settings};

/// What an explanation stands on.
pub struct Ground<'a> {
    /// The configuration.
    pub model: &'a Model,
    /// Where each route stands, by its name.
    pub places: &'a BTreeMap<Name, Place>,
    /// The process that serves it, if it is one.
    pub running: Option<Running<'a>>,
}

/// A process that serves a configuration.
pub struct Running<'a> {
    /// Its listeners with their certificates.
    pub sites: &'a [Arc<Site>],
    /// Its upstreams.
    pub upstreams: &'a [Arc<Upstream>],
}

impl Ground<'_> {
    /// The upstream that a route goes to, as it is now.
    fn upstream(&self, route: &model::Route) -> Option<&Upstream> {
        let Action::Forward(name) = &route.action else {
            return None;
        };
        let mut upstreams = self.running.as_ref()?.upstreams.iter();
        upstreams
            .find(|have| have.name == *name)
            .map(|have| &**have)
    }
}

/// What becomes of what is asked for, at each listener that could be meant: an object each.
pub fn explain(question: &Question, ground: &Ground<'_>) -> Result<Vec<Value>, String> {
    let named = question.listener.as_deref();
    let listeners = listeners(ground.model, &question.target, named)?;
    let asked = Asked {
        question,
        fields: question.fields(),
        ground,
    };
    let told = listeners
        .into_iter()
        .map(|listener| asked.explain(listener));
    Ok(told.collect())
}

/// True if a route takes it wherever it could be meant.
pub fn is_served(told: &[Value]) -> bool {
    let served = |told: &Value| told.get("route").is_some_and(|route| !route.is_null());
    told.iter().all(served)
}

/// A listener's certificates, read from their files as it would serve them.
pub fn certificates(
    model: &Model,
    listener: &Listener,
) -> Option<Result<Arc<ServerTls>, Vec<TlsProblem>>> {
    let table = Table::for_listener(model, &listener.name);
    let tls = listener.tls.as_ref()?;
    Some(ServerTls::load(tls, alpn(&table), table.serves_stream()))
}

/// The listeners that could be meant: those on the port, or all if no port was written and none is
/// on the usual one, since what is in front of Umay may lead elsewhere.
fn listeners<'m>(
    model: &'m Model,
    target: &Target,
    name: Option<&str>,
) -> Result<Vec<&'m Listener>, String> {
    let all = || model.listeners.values();
    if let Some(name) = name {
        let named = model.listeners.get(name);
        let named = named.ok_or_else(|| format!("there is no listener `{name}`"))?;
        return Ok(vec![named]);
    }
    let on = |port: u16| {
        all()
            .filter(|listener| listener.bind.port() == port)
            .collect::<Vec<_>>()
    };
    if let Some(port) = target.port {
        let found = on(port);
        return match found.is_empty() {
            true => Err(format!("no listener is on port {port}")),
            false => Ok(found),
        };
    }
    let usual = target.usual_port().map(on).unwrap_or_default();
    if !usual.is_empty() {
        return Ok(usual);
    }
    let fits = |listener: &&Listener| {
        let table = Table::for_listener(model, &listener.name);
        !target.secure || listener.tls.is_some() || table.has_passthrough() || table.serves_stream()
    };
    let found: Vec<_> = all().filter(fits).collect();
    match found.is_empty() {
        true => Err("no listener takes TLS".to_owned()),
        false => Ok(found),
    }
}

/// What is asked for, with all that is known of it.
struct Asked<'a> {
    question: &'a Question,
    fields: Fields,
    ground: &'a Ground<'a>,
}

impl Asked<'_> {
    fn explain(&self, listener: &Listener) -> Value {
        let (target, model) = (&self.question.target, self.ground.model);
        let table = Table::for_listener(model, &listener.name);
        let way = Way::of(target, listener, &table);
        let mut notes = Vec::new();
        let (mut certificate, mut refused) = (Value::Null, false);
        if way == Way::Opened {
            match self.certificate(listener) {
                Ok(found) => certificate = found,
                Err(Untold::Refused(why)) => {
                    refused = true;
                    notes.push(why);
                }
                Err(Untold::Unreadable(why)) => notes.push(why),
            }
            let auth = listener
                .tls
                .as_ref()
                .and_then(|tls| tls.client_auth.as_ref());
            if auth.is_some_and(|auth| auth.required) && self.question.cert.is_none() {
                let note = "this listener refuses clients without a certificate; tell one with --client-cert-cn";
                notes.push(note.to_owned());
            }
        }
        let in_the_clear = matches!(way, Way::Plain | Way::Opened);
        let is_request = target.protocol.is_none() && in_the_clear && table.serves_http();
        if way == Way::Bytes {
            let note = "this listener opens no TLS: it is carried as any other bytes";
            notes.push(note.to_owned());
        } else if target.protocol.is_none() && in_the_clear && !is_request {
            let note = "no route of this listener takes HTTP: it is carried as any other bytes";
            notes.push(note.to_owned());
        }
        if is_request && has_dot_segments(target.path.as_bytes()) {
            refused = true;
            let note = "the path has dot segments: refused with 400 before it is routed";
            notes.push(note.to_owned());
        }
        let told = self.told(listener, way, is_request, &table);
        let route = told.taken.filter(|_| !refused);
        let route = route.and_then(|idx| model.routes.get(idx));
        if told.taken.is_none() && !refused {
            notes.push(match is_request {
                true => "no route takes it: it is answered with 404".to_owned(),
                false => "no route takes it: the connection is closed".to_owned(),
            });
        }
        let place = route.and_then(|route| self.ground.places.get(&route.name));
        let upstream = route.and_then(|route| self.ground.upstream(route));
        let endpoints = upstream.map(|upstream| live::endpoints(upstream, is_request));
        notes.extend(upstream.and_then(live::note));
        let to = route.map(|route| destination(model, route, upstream.is_some()));
        json!({
            "asked": target.text,
            "listener": {
                "name": listener.name,
                "address": listener.bind.to_string(),
                "tls": listener.tls.is_some(),
                "opened": way == Way::Opened,
            },
            "certificate": certificate,
            "route": route.map(|route| route.name.clone()),
            "place": place.map(ToString::to_string),
            "settings": route.map(|route| settings(model, route, is_request, target.secure)),
            "to": to,
            "endpoints": endpoints,
            "others": others(model, &told),
            "notes": notes,
        })
    }

    /// Asks the routes of a listener.
    fn told(&self, listener: &Listener, way: Way, is_request: bool, table: &Table) -> Explanation {
        let target = &self.question.target;
        let (sni, cert) = (target.sni(), self.question.cert.as_ref());
        let request = HttpQuery {
            host: target.name.as_bytes(),
            path: target.path.as_bytes(),
            method: self.question.method.as_bytes(),
            fields: &self.fields,
            sni,
            client_cert: cert,
            secure: target.secure,
        };
        let query = match way {
            Way::Unopened => Query::Passthrough { sni },
            Way::Bytes => Query::Stream {
                protocol: Protocol::Tcp,
                // Where nothing has to be detected, no hello is read.
                sni: sni.filter(|_| !table.only_stream()),
                client_cert: None,
            },
            Way::Plain | Way::Opened if is_request => Query::Http(&request),
            Way::Plain | Way::Opened => Query::Stream {
                protocol: target.protocol.unwrap_or(Protocol::Tcp),
                sni,
                client_cert: cert,
            },
        };
        route::explain(self.ground.model, &listener.name, query)
    }

    /// The certificate that the client gets, or why that is not known.
    fn certificate(&self, listener: &Listener) -> Result<Value, Untold> {
        if let Some(running) = &self.ground.running {
            let is_it = |site: &&Arc<Site>| site.listener.name == listener.name;
            let site = running.sites.iter().find(is_it);
            let tls = site.and_then(|site| site.tls.as_ref());
            return tls.map_or(Ok(Value::Null), |tls| self.chosen(tls));
        }
        let Some(tls) = certificates(self.ground.model, listener) else {
            return Ok(Value::Null);
        };
        let tls = tls.map_err(|problems| {
            let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Untold::Unreadable(format!(
                "its certificates cannot be read: {}",
                told.join("; ")
            ))
        })?;
        self.chosen(&tls)
    }

    fn chosen(&self, tls: &ServerTls) -> Result<Value, Untold> {
        match tls.choose(self.question.target.sni(), &[]) {
            Choice::Accept { certificate, .. } => Ok(json!({
                "names": certificate.names,
                "file": certificate.cert_file,
                "key_type": certificate.key_type,
                "not_after": rfc3339(certificate.not_after),
            })),
            Choice::Refuse { detail, .. } => Err(Untold::Refused(format!(
                "the handshake is refused: {detail}"
            ))),
        }
    }
}

/// What becomes of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// There is none.
    Plain,
    /// A route delivers it unopened.
    Unopened,
    /// The listener opens it.
    Opened,
    /// The listener has no certificate, so it is as good as any other bytes.
    Bytes,
}

impl Way {
    fn of(target: &Target, listener: &Listener, table: &Table) -> Self {
        if !target.secure {
            Self::Plain
        } else if table.match_passthrough(target.sni()).is_some() {
            Self::Unopened
        } else if listener.tls.is_some() {
            Self::Opened
        } else {
            Self::Bytes
        }
    }
}

/// Why there is no certificate to tell.
enum Untold {
    /// The client gets none.
    Refused(String),
    /// It gets one once the files are good.
    Unreadable(String),
}

fn others(model: &Model, told: &Explanation) -> Value {
    let one = |(idx, whys): &(usize, Vec<String>)| {
        let name = model.routes.get(*idx).map(|route| route.name.as_str());
        json!({ "route": name, "why": whys })
    };
    told.others.iter().map(one).collect()
}
