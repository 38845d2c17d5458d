//! `umay status`: how a Umay that runs is, on one screen.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, thread};

use clap::Args;
use serde_json::Value;
use umay_top::{Look, Now, Reading, screen};

use super::asking::{Place, Which};
use super::{Format, eprint};

pub(super) const HELP: &str = "\
Ends with 0 if it is ready and nothing is wrong, 1 if something is wrong, 3 if it is not ready (it starts or drains),
4 if it does not answer.

Without --admin and --socket it is UMAY_ADMIN__BIND or UMAY_ADMIN__SOCKET, and else 127.0.0.1:9901. What is told:
docs/status.md.";

/// Columns where there is no terminal.
const PIPED: usize = 160;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Seconds between the two readings that rates are made of; 0 is since the start
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// All rows of all tables, not the first ten
    #[arg(long)]
    all: bool,
    /// A screen for people, or the document for programs (read once)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// From 0 to an hour.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>();
    match seconds {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("write seconds from 0 to 3600, such as 0.5".to_owned()),
    }
}

/// Asks, and prints.
pub(super) fn main(args: &Arguments) -> anyhow::Result<ExitCode> {
    let place = args.which.place();
    let told = match args.format {
        Format::Json => json(&place),
        Format::Text => text(&place, args),
    };
    let (text, code) = match told {
        Ok(told) => told,
        Err(why) => {
            let place = place_name(&place);
            eprint(&format!("error: {place} does not tell how it is: {why}\n"));
            return Ok(ExitCode::from(4));
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Who has read enough, such as `head`, has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::from(code)),
    }
}

fn place_name(place: &Place) -> String {
    format!("the Umay at {}", place.name())
}

fn ask(place: &Place) -> Result<Value, String> {
    place
        .ask()
        .map_err(|why| format!("{why}\n  {}", place.advice()))
}

fn json(place: &Place) -> Result<(String, u8), String> {
    let document = ask(place)?;
    Ok((format!("{document:#}\n"), code(&Reading::new(&document))))
}

fn text(place: &Place, args: &Arguments) -> Result<(String, u8), String> {
    let first = Reading::new(&ask(place)?);
    let now = match args.interval.is_zero() {
        true => Now::since_start(&first),
        false => {
            thread::sleep(args.interval);
            Now::between(&first, &Reading::new(&ask(place)?))
        }
    };
    let terminal = io::stdout().is_terminal();
    let look = Look {
        columns: columns(terminal),
        colour: terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        all: args.all,
    };
    Ok((screen(&now, &place.name(), look), code(&now.reading)))
}

fn code(reading: &Reading) -> u8 {
    match &*reading.stage {
        _ if reading.is_well() => 0,
        "ready" => 1,
        _ => 3,
    }
}

/// What the terminal has, or `COLUMNS` says.
fn columns(terminal: bool) -> usize {
    let told = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let size = size.map(|size| usize::from(size.ws_col));
    let size = size.filter(|columns| terminal && *columns > 0);
    size.or(told).unwrap_or(PIPED).max(40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_seconds() {
        for (text, millis) in [
            ("0", 0),
            ("1", 1000),
            ("0.25", 250),
            ("2s", 2000),
            ("3600", 3_600_000),
        ] {
            assert_eq!(seconds(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "3600.1", "1m", "NaN", "inf"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
