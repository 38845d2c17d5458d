//! `umay privacy report`: where data about people can be under a configuration.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use umay_core::inventory::{Entry, inventory};

use super::Format;
use super::sources::{Flags, loaded, read};

#[derive(Debug, Subcommand)]
pub(super) enum Privacy {
    /// List every place where data about people can be, with what protects it and how long it is kept
    Report(Report),
}

#[derive(Debug, Args)]
pub(super) struct Report {
    /// Configuration file (TOML); also UMAY_CONFIG
    file: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    flags: Flags,
}

/// Prints it.
pub(super) fn main(command: Privacy) -> anyhow::Result<ExitCode> {
    let Privacy::Report(args) = command;
    let sources = read(args.file, &args.flags)?;
    let Some(loaded) = loaded(&sources) else {
        return Ok(ExitCode::FAILURE);
    };
    let all = inventory(&loaded.model);
    let told = match args.format {
        Format::Text => text(&all),
        Format::Json => {
            let rows: Vec<_> = all.iter().map(json).collect();
            serde_json::to_string_pretty(&rows)? + "\n"
        }
    };
    io::stdout().write_all(told.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn json(entry: &Entry) -> serde_json::Value {
    json!({
        "kind": entry.kind.as_str(),
        "place": entry.place,
        "data": entry.data,
        "protection": entry.protection,
        "kept": entry.kept,
    })
}

fn text(all: &[Entry]) -> String {
    let mut out = String::new();
    for entry in all {
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "{}: {}\n  data        {}\n  protection  {}\n  kept        {}\n",
            entry.kind.as_str(),
            entry.place,
            entry.data,
            entry.protection,
            entry.kept,
        );
    }
    out
}
