//! `umay top`: how a Umay that runs is, live.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::asking::Which;
use super::status::seconds;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Seconds between two readings, from 0.1 on
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
}

/// Shows it, until somebody quits. That Umay does not answer is no error, but part of what is shown.
pub(super) fn main(args: &Arguments) -> anyhow::Result<ExitCode> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        anyhow::bail!("umay top needs a terminal; umay status writes the same as text");
    }
    let place = args.which.place();
    let interval = args.interval.max(Duration::from_millis(100));
    let name = place.name();
    umay_top::live::run(&name, interval, move || place.ask()).context("the terminal")?;
    Ok(ExitCode::SUCCESS)
}
