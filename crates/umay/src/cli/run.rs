//! `umay run`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use umay_core::config::{self, Problem, Purpose, Sources};
use umay_core::model::Model;

use super::sources::{Flags, plan, planned_by, read};
use super::{colour, eprint};
use crate::app::{App, Inherited, Plan, Read, Source};
use crate::telemetry::events;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file (TOML); also UMAY_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// Serves until it is told to end.
pub(super) fn main(args: Arguments) -> anyhow::Result<ExitCode> {
    // Before there is any thread.
    let mut inherited = Inherited::take()?;
    match start(&args, &mut inherited) {
        Ok((app, files)) => {
            let again: Source = Box::new(move |old| read_again(&args, old));
            app.run_from(Some(again), &files)
        }
        Err(Failure::Told(why)) => {
            inherited.fails(&why);
            Ok(ExitCode::FAILURE)
        }
        Err(Failure::Untold(error)) => {
            inherited.fails(&format!("{error:#}"));
            Err(error)
        }
    }
}

/// Why it could not be started.
enum Failure {
    /// As it is on standard error.
    Told(String),
    /// As it has yet to be told.
    Untold(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Untold(error.into())
    }
}

fn start(
    args: &Arguments,
    inherited: &mut Inherited,
) -> Result<(App, Vec<(PathBuf, Purpose)>), Failure> {
    let sources = read(args.config.clone(), &args.flags)?;
    let (loaded, plan) = plan(&sources).map_err(|problems| {
        eprint(&config::render(&problems, &sources, colour()));
        Failure::Told(config::render(&problems, &sources, false))
    })?;
    events::start(&loaded.model.log)?;
    for problem in &loaded.warnings {
        tracing::warn!("{problem}");
    }
    let app = App::start_with(&loaded.model, plan, inherited, |_| Ok(None))?;
    Ok((app, watched(&sources, &loaded.model)))
}

/// The files that are to be read again when they change: the configuration's own and those that it names, but for
/// those that are looked after by discovery.
fn watched(sources: &Sources, model: &Model) -> Vec<(PathBuf, Purpose)> {
    if !model.watch || sources.file.is_none() {
        return Vec::new();
    }
    let all = sources.files().into_iter().chain(config::files(model));
    all.filter(|(_, purpose)| *purpose != Purpose::Endpoints)
        .collect()
}

/// Reads the configuration again, from all its sources, to take the place of what is served.
fn read_again(args: &Arguments, old: &Plan) -> Result<Read, String> {
    let sources = read(args.config.clone(), &args.flags);
    let sources = sources.map_err(|error| format!("{error:#}"))?;
    let told = |problems: &[Problem]| config::render(problems, &sources, false);
    let planned = planned_by(&sources, |model| old.succeed(model));
    let (loaded, plan) = planned.map_err(|problems| told(&problems))?;
    Ok(Read {
        files: watched(&sources, &loaded.model),
        warnings: loaded.warnings.iter().map(Problem::to_string).collect(),
        model: loaded.model,
        plan,
    })
}
