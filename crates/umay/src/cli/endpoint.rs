//! `umay endpoint`: the endpoints of a Umay that runs.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use umay_core::config::MOST_WEIGHT;

use super::Format;
use super::socket::Socket;
use crate::admin::{self, Question};

#[derive(Debug, Subcommand)]
pub(super) enum Endpoint {
    /// Show all endpoints as they are, or those of an upstream
    List(List),
    /// Give it no new requests; what is in flight goes on
    Drain(Which),
    /// Give it requests again
    Undrain(Which),
    /// Change its share beside the others', until it is told to be as configured again
    Weight(Weight),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The upstream's name
    upstream: Option<String>,
    /// As a table, or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// The upstream's name, as `umay endpoint list` tells it
    upstream: String,
    /// The endpoint's address, likewise
    endpoint: String,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Args)]
pub(super) struct Weight {
    /// The upstream's name, as `umay endpoint list` tells it
    upstream: String,
    /// The endpoint's address, likewise
    endpoint: String,
    /// 1 to 1000; 0 for no new requests; or `default` for what the configuration or registry says
    #[arg(value_parser = weight)]
    weight: Share,
    #[command(flatten)]
    socket: Socket,
}

/// A weight; `None` is the configured one.
#[derive(Clone, Copy, Debug)]
struct Share(Option<u32>);

fn weight(text: &str) -> Result<Share, String> {
    if matches!(text, "default" | "reset") {
        return Ok(Share(None));
    }
    let weight = text.parse().ok().filter(|weight| *weight <= MOST_WEIGHT);
    let weight = weight
        .ok_or_else(|| format!("a weight is a whole number from 0 to {MOST_WEIGHT}, or `default`"));
    weight.map(|weight| Share(Some(weight)))
}

/// Asks it.
pub(super) fn main(command: &Endpoint) -> anyhow::Result<ExitCode> {
    match command {
        Endpoint::List(which) => list(which),
        Endpoint::Drain(which) => drain(which, true),
        Endpoint::Undrain(which) => drain(which, false),
        Endpoint::Weight(which) => reweigh(which),
    }
}

/// Asks a running Umay to drain an endpoint, or to end that.
fn drain(which: &Which, drain: bool) -> anyhow::Result<ExitCode> {
    let (upstream, endpoint) = (&which.upstream, &which.endpoint);
    let action = if drain { "drain" } else { "undrain" };
    let target = admin::endpoint_target(upstream, endpoint, action);
    let answer = which.socket.ask(&Question::post(target, None))?;
    let weight = number(&answer, "weight");
    let text = match (drain, number(&answer, "in_flight")) {
        (true, 0) => format!("{endpoint} gets no new requests, and nothing is in flight."),
        (true, count) => format!("{endpoint} gets no new requests; in flight: {count}."),
        (false, _) if weight == 0 => format!("{endpoint} is in use again, but has weight 0."),
        (false, _) => format!("{endpoint} gets requests again."),
    };
    said(&answer, &text)
}

/// Asks it to give an endpoint another weight.
fn reweigh(which: &Weight) -> anyhow::Result<ExitCode> {
    let (upstream, endpoint) = (&which.upstream, &which.endpoint);
    let target = admin::endpoint_target(upstream, endpoint, "weight");
    let body = admin::weight(which.weight.0);
    let answer = which.socket.ask(&Question::post(target, Some(body)))?;
    let (weight, configured) = (
        number(&answer, "weight"),
        answer.get("configured_weight").and_then(Value::as_u64),
    );
    let text = match (which.weight.0, configured) {
        (None, Some(weight)) => format!("{endpoint} has weight {weight}, as configured."),
        (None, None) => format!("{endpoint} has the configured weight when it is back."),
        (Some(0), _) => {
            let count = number(&answer, "in_flight");
            format!("{endpoint} has weight 0: it gets no new requests; in flight: {count}.")
        }
        (Some(_), Some(configured)) => {
            format!("{endpoint} has weight {weight}; configured is {configured}.")
        }
        (Some(_), None) => format!("{endpoint} has weight {weight} when it is back."),
    };
    said(&answer, &text)
}

/// Prints what came of it, and what is to be thought of.
fn said(answer: &Value, text: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stdout(), "{text}")?;
    if let Some(warning) = answer.get("warning").and_then(Value::as_str) {
        super::eprint(&format!("warning: {warning}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(which: &List) -> anyhow::Result<ExitCode> {
    let target = match &which.upstream {
        Some(upstream) => admin::upstream_target(upstream),
        None => "/upstreams".to_owned(),
    };
    let answer = which.socket.ask(&Question::get(target))?;
    let upstreams = match answer {
        Value::Array(all) => all,
        one => vec![one],
    };
    let text = match which.format {
        Format::Json => serde_json::to_string_pretty(&upstreams)? + "\n",
        Format::Text => table(&upstreams),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

const HEAD: [&str; 7] = [
    "UPSTREAM",
    "ENDPOINT",
    "STANDING",
    "WEIGHT",
    "IN FLIGHT",
    "LATENCY",
    "WHY",
];

/// Endpoints in lines of even columns.
fn table(upstreams: &[Value]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    for upstream in upstreams {
        let endpoints = upstream.get("endpoints").and_then(Value::as_array);
        let row = |endpoint| row(text(upstream, "name"), endpoint);
        rows.extend(endpoints.into_iter().flatten().map(row));
    }
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.into_iter().zip(row) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn row(upstream: &str, endpoint: &Value) -> [String; HEAD.len()] {
    let (weight, configured) = (
        number(endpoint, "weight"),
        number(endpoint, "configured_weight"),
    );
    let weight = match weight == configured {
        true => weight.to_string(),
        false => format!("{weight} (not {configured})"),
    };
    let latency = endpoint.get("latency_ms").and_then(Value::as_f64);
    [
        upstream.to_owned(),
        text(endpoint, "address").to_owned(),
        text(endpoint, "standing").to_owned(),
        weight,
        number(endpoint, "in_flight").to_string(),
        latency.map_or_else(|| "-".to_owned(), |latency| format!("{latency} ms")),
        text(endpoint, "why").to_owned(),
    ]
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}
