//! The configuration document: from file, environment and flags to a [`Model`].
//!
//! All sources are laid over each other into one tree in which every value knows where it was
//! written ([`tree`]); the tree is read key by key ([`section`]), and what nobody has asked for is
//! an unknown key. A problem never ends the reading, so all of them are told at once.

mod check;
mod collector;
mod discover;
mod effective;
mod endpoints;
mod filters;
mod healing;
mod hints;
mod include;
mod keys;
mod listeners;
mod log;
mod metrics;
mod named;
mod otel;
mod picking;
mod probe;
mod problem;
mod routes;
mod scalar;
mod schema;
mod secret;
mod section;
mod settings;
mod show;
mod tls;
mod tracing;
mod tree;
mod upstreams;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

pub use effective::written_duration;
pub use endpoints::{MOST_WEIGHT, endpoint, endpoint_with, written};
pub use include::{Included, LARGEST_DOCUMENT, LARGEST_VALUE, MOST_DOCUMENTS, Reference, Values};
pub use keys::{KEYS, Key, reference_markdown};
pub use log::written_syslog;
pub use named::{Purpose, files};
pub use problem::{Place, Problem, Severity, render, to_json};
pub use schema::schema;
pub use show::Shown;

use crate::model::{Model, Name};
use section::{Reader, Section};

/// Whether text is a filter of the event log, as `log.level` takes it: a level, or such as `info,umay=debug`. The error is a
/// sentence for people.
pub fn log_filter(text: &str) -> Result<(), String> {
    scalar::filter(text)
}

/// A time as keys take it, such as `300ms`, `15s` or `2m`. The error is a sentence for people.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    scalar::duration(text)
}

/// Where a configuration comes from. Later ones win: file, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's path, as people name it, and its text (TOML).
    pub file: Option<(PathBuf, String)>,
    /// What `include` led to, see [`Sources::complete`].
    pub included: Vec<Included>,
    /// Values that the document only refers to, see [`Sources::complete`].
    pub values: Values,
    /// Environment variables; those that begin neither with `UMAY_` nor with `OTEL_` are ignored, and
    /// so is `UMAY_CONFIG`, which names the file.
    pub env: Vec<(String, String)>,
    /// Flags: the key's path, the value, and the flag as it was typed.
    pub flags: Vec<(String, String, String)>,
}

/// A configuration that can be built from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub model: Model,
    /// What is questionable but no error.
    pub warnings: Vec<Problem>,
    /// Where each file that the model names was named, so that what is wrong inside it can be told
    /// with the place.
    pub files: HashMap<PathBuf, Place>,
    /// Where each route stands, by its name.
    pub routes: BTreeMap<Name, Place>,
}

/// Reads a configuration. Fails with all that is wrong, warnings included, in the order of the
/// document.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<Problem>> {
    let (root, mut problems) = tree::build(sources);
    let mut reader = Reader::new(sources);
    let model = document(&mut reader, &root);
    let (files, routes) = (reader.files, reader.places.routes);
    let mut read = reader.problems;
    hints::beside(sources, &problems, &mut read);
    hints::examples(&root, &mut read);
    problems.extend(read);
    problems.sort_by_cached_key(|problem| problem.order(sources));
    // A variable of OpenTelemetry is read for each signal, and told of once.
    let mut told = Vec::new();
    problems.retain(|problem| {
        let again = told.contains(problem);
        if matches!(problem.place, Place::Env(_)) && !again {
            told.push(problem.clone());
        }
        !again
    });
    let has_errors = problems.iter().any(|p| p.severity == Severity::Error);
    match model {
        Some(model) if !has_errors => Ok(Loaded {
            model,
            warnings: problems,
            files,
            routes,
        }),
        _ => Err(problems),
    }
}

fn document(reader: &mut Reader, root: &tree::Node) -> Option<Model> {
    let mut top = Section::root(root)?;
    if let Some(node) = top.take("include") {
        include::check(reader, node);
    }
    let workers = top.take("workers").and_then(|node| {
        let count = reader.number(node, 1, 1024)?;
        usize::try_from(count).ok()
    });
    let watch = top.take("watch").and_then(|node| reader.bool(node));
    let (admin, admin_socket) = admin(reader, &mut top);
    let mut log = log::log(reader, &mut top);
    let privacy = log::privacy(reader, &mut top);
    log::together(reader, &top, &mut log, &privacy);
    let tracing = tracing::read(reader, &mut top);
    let push = metrics::read(reader, &mut top, tracing.as_ref());
    let timeouts = settings::timeouts(reader, &mut top);
    let limits = settings::limits(reader, &mut top);
    let http2 = settings::http2(reader, &mut top);
    let dns = settings::dns(reader, &mut top);
    let zone = top.take("zone");
    reader.places.own_zone = zone.map(|node| node.place.clone());
    let zone = zone.and_then(|node| reader.name(node));
    let listeners = listeners::read(reader, &mut top);
    let mut upstreams = upstreams::read(reader, &mut top);
    let routes = routes::read(reader, &mut top, &listeners, &mut upstreams);
    top.finish(reader);
    let model = Model {
        workers,
        watch: watch.unwrap_or(true),
        admin,
        admin_socket,
        log,
        privacy,
        tracing,
        push,
        timeouts,
        limits,
        http2,
        dns,
        zone,
        listeners,
        routes,
        upstreams,
    };
    check::check(reader, &model);
    Some(model)
}

fn admin(
    reader: &mut Reader,
    top: &mut Section<'_>,
) -> (Option<std::net::SocketAddr>, Option<PathBuf>) {
    let default = scalar::address("127.0.0.1:9901").ok();
    let Some(mut section) = top.section(reader, "admin") else {
        return (default, None);
    };
    let bind = match section.take("bind") {
        None => default,
        Some(node) => match reader.text(node) {
            Some("off") => None,
            Some(text) => reader.ok(node, scalar::address(text)),
            None => None,
        },
    };
    let socket = section.take("socket").and_then(|node| socket(reader, node));
    section.finish(reader);
    (bind, socket)
}

/// Bytes that the path of a unix socket can have: `sun_path` of Linux, without its final zero.
const SOCKET_PATH: usize = 107;

fn socket(reader: &mut Reader, node: &tree::Node) -> Option<PathBuf> {
    if reader.text(node)? == "off" {
        return None;
    }
    let path = reader.path(node)?;
    let length = path.as_os_str().len();
    if length > SOCKET_PATH {
        let message = format!(
            "the path of this socket has {length} bytes, and no socket can have more than {SOCKET_PATH}"
        );
        reader.error(
            node,
            message,
            "put it nearer to the root, as in \"/run/umay.sock\"",
        );
    }
    Some(path)
}
