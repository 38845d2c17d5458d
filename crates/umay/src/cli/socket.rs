//! Asking a Umay that runs, through its admin socket; and those commands that only ask.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::admin;

pub(super) const HELP: &str = "\
Umay has to run with admin.socket = \"PATH\"; whoever may open that file may do this.";

/// Which Umay.
#[derive(Debug, Args)]
pub(super) struct Socket {
    /// The admin socket; also UMAY_ADMIN__SOCKET
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

/// Asks for something. What is not done is an error.
pub(super) fn ask(socket: &Socket, target: &str) -> anyhow::Result<Value> {
    let told = || env::var_os("UMAY_ADMIN__SOCKET").map(PathBuf::from);
    let socket = socket.socket.clone().or_else(told);
    let socket =
        socket.context("which Umay? give --socket FILE, the admin.socket of its configuration")?;
    let answer = admin::ask(&socket, target)
        .with_context(|| format!("cannot ask the Umay at {}", socket.display()))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => anyhow::bail!("{error}"),
        None => Ok(answer),
    }
}

/// `umay reload`, `umay upgrade`: asks for something, and says what came of it.
pub(super) fn tell(socket: &Socket, target: &str) -> anyhow::Result<ExitCode> {
    let answer = ask(socket, target)?;
    let done = answer.get("done").and_then(Value::as_str);
    writeln!(io::stdout(), "{}", done.unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}
