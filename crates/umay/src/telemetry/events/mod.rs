//! The event log: what happens to the process, as opposed to single requests. On standard error.

mod form;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use umay_core::model::{EventFormat, Log};

use form::Form;

/// Why the event log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// `log.level` is not a filter.
    #[error("log.level `{filter}` is not a filter (try `info`, or `info,umay=debug`): {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process has an event log already.
    #[error("the event log is set up already")]
    Twice(#[from] TryInitError),
}

/// Sends events that pass `log.level` (`tracing`'s syntax, such as `info` or `info,umay=debug`) to standard error,
/// for the life of the process: as JSON, or one line each for people. On a terminal those are coloured unless
/// `NO_COLOR` is set, and without the name of the module.
pub fn start(log: &Log) -> Result<(), EventsError> {
    let filter = &log.level;
    let parsed = EnvFilter::try_new(filter).map_err(|source| EventsError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let terminal = std::io::stderr().is_terminal();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let events = tracing_subscriber::fmt()
        .with_ansi(terminal && !plain)
        .event_format(Form {
            json: log.events == EventFormat::Json,
            target: !terminal,
        })
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_filter_reloading();
    let handle = events.reload_handle();
    events.finish().try_init()?;
    let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // There is one event log, so this is the first.
    let _ = SET.set(Box::new(set));
    Ok(())
}

type Set = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Changes the filter of the event log.
static SET: OnceLock<Set> = OnceLock::new();

/// Lets other events pass from now on. An error says what is wrong with the filter.
pub fn set_level(filter: &str) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    SET.get().map_or(Ok(()), |set| set(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong() {
        let at = |level: &str| {
            start(&Log {
                level: level.to_owned(),
                ..Log::default()
            })
        };
        let error = at("umay=loud").unwrap_err().to_string();
        assert!(
            error.contains("umay=loud") && error.contains("try"),
            "{error}"
        );
        at("info").unwrap();
        assert!(matches!(at("info"), Err(EventsError::Twice(_))));
    }
}
