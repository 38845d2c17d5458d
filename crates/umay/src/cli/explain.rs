//! `umay explain`: what would become of a request or a connection, and why. It connects nowhere.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use umay_core::config::Loaded;
use umay_core::message::Fields;
use umay_core::model::{HostPattern, Listener, Model, Protocol};
use umay_core::route::{
    self, ClientCertFacts, Explanation, HttpQuery, Query, Table, has_dot_segments,
};

use super::explained::{Text, destination, settings};
use super::sources::{Flags, loaded, read};
use super::target::Target;
use super::{Format, certificates};
use crate::telemetry::access::rfc3339;
use crate::tls::Choice;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What is asked for: a URL, or a stream: tcp:, tls:NAME, mqtt: or mqtts:NAME, perhaps with :PORT
    target: Target,
    /// Configuration file (TOML); also UMAY_CONFIG
    file: Option<PathBuf>,
    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,
    /// A header of the request, as in "X-Canary: 1" (repeatable)
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The listener, by its name, if several could be meant
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Common name of the client's certificate
    #[arg(long, value_name = "NAME")]
    client_cert_cn: Option<String>,
    /// A subject alternative name of it (repeatable)
    #[arg(long, value_name = "NAME")]
    client_cert_san: Vec<String>,
    /// Its SHA-256
    #[arg(long, value_name = "HEX")]
    client_cert_sha256: Option<String>,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    flags: Flags,
}

/// Explains it.
pub(super) fn main(args: Arguments) -> anyhow::Result<ExitCode> {
    let mut fields = Fields::default();
    for header in &args.headers {
        let (name, value) = header.split_once(':').context("a header is NAME: VALUE")?;
        fields.push(name.trim().as_bytes(), value.trim().as_bytes());
    }
    let shows = args.client_cert_cn.is_some()
        || !args.client_cert_san.is_empty()
        || args.client_cert_sha256.is_some();
    let sha256 = args.client_cert_sha256.as_deref().unwrap_or_default();
    let cert = shows.then(|| ClientCertFacts {
        common_name: args.client_cert_cn.clone(),
        sans: args.client_cert_san.clone(),
        sha256: sha256.replace(':', "").to_ascii_lowercase(),
        subject: String::new(),
    });
    let sources = read(args.file, &args.flags)?;
    let Some(loaded) = loaded(&sources) else {
        return Ok(ExitCode::FAILURE);
    };
    let asked = Asked {
        target: &args.target,
        method: &args.method,
        fields: &fields,
        cert: cert.as_ref(),
    };
    let listeners = listeners(&loaded.model, &args.target, args.listener.as_deref())?;
    let told: Vec<_> = listeners
        .into_iter()
        .map(|listener| asked.explain(&loaded, listener))
        .collect();
    let served = told
        .iter()
        .all(|told| told.get("route").is_some_and(|route| !route.is_null()));
    match args.format {
        Format::Json => writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&told)?)?,
        Format::Text => {
            let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
            for told in &told {
                write!(io::stdout(), "{}", Text { told, colour })?;
            }
        }
    }
    Ok(if served {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The listeners that could be meant: those on the port, or all if no port was written and none is
/// on the usual one, since what is in front of Umay may lead elsewhere.
fn listeners<'m>(
    model: &'m Model,
    target: &Target,
    name: Option<&str>,
) -> anyhow::Result<Vec<&'m Listener>> {
    let all = || model.listeners.values();
    if let Some(name) = name {
        let named = model.listeners.get(name);
        return Ok(vec![
            named.with_context(|| format!("there is no listener `{name}`"))?,
        ]);
    }
    let on = |port: u16| {
        all()
            .filter(|listener| listener.bind.port() == port)
            .collect::<Vec<_>>()
    };
    if let Some(port) = target.port {
        let found = on(port);
        anyhow::ensure!(!found.is_empty(), "no listener is on port {port}");
        return Ok(found);
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
    anyhow::ensure!(!found.is_empty(), "no listener takes TLS");
    Ok(found)
}

/// What is asked for, with all that is known of it.
struct Asked<'a> {
    target: &'a Target,
    method: &'a str,
    fields: &'a Fields,
    cert: Option<&'a ClientCertFacts>,
}

impl Asked<'_> {
    fn explain(&self, loaded: &Loaded, listener: &Listener) -> Value {
        let (target, model) = (self.target, &loaded.model);
        let table = Table::for_listener(model, &listener.name);
        let way = Way::of(target, listener, &table);
        let mut notes = Vec::new();
        let (mut certificate, mut refused) = (Value::Null, false);
        if way == Way::Opened {
            match self.certificate(model, listener) {
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
            if auth.is_some_and(|auth| auth.required) && self.cert.is_none() {
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
        let told = self.told(model, listener, way, is_request, &table);
        let route = told.taken.filter(|_| !refused);
        let route = route.and_then(|idx| model.routes.get(idx));
        if told.taken.is_none() && !refused {
            notes.push(match is_request {
                true => "no route takes it: it is answered with 404".to_owned(),
                false => "no route takes it: the connection is closed".to_owned(),
            });
        }
        let place = route.and_then(|route| loaded.routes.get(&route.name));
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
            "to": route.map(|route| destination(model, route)),
            "others": others(model, &told),
            "notes": notes,
        })
    }

    /// Asks the routes of a listener.
    fn told(
        &self,
        model: &Model,
        listener: &Listener,
        way: Way,
        is_request: bool,
        table: &Table,
    ) -> Explanation {
        let target = self.target;
        let sni = target.sni();
        let request = HttpQuery {
            host: target.name.as_bytes(),
            path: target.path.as_bytes(),
            method: self.method.as_bytes(),
            fields: self.fields,
            sni,
            client_cert: self.cert,
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
                client_cert: self.cert,
            },
        };
        route::explain(model, &listener.name, query)
    }

    /// The certificate that the client gets, or why that is not known.
    fn certificate(&self, model: &Model, listener: &Listener) -> Result<Value, Untold> {
        let Some(tls) = certificates::load(model, listener) else {
            return Ok(Value::Null);
        };
        let tls = tls.map_err(|problems| {
            let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Untold::Unreadable(format!(
                "its certificates cannot be read: {}",
                told.join("; ")
            ))
        })?;
        match tls.choose(self.target.sni(), &[]) {
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

/// A host pattern as it is written.
pub(super) fn pattern(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(parent) => format!("*.{parent}"),
    }
}
