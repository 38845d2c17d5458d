//! `umay endpoint`: what is asked of a Umay that runs.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::socket::{Socket, ask};
use crate::admin;

#[derive(Debug, Subcommand)]
pub(super) enum Endpoint {
    /// Give it no new requests; what is in flight goes on
    Drain(Which),
    /// Give it requests again
    Undrain(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// The upstream's name, as in /status
    upstream: String,
    /// The endpoint's address, as in /status
    endpoint: String,
    #[command(flatten)]
    socket: Socket,
}

/// Asks it.
pub(super) fn main(command: &Endpoint) -> anyhow::Result<ExitCode> {
    match command {
        Endpoint::Drain(which) => drain(which, true),
        Endpoint::Undrain(which) => drain(which, false),
    }
}

/// Asks a running Umay to drain an endpoint, or to end that.
fn drain(which: &Which, drain: bool) -> anyhow::Result<ExitCode> {
    let (upstream, endpoint) = (&which.upstream, &which.endpoint);
    let action = if drain { "drain" } else { "undrain" };
    let answer = ask(&which.socket, &admin::target(upstream, endpoint, action))?;
    let in_flight = answer.get("in_flight").and_then(serde_json::Value::as_u64);
    let text = match (drain, in_flight.unwrap_or(0)) {
        (true, 0) => format!("{endpoint} gets no new requests, and nothing is in flight."),
        (true, count) => format!("{endpoint} gets no new requests; in flight: {count}."),
        (false, _) => format!("{endpoint} gets requests again."),
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
