//! The event log: what happens to the process, as opposed to single requests. On standard error.

mod form;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

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
    let json = Arc::new(AtomicBool::new(log.events == EventFormat::Json));
    let events = tracing_subscriber::fmt()
        .with_ansi(terminal && !plain)
        .event_format(Form {
            json: Arc::clone(&json),
            target: !terminal,
        })
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_filter_reloading();
    let handle = events.reload_handle();
    events.finish().try_init()?;
    let filter_by = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // There is one event log, so this is the first.
    let _ = SET.set(Set {
        json,
        filter: Box::new(filter_by),
    });
    filter.clone_into(&mut lock().configured);
    Ok(())
}

/// What changes while the event log is written.
struct Set {
    /// Whether events are written as JSON.
    json: Arc<AtomicBool>,
    /// Takes another filter.
    filter: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

/// The event log that there is, once there is one.
static SET: OnceLock<Set> = OnceLock::new();

/// What is set. There is one event log, so there is one of this.
static LEVEL: Mutex<Level> = Mutex::new(Level {
    configured: String::new(),
    by_hand: None,
    turn: 0,
});

/// What passes into the event log whatever somebody has set by hand: what else they do by hand.
const ALWAYS: &str = "umay::admin=info";

/// What of the event log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// What the configuration says (`log.level`).
    pub configured: String,
    /// What somebody has set in its place.
    pub by_hand: Option<LevelByHand>,
    /// Goes up with each change, so that who undoes one later does not undo another.
    turn: u64,
}

/// A filter of the event log that somebody has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelByHand {
    /// The filter.
    pub filter: String,
    /// When it was set, in seconds since 1970.
    pub since: u64,
    /// When the configured one is back, in seconds since 1970; `None` if nobody has said so.
    pub until: Option<u64>,
    /// The user who did; `None` if the kernel did not say.
    pub uid: Option<u32>,
}

impl Level {
    /// The filter in force.
    pub fn filter(&self) -> &str {
        let by_hand = self.by_hand.as_ref();
        by_hand.map_or(&self.configured, |by_hand| &by_hand.filter)
    }
}

/// What of the event log is written now.
pub fn level() -> Level {
    lock().clone()
}

/// Writes events as it is configured from the next one on.
pub fn set_form(events: EventFormat) {
    if let Some(set) = SET.get() {
        set.json
            .store(events == EventFormat::Json, Ordering::Relaxed);
    }
}

/// Lets what is configured pass from now on. If that is what was configured before, what somebody has set in its place
/// stays. An error says what is wrong with the filter.
pub fn set_level(filter: &str) -> Result<(), String> {
    let mut level = lock();
    if level.configured == filter {
        return Ok(());
    }
    apply(parse(filter)?)?;
    filter.clone_into(&mut level.configured);
    level.by_hand = None;
    level.turn += 1;
    Ok(())
}

/// Lets other events pass in place of those that are configured, until [`back`] is called with the number that this
/// gives. An error says what is wrong with the filter.
pub fn set_by_hand(by_hand: LevelByHand) -> Result<u64, String> {
    let filter = parse(&by_hand.filter)?;
    let always = ALWAYS
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    let mut level = lock();
    apply(filter.add_directive(always))?;
    level.by_hand = Some(by_hand);
    level.turn += 1;
    Ok(level.turn)
}

/// Lets what is configured pass again. With a number, only if nothing has changed since that was given. True if something
/// was set by hand.
pub fn back(turn: Option<u64>) -> Result<bool, String> {
    let mut level = lock();
    if level.by_hand.is_none() || turn.is_some_and(|turn| turn != level.turn) {
        return Ok(false);
    }
    apply(parse(&level.configured)?)?;
    level.by_hand = None;
    level.turn += 1;
    Ok(true)
}

fn lock() -> MutexGuard<'static, Level> {
    LEVEL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| error.to_string())
}

fn apply(filter: EnvFilter) -> Result<(), String> {
    SET.get().map_or(Ok(()), |set| (set.filter)(filter))
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
        by_hand_and_back();
    }

    fn by_hand(filter: &str) -> LevelByHand {
        LevelByHand {
            filter: filter.to_owned(),
            since: 1,
            until: None,
            uid: Some(0),
        }
    }

    /// There is one event log in a process, so this is no test of its own.
    fn by_hand_and_back() {
        assert_eq!(level().filter(), "info");
        assert!(set_by_hand(by_hand("umay=loud")).is_err());
        assert_eq!(level().filter(), "info");
        let first = set_by_hand(by_hand("debug")).unwrap();
        assert_eq!((level().filter(), &*level().configured), ("debug", "info"));
        let second = set_by_hand(by_hand("off")).unwrap();
        assert_eq!(back(Some(first)), Ok(false), "it is another one's now");
        assert_eq!(level().filter(), "off");
        assert!(tracing::enabled!(target: "umay::admin::requests", tracing::Level::INFO));
        assert!(!tracing::enabled!(target: "umay::app", tracing::Level::ERROR));
        assert_eq!(back(Some(second)), Ok(true));
        assert_eq!((level().filter(), back(None)), ("info", Ok(false)));
        // A reload that says the same leaves it, one that says something else does not.
        set_by_hand(by_hand("trace")).unwrap();
        set_level("info").unwrap();
        assert_eq!(level().filter(), "trace");
        set_level("warn").unwrap();
        assert_eq!(level().filter(), "warn");
        assert!(set_level("a=b=c=loud").is_err());
        assert_eq!(level().filter(), "warn");
        set_level("info").unwrap();
    }
}
