//! `umay check --probe`: finds the endpoints of all upstreams, and connects to each.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use umay_core::config;
use umay_core::model::{Model, Probe, ProbeKind, Scheme, Source, Upstream};

use super::{Format, eprint};
use crate::discover::{self, Found, Resolver, State};
use crate::probe;
use crate::telemetry::metrics::Registry;
use crate::tls::ClientTls;

/// How long endpoints are looked for. What a registry has not told by then counts as not found.
const FINDING: Duration = Duration::from_secs(10);

/// Connections that are opened at a time.
const AT_A_TIME: usize = 64;

/// What came of all endpoints.
#[derive(Debug, Default)]
pub(super) struct Reached {
    rows: Vec<Row>,
}

/// What came of an endpoint, or of looking for endpoints.
#[derive(Debug)]
struct Row {
    upstream: String,
    /// The endpoint as it is written, and where it is.
    endpoint: Option<(String, String)>,
    came: Result<&'static str, String>,
}

impl Reached {
    /// True if every endpoint was reached.
    pub(super) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.came.is_ok())
    }

    pub(super) fn to_json(&self) -> Value {
        let one = |row: &Row| {
            let (endpoint, address) = row.endpoint.clone().unzip();
            json!({
                "upstream": row.upstream,
                "endpoint": endpoint,
                "address": address,
                "ok": row.came.is_ok(),
                "what": row.came.clone().map_or_else(|why| why, str::to_owned),
            })
        };
        self.rows.iter().map(one).collect()
    }

    pub(super) fn to_text(&self) -> String {
        let one = |row: &Row| {
            let (mark, what) = match &row.came {
                Ok(what) => ("ok  ", (*what).to_owned()),
                Err(why) => ("FAIL", why.clone()),
            };
            let whom = match &row.endpoint {
                Some((name, address)) if name.ends_with(address.as_str()) => format!(" {name}"),
                Some((name, address)) => format!(" {name} ({address})"),
                None => String::new(),
            };
            format!("{mark} {}{whom}: {what}\n", row.upstream)
        };
        let failed = self.rows.iter().filter(|row| row.came.is_err()).count();
        let count = self.rows.len();
        let verdict = match failed {
            0 => format!("All that was asked has answered: {count}.\n"),
            _ => format!("Not reached: {failed} of {count}.\n"),
        };
        self.rows.iter().map(one).chain([verdict]).collect()
    }
}

/// Asks all endpoints of a model.
pub(super) fn all(model: &Model, format: Format) -> anyhow::Result<Reached> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let progress = format == Format::Text && io::stderr().is_terminal();
    Ok(runtime.block_on(ask_all(model, progress)))
}

async fn ask_all(model: &Model, progress: bool) -> Reached {
    let resolver = Resolver::new(&model.dns);
    let registry = Registry::new(1);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut tasks = JoinSet::new();
    for (at, upstream) in model.upstreams.values().enumerate() {
        let upstream = Arc::new(upstream.clone());
        let metrics = registry.discovery(&upstream.name);
        let (resolver, places) = (Arc::clone(&resolver), Arc::clone(&places));
        let limit = model.timeouts.connect;
        tasks.spawn(async move {
            let (tell, mut told) = watch::channel(State::unasked(&upstream));
            let finding = discover::run(Arc::clone(&upstream), resolver, metrics, tell);
            let settled = timeout(FINDING, told.wait_for(|state| state.settled));
            let state = tokio::select! {
                () = finding => None,
                state = settled => state.ok().and_then(Result::ok).map(|state| state.clone()),
            };
            (at, of_upstream(&upstream, state, limit, &places).await)
        });
    }
    let (mut found, mut count) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let Ok((at, rows)) = done else { continue };
        count += rows.len();
        found.push((at, rows));
        if progress {
            eprint(&format!("\rasked: {count} "));
        }
    }
    if progress {
        eprint("\r\u{1b}[K");
    }
    found.sort_by_key(|(at, _)| *at);
    let rows = found.into_iter().flat_map(|(_, rows)| rows);
    Reached {
        rows: rows.collect(),
    }
}

async fn of_upstream(
    upstream: &Arc<Upstream>,
    state: Option<State>,
    limit: Duration,
    places: &Arc<Semaphore>,
) -> Vec<Row> {
    let row = |came| Row {
        upstream: upstream.name.clone(),
        endpoint: None,
        came,
    };
    let source = upstream
        .discovery
        .as_ref()
        .map(|discovery| &discovery.source);
    if source == Some(&Source::OriginalDestination) {
        return vec![row(Ok(
            "goes to where clients were headed; there is nothing to ask",
        ))];
    }
    let Some(state) = state else {
        let what = format!("its endpoints were not found in {FINDING:?}");
        return vec![row(Err(what))];
    };
    let mut rows = Vec::new();
    rows.extend(state.error.clone().map(|why| row(Err(why))));
    if state.found.is_empty() && rows.is_empty() {
        rows.push(row(Err("it has no endpoints".to_owned())));
    }
    let tls = ClientTls::load(&upstream.tls).ok().map(Arc::new);
    let mut tasks = JoinSet::new();
    for (at, found) in state.found.iter().cloned().enumerate() {
        let (places, tls) = (Arc::clone(places), tls.clone());
        tasks.spawn(async move {
            let _place = places.acquire_owned().await;
            let came = ask(&found, limit, tls.as_deref()).await;
            (at, found, came)
        });
    }
    let mut asked = tasks.join_all().await;
    asked.sort_by_key(|(at, ..)| *at);
    for (_, found, came) in asked {
        let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
        rows.push(Row {
            endpoint: Some((config::written(&found.endpoint), addresses.join(", "))),
            ..row(came)
        });
    }
    rows
}

/// Connects to an endpoint as requests would.
async fn ask(
    found: &Found,
    limit: Duration,
    tls: Option<&ClientTls>,
) -> Result<&'static str, String> {
    let is_tls = found.endpoint.scheme.is_tls();
    let kind = if is_tls {
        ProbeKind::Tls
    } else {
        ProbeKind::Tcp
    };
    let mut probe = Probe::new(kind);
    // Each of the two has its own deadline on the way of a request.
    probe.timeout = if is_tls { limit * 2 } else { limit };
    probe::ask(&probe, &found.endpoint, &found.addresses, tls).await?;
    Ok(match found.endpoint.scheme {
        Scheme::Https | Scheme::H2 | Scheme::Tls => "connected, TLS verified",
        _ => "connected",
    })
}
