//! `umay check`: says everything that is wrong with a configuration, and where.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use umay_core::config::{self, Loaded, Problem, Purpose, Severity, Sources};

use super::sources::{Flags, plan, read};
use super::{Format, certificates, colour, eprint, reach};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file (TOML); also UMAY_CONFIG
    file: Option<PathBuf>,
    /// How problems are told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Also find all endpoints, and connect to each (with TLS, if that is spoken to it)
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Checks it.
pub(super) fn main(args: Arguments) -> anyhow::Result<ExitCode> {
    let sources = read(args.file, &args.flags)?;
    let (problems, loaded) = match plan(&sources) {
        Ok((mut loaded, plan)) => {
            let mut problems = std::mem::take(&mut loaded.warnings);
            problems.extend(certificates::check(&loaded, &plan));
            (problems, Some(loaded))
        }
        Err(problems) => (problems, None),
    };
    let is_error = |problem: &Problem| problem.severity == Severity::Error;
    let is_good = loaded.is_some() && !problems.iter().any(is_error);
    let reached = match loaded.as_ref().filter(|_| args.probe) {
        Some(loaded) => Some(reach::all(&loaded.model, args.format)?),
        None => None,
    };
    let unreached = reached.as_ref().is_some_and(|reached| !reached.is_good());
    let code = match is_good && !unreached {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if args.format == Format::Json {
        let problems = config::to_json(&problems);
        // Without a probe it is the list that it always was.
        let json = match &reached {
            None => problems,
            Some(reached) => {
                serde_json::json!({ "problems": problems, "endpoints": reached.to_json() })
            }
        };
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&json)?)?;
        return Ok(code);
    }
    eprint(&config::render(&problems, &sources, colour()));
    eprint(&told_files(&sources, loaded.as_ref()));
    writeln!(io::stdout(), "{}", verdict(&problems))?;
    if let Some(reached) = &reached {
        write!(io::stdout(), "{}", reached.to_text())?;
    }
    Ok(code)
}

fn verdict(problems: &[Problem]) -> String {
    let is_error = |problem: &&Problem| problem.severity == Severity::Error;
    let errors = problems.iter().filter(is_error).count();
    let warnings = problems.len() - errors;
    match (errors, warnings) {
        (0, 0) => "The configuration is good.".to_owned(),
        (0, warnings) => format!("The configuration can be used; warnings: {warnings}."),
        (errors, _) => {
            format!("The configuration cannot be used; errors: {errors}, warnings: {warnings}.")
        }
    }
}

/// The files that were read, a line for each purpose.
fn told_files(sources: &Sources, loaded: Option<&Loaded>) -> String {
    /// Names in one line.
    const MOST: usize = 20;
    let mut files = sources.files();
    files.extend(
        loaded
            .map(|loaded| config::files(&loaded.model))
            .unwrap_or_default(),
    );
    let mut by_purpose: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, purpose) in files {
        let purpose = match purpose {
            Purpose::Include => continue,
            Purpose::Document => "read, documents",
            Purpose::Value => "read, values",
            Purpose::Certificate => "read, certificates and keys",
            Purpose::Trust => "read, authorities and revocation lists",
            // They are read later, and may come later.
            Purpose::Credential | Purpose::Endpoints => "named, not read",
        };
        let names = by_purpose.entry(purpose).or_default();
        names.push(path.display().to_string());
    }
    let line = |(purpose, names): (&str, Vec<String>)| {
        let more = match names.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names: Vec<_> = names.into_iter().take(MOST).collect();
        format!("{purpose}: {}{more}\n", names.join(", "))
    };
    by_purpose.into_iter().map(line).collect()
}
