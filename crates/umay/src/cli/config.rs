//! `umay config`: what is in force, and what there can be.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use umay_core::config::{self, Shown};

use super::socket::Running;
use super::sources::{Flags, loaded, read};
use crate::admin::Question;

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Show the effective value of every key; secrets are left out
    Show(Show),
    /// Print the JSON Schema of the document (2020-12), for editors and programs
    Schema,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Configuration file (TOML); also UMAY_CONFIG
    #[arg(conflicts_with_all = ["socket", "running"])]
    file: Option<PathBuf>,
    /// Say where each value came from: a file, the environment, a flag, or the defaults
    #[arg(long)]
    origin: bool,
    /// As a configuration, or for programs
    #[arg(long, value_enum, default_value_t = Language::Toml)]
    format: Language,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// A configuration that does the same
    Toml,
    /// The same as an object; with --origin, a list of keys
    Json,
}

/// Prints it.
pub(super) fn main(command: Config) -> anyhow::Result<ExitCode> {
    match command {
        Config::Schema => print(&pretty(&config::schema())?),
        Config::Show(args) => show(args),
    }
}

fn show(args: Show) -> anyhow::Result<ExitCode> {
    if args.running.is_asked() {
        args.flags.refuse_with("--socket")?;
        let origin = if args.origin { "&origin" } else { "" };
        let target = |format: &str| Question::get(format!("/config?format={format}{origin}"));
        return match args.format {
            Language::Toml => print(&args.running.ask_text(&target("toml"))?),
            Language::Json => print(&pretty(&args.running.ask(&target("json"))?)?),
        };
    }
    let sources = read(args.file, &args.flags)?;
    let Some(loaded) = loaded(&sources) else {
        return Ok(ExitCode::FAILURE);
    };
    let shown = Shown::new(&sources, &loaded.model);
    match args.format {
        Language::Toml => print(&shown.to_toml(args.origin)),
        Language::Json => print(&pretty(&shown.to_json(args.origin))?),
    }
}

fn pretty(json: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(json)? + "\n")
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
