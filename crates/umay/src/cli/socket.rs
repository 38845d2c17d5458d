//! Asking a Umay that runs, through its admin socket; and those commands that only ask.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::admin::{self, Question, Reply};

pub(super) const HELP: &str = "\
Umay has to run with admin.socket = \"PATH\"; whoever may open that file may do this. All of it: docs/admin.md.";

/// Which Umay.
#[derive(Debug, Args)]
pub(super) struct Socket {
    /// The admin socket; also UMAY_ADMIN__SOCKET
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

/// A Umay that runs, in place of a configuration that is read.
#[derive(Debug, Args)]
pub(super) struct Running {
    /// Ask the Umay that runs with this admin socket, not a file
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// The same, with the socket that UMAY_ADMIN__SOCKET names
    #[arg(long)]
    running: bool,
}

impl Running {
    /// True if it is to be asked.
    pub(super) fn is_asked(&self) -> bool {
        self.running || self.socket.is_some()
    }

    /// Asks it.
    pub(super) fn ask(&self, question: &Question) -> anyhow::Result<Value> {
        let reply = ask_at(self.socket.clone(), question)?;
        reply.json().map_err(anyhow::Error::msg)
    }

    /// Asks it for text.
    pub(super) fn ask_text(&self, question: &Question) -> anyhow::Result<String> {
        let reply = ask_at(self.socket.clone(), question)?;
        match reply.ok {
            true => Ok(reply.text),
            false => Err(anyhow::Error::msg(reply.json().err().unwrap_or_default())),
        }
    }
}

impl Socket {
    /// Asks for something. What is not done is an error.
    pub(super) fn ask(&self, question: &Question) -> anyhow::Result<Value> {
        self.reply(question)?.json().map_err(anyhow::Error::msg)
    }

    /// The same with all that is known of the answer.
    pub(super) fn reply(&self, question: &Question) -> anyhow::Result<Reply> {
        ask_at(self.socket.clone(), question)
    }
}

fn ask_at(socket: Option<PathBuf>, question: &Question) -> anyhow::Result<Reply> {
    let told = || env::var_os("UMAY_ADMIN__SOCKET").map(PathBuf::from);
    let socket = socket.or_else(told);
    let socket =
        socket.context("which Umay? give --socket FILE, the admin.socket of its configuration")?;
    admin::ask(&socket, question)
        .with_context(|| format!("cannot ask the Umay at {}", socket.display()))
}

/// `umay reload`, `umay upgrade`: asks for something, and says what came of it.
pub(super) fn tell(socket: &Socket, target: &str) -> anyhow::Result<ExitCode> {
    let answer = socket.ask(&Question::post(target, None))?;
    let done = answer.get("done").and_then(Value::as_str);
    writeln!(io::stdout(), "{}", done.unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}
