//! Where data about people can be under a configuration: what `umay privacy report` tells.
//!
//! Each [`Kind`] has its row in `docs/privacy.md`. A row is here if the configuration has such a place.

use crate::config::{written_duration, written_syslog};
use crate::model::{
    AccessLog, Action, Addresses, Endpoint, Filter, HashBy, HeaderEdit, Log, Model, Part, Privacy,
    Rotate, Source, Syslog, Upstream, Var,
};

macro_rules! kinds {
    ($($variant:ident = $word:literal, $what:literal;)*) => {
        /// A kind of place.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $(#[doc = $what] $variant,)* }

        impl Kind {
            /// Every kind, in the order in which they are told.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

kinds! {
    AccessLog = "access_log", "The access log.";
    EventLog = "event_log", "The event log, on standard error.";
    Traces = "traces", "Spans, as they are sent to a collector.";
    Metrics = "metrics", "Metrics and the pages of the admin listener; metrics as they are pushed to a collector.";
    Endpoints = "endpoints", "Requests and streams, as they go to endpoints.";
    ForwardedHeaders = "forwarded_headers", "Headers that tell endpoints who the client is.";
    RouteHeaders = "route_headers", "Headers of a route's own with something about the client in them.";
    StickyCookie = "sticky_cookie", "Cookies that keep clients at an endpoint.";
    Memory = "memory", "Requests and answers in memory, while they are served.";
    TlsSessions = "tls_sessions", "Sessions of TLS, to be resumed.";
    HashKey = "hash_key", "What of the client picks its endpoint.";
    Destinations = "destinations", "Where clients were headed.";
    AddressKey = "address_key", "The key that addresses are hashed with.";
}

/// A place where data about people can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What kind of place.
    pub kind: Kind,
    /// Which one.
    pub place: String,
    /// What is there.
    pub data: String,
    /// How it is protected.
    pub protection: String,
    /// How long it is kept.
    pub kept: String,
}

/// All places that a configuration has.
pub fn inventory(model: &Model) -> Vec<Entry> {
    let mut all = Vec::new();
    all.extend(access_log(&model.log, &model.privacy));
    all.push(entry(
        Kind::EventLog,
        "standard error",
        "nothing about clients but what they make fail: names that they asked for, in errors",
        "values are escaped, addresses of clients are shown as in the access log, and libraries tell what clients send at the levels debug and trace only",
        "by whoever reads it",
    ));
    all.extend(traces(model));
    all.push(entry(
        Kind::Metrics,
        match model.admin {
            Some(address) => format!("http://{address}/metrics, /status and /"),
            None => "none: admin.bind is off".to_owned(),
        },
        "none: no label is about a client",
        "counts only",
        "until the process ends",
    ));
    all.extend(pushed(model));
    for upstream in model.upstreams.values() {
        of_upstream(model, upstream, &mut all);
    }
    all.extend(model.routes.iter().filter_map(route_headers));
    all.push(entry(
        Kind::Memory,
        "this process",
        "heads and parts of bodies that are on their way, addresses of connected clients",
        "given back when the request or connection is over; core dumps would have it",
        "while it is served",
    ));
    if model
        .listeners
        .values()
        .any(|listener| listener.tls.is_some())
    {
        all.push(entry(
            Kind::TlsSessions,
            "tickets that clients keep",
            "the secrets of a session and the name that was asked for; nothing with client certificates",
            "encrypted with keys that are in memory only and change",
            "until the keys change, twice 6 h at most",
        ));
    }
    if model.privacy.shown() == Addresses::Hash {
        all.push(entry(
            Kind::AddressKey,
            "this process",
            "the key that makes hashes of addresses",
            "random, never written",
            "until midnight (UTC) or the end of the process",
        ));
    }
    all.sort_by_key(|entry| Kind::ALL.iter().position(|kind| *kind == entry.kind));
    all
}

fn entry(
    kind: Kind,
    place: impl Into<String>,
    data: impl Into<String>,
    protection: impl Into<String>,
    kept: impl Into<String>,
) -> Entry {
    Entry {
        kind,
        place: place.into(),
        data: data.into(),
        protection: protection.into(),
        kept: kept.into(),
    }
}

fn traces(model: &Model) -> Option<Entry> {
    let tracing = model.tracing.as_ref()?;
    let mut data = vec!["addresses of clients, paths, names asked for"];
    if !model.privacy.gdpr {
        data.push("queries");
    }
    if !model.privacy.hides("user-agent") {
        data.push("user agents");
    }
    let Endpoint { host, port, .. } = &tracing.collector.endpoint;
    Some(entry(
        Kind::Traces,
        format!("the collector at {host}, port {port}"),
        data.join(", "),
        "credentials in paths and queries are left out, addresses are shown as in the access log",
        "by the collector",
    ))
}

fn pushed(model: &Model) -> Option<Entry> {
    let Endpoint { host, port, .. } = &model.push.as_ref()?.collector.endpoint;
    Some(entry(
        Kind::Metrics,
        format!("the collector at {host}, port {port}"),
        "none: no attribute is about a client; ids of traces, if requests are recorded",
        "counts only",
        "by the collector",
    ))
}

fn access_log(log: &Log, privacy: &Privacy) -> Option<Entry> {
    let place = match &log.access {
        AccessLog::Off => return None,
        AccessLog::Stdout => "standard output".to_owned(),
        AccessLog::File(path) => path.display().to_string(),
        AccessLog::Syslog(syslog) => written_syslog(syslog),
    };
    let mut data = vec!["addresses of clients, paths, names asked for"];
    if !privacy.gdpr {
        data.push("queries");
    }
    for (header, what) in [("user-agent", "user agents"), ("referer", "referers")] {
        if !privacy.hides(header) {
            data.push(what);
        }
    }
    let addresses = match privacy.shown() {
        Addresses::Whole => "addresses are whole",
        Addresses::Truncate => "addresses are shortened to /24 and /48",
        Addresses::Hash => "addresses are hashed with a key of the day",
    };
    let mut protection = vec![addresses, "credentials are left out"];
    if privacy.gdpr {
        protection.push("values of queries are left out");
    }
    match &log.access {
        AccessLog::Syslog(Syslog::Udp(..) | Syslog::Tcp(..)) => {
            protection.push("not encrypted on the way to the syslog");
        }
        AccessLog::Syslog(Syslog::Tls(.., tls)) if tls.accept_any => {
            protection.push("TLS that is not verified: anybody on the way can read it");
        }
        AccessLog::Syslog(Syslog::Tls(..)) => protection.push("TLS, verified"),
        _ => {}
    }
    let is_file = matches!(log.access, AccessLog::File(_));
    if is_file {
        protection.push("a new file has the permissions 0640");
    }
    let kept = match (privacy.retention, log.rotate) {
        (Some(retention), _) if is_file => format!("{} at most", in_days(retention)),
        (None, Rotate::Daily | Rotate::Size(_)) if is_file => {
            "until somebody deletes what was put aside".to_owned()
        }
        _ if is_file => "until somebody deletes it".to_owned(),
        _ => "by whoever takes the lines".to_owned(),
    };
    let (data, protection) = (data.join(", "), protection.join("; "));
    Some(entry(Kind::AccessLog, place, data, protection, kept))
}

fn in_days(time: std::time::Duration) -> String {
    match time.as_secs() {
        seconds if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        _ => written_duration(time),
    }
}

fn of_upstream(model: &Model, upstream: &Upstream, all: &mut Vec<Entry>) {
    let name = format!("upstream {}", upstream.name);
    let encrypted = upstream.schemes().all(|scheme| scheme.is_tls());
    let verified = !upstream.tls.accept_any;
    let protection = match (encrypted, verified) {
        (true, true) => "TLS, verified",
        (true, false) => "TLS that is not verified: anybody on the way can read it",
        (false, _) => "not encrypted on the way to every endpoint",
    };
    let data = "all that clients send, and what is answered";
    let kept = "by the endpoints";
    all.push(entry(Kind::Endpoints, &name, data, protection, kept));
    if upstream.schemes().any(|scheme| scheme.serves_http()) {
        let also = model.listeners.values().any(|listener| listener.forwarded);
        let headers = match also {
            true => "X-Forwarded-For, X-Forwarded-Host, X-Request-Id, Forwarded",
            false => "X-Forwarded-For, X-Forwarded-Host, X-Request-Id",
        };
        all.push(entry(
            Kind::ForwardedHeaders,
            format!("{name}: {headers}"),
            "whole addresses of clients, whatever `privacy` says: endpoints decide by them",
            protection,
            kept,
        ));
    }
    if let Some(sticky) = &upstream.sticky {
        let kept = sticky.max_age.map_or_else(
            || "until the browser closes".to_owned(),
            |age| written_duration(age) + ", by the browser",
        );
        all.push(entry(
            Kind::StickyCookie,
            format!("{name}: cookie {}", sticky.cookie),
            "which endpoint; the same for all clients of it, so it tells nobody apart",
            "HttpOnly, SameSite=Lax, and Secure over TLS",
            kept,
        ));
    }
    if upstream.balance.wants_key() {
        let what = match &upstream.hash_by {
            HashBy::ClientIp => "the client's address",
            _ => "a part of the request",
        };
        let protection = "hashed in memory, never written";
        let kept = "while it is picked";
        all.push(entry(Kind::HashKey, &name, what, protection, kept));
    }
    let original =
        |discovery: &crate::model::Discovery| discovery.source == Source::OriginalDestination;
    if upstream.discovery.as_ref().is_some_and(original) {
        all.push(entry(
            Kind::Destinations,
            &name,
            "addresses that clients were headed to, not who was",
            "in memory only",
            "the last 4096, until the process ends",
        ));
    }
}

/// A route that tells endpoints something about the client by headers of its own.
fn route_headers(route: &crate::model::Route) -> Option<Entry> {
    if !matches!(route.action, Action::Forward(_)) {
        return None;
    }
    let personal = |edit: &HeaderEdit| {
        let tells = |part: &Part| {
            matches!(
                part,
                Part::Var(
                    Var::ClientIp
                        | Var::ClientPort
                        | Var::ClientSubject
                        | Var::ClientCommonName
                        | Var::ClientSan
                        | Var::ClientSha256
                )
            )
        };
        let values = edit.set.iter().chain(&edit.add);
        let told = values.filter(|(_, value)| value.0.iter().any(tells));
        told.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let names: Vec<String> = route
        .filters
        .iter()
        .flat_map(|filter| match filter {
            Filter::RequestHeaders(edit) | Filter::ResponseHeaders(edit) => personal(edit),
            _ => Vec::new(),
        })
        .collect();
    (!names.is_empty()).then(|| {
        entry(
            Kind::RouteHeaders,
            format!("route {}: {}", route.name, names.join(", ")),
            "addresses or certificates of clients",
            "as the route says",
            "by the endpoints",
        )
    })
}
