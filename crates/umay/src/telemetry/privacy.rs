//! How addresses of clients are shown, in whatever Umay tells: the access log, events, traces.
//!
//! There is one way for the whole process, and one key for hashes, which outlives reloads. Whoever tells an
//! address now and then uses [`shown`]; a worker's end of the access log has an [`Addresses`] of its own, which
//! asks for the key once a day.

use std::fmt;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use umay_core::headers::IpText;
use umay_core::model::{self, Privacy};
use umay_core::privacy::{Key, Keyring, day_of, hashed, truncated};

const WHOLE: u8 = 0;
const TRUNCATE: u8 = 1;
const HASH: u8 = 2;

/// As the configuration says.
static SHOWN: AtomicU8 = AtomicU8::new(WHOLE);
/// Values of queries, and these headers, are left out of what is not the access log.
static QUERIES: AtomicBool = AtomicBool::new(false);
static USER_AGENT: AtomicBool = AtomicBool::new(false);
static TRACE_STATE: AtomicBool = AtomicBool::new(false);
static RING: Mutex<Option<Keyring>> = Mutex::new(None);

/// Shows addresses as this says from now on.
pub fn set(privacy: &Privacy) {
    let way = match privacy.shown() {
        model::Addresses::Whole => WHOLE,
        model::Addresses::Truncate => TRUNCATE,
        model::Addresses::Hash => HASH,
    };
    SHOWN.store(way, Relaxed);
    QUERIES.store(privacy.gdpr, Relaxed);
    USER_AGENT.store(privacy.hides("user-agent"), Relaxed);
    TRACE_STATE.store(privacy.hides("tracestate"), Relaxed);
}

/// True if addresses are told as they are, and with their ports.
pub(super) fn shows_whole() -> bool {
    SHOWN.load(Relaxed) == WHOLE
}

/// True if values of queries are left out.
pub(super) fn hides_queries() -> bool {
    QUERIES.load(Relaxed)
}

/// True if the user agent is left out.
pub(super) fn hides_user_agent() -> bool {
    USER_AGENT.load(Relaxed)
}

/// True if `tracestate` is left out.
pub(super) fn hides_trace_state() -> bool {
    TRACE_STATE.load(Relaxed)
}

/// A client's address as it may be told.
pub fn shown(ip: IpAddr) -> impl fmt::Display {
    let way = match SHOWN.load(Relaxed) {
        TRUNCATE => model::Addresses::Truncate,
        HASH => model::Addresses::Hash,
        _ => model::Addresses::Whole,
    };
    let mut addresses = Addresses::new(way);
    addresses.renew(SystemTime::now());
    Shown(addresses.text(ip))
}

struct Shown(IpText);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

/// How one thread shows addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    way: model::Addresses,
    /// The day's key, and the day.
    key: Option<(u64, Key)>,
}

impl Addresses {
    pub(super) fn new(way: model::Addresses) -> Self {
        Self { way, key: None }
    }

    /// True if they are shown as they are.
    pub(super) fn are_whole(&self) -> bool {
        self.way == model::Addresses::Whole
    }

    /// Takes over the key of this moment, if one is needed.
    #[inline]
    pub(super) fn renew(&mut self, now: SystemTime) {
        if self.way == model::Addresses::Hash {
            self.renew_key(now);
        }
    }

    fn renew_key(&mut self, now: SystemTime) {
        let day = day_of(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        if self.key.is_none_or(|(of, _)| of != day) {
            self.key = key_of(day).map(|key| (day, key));
        }
    }

    /// An address as it is shown.
    pub(super) fn text(&self, ip: IpAddr) -> IpText {
        match (self.way, self.key) {
            (model::Addresses::Whole, _) => IpText::of(ip.to_canonical()),
            (model::Addresses::Truncate, _) => IpText::of(truncated(ip)),
            (model::Addresses::Hash, Some((_, key))) => IpText::word(&hashed(key, ip)),
            // Without randomness there is no key, and nothing is told.
            (model::Addresses::Hash, None) => IpText::word(b"-"),
        }
    }
}

fn key_of(day: u64) -> Option<Key> {
    let mut ring = RING.lock().ok()?;
    let ring = ring.get_or_insert_with(Keyring::default);
    ring.of(day, || {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).ok().map(|()| random)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_threads_have_the_same_key_until_midnight() {
        let midnight = UNIX_EPOCH + Duration::from_secs(1_795_478_400);
        let client: IpAddr = "203.0.113.7".parse().unwrap();
        let (mut one, mut other) = (
            Addresses::new(model::Addresses::Hash),
            Addresses::new(model::Addresses::Hash),
        );
        let text = |addresses: &mut Addresses, now| {
            addresses.renew(now);
            addresses.text(client).as_bytes().to_vec()
        };
        let before = midnight - Duration::from_millis(1);
        let today = text(&mut one, before);
        assert_eq!(today.len(), 16);
        assert_eq!(today, text(&mut other, before));
        let tomorrow = text(&mut one, midnight);
        assert_ne!(today, tomorrow);
        assert_eq!(tomorrow, text(&mut other, midnight));
    }

    #[test]
    fn nothing_is_told_without_a_key() {
        let addresses = Addresses::new(model::Addresses::Hash);
        let client: IpAddr = "203.0.113.7".parse().unwrap();
        assert_eq!(addresses.text(client).as_bytes(), b"-");
    }
}
