//! `umay log`: what of its event log a Umay that runs writes.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::socket::Socket;
use crate::admin::{self, Question};

#[derive(Debug, Subcommand)]
pub(super) enum Log {
    /// Tell the level, or set it until `umay log level default`, a reload that changes log.level, or the next start
    Level(Level),
}

#[derive(Debug, Args)]
pub(super) struct Level {
    /// As log.level takes it, such as info,umay::http=debug; or `default` for the configured one
    level: Option<String>,
    /// After this time the configured one is back: 30s, 10m, up to 24h
    #[arg(long = "for", value_name = "TIME", requires = "level")]
    time: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// Asks it.
pub(super) fn main(command: &Log) -> anyhow::Result<ExitCode> {
    let Log::Level(asked) = command;
    let question = match asked.level.as_deref() {
        None => Question::get("/log/level"),
        Some(level) => {
            let level = (!matches!(level, "default" | "reset")).then_some(level);
            let body = admin::level(level, asked.time.as_deref());
            Question::post("/log/level", Some(body))
        }
    };
    let answer = asked.socket.ask(&question)?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let (level, configured) = (text("level"), text("configured"));
    let (level, configured) = (level.unwrap_or_default(), configured.unwrap_or_default());
    let by_hand = answer.get("by_hand").and_then(Value::as_bool);
    let told = match (by_hand.unwrap_or_default(), text("until")) {
        (false, _) => format!("{level}, as configured"),
        (true, None) => format!("{level}, set by hand; configured is {configured}"),
        (true, Some(until)) => format!("{level}, set by hand until {until}; then {configured}"),
    };
    writeln!(io::stdout(), "{told}")?;
    Ok(ExitCode::SUCCESS)
}
