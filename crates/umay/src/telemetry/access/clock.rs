//! Time stamps: RFC 3339, UTC, to the millisecond.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::line::three_digits;

/// How long it is known what people's clock shows, which may be set meanwhile.
const KNOWN: Duration = Duration::from_millis(50);

/// Tells people's time of a moment that is known already, and writes time stamps. It remembers the second that
/// it wrote last, for a busy worker asks for the same second thousands of times.
#[derive(Debug)]
pub(super) struct Clock {
    /// A moment, and what people's clock has shown then, since 1970.
    then: (Instant, Duration),
    second: u64,
    /// `2026-11-23T16:51:22.`
    text: [u8; 20],
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut clock = Self {
            then: both(),
            second: 0,
            text: [0; 20],
        };
        clock.format();
        clock
    }

    /// What people's clock shows at a moment that is now or has just been, since 1970. A time before is told as
    /// its start. Both clocks are looked at now and then only: that takes longer than to write a time.
    pub(super) fn at(&mut self, moment: Instant) -> Duration {
        let (then, shown) = self.then;
        match moment.checked_duration_since(then) {
            Some(after) if after < KNOWN => shown + after,
            _ => {
                self.then = both();
                let (now, shown) = self.then;
                shown.saturating_sub(now.saturating_duration_since(moment))
            }
        }
    }

    /// Writes a time since 1970.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, since: Duration) {
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.format();
        }
        out.extend_from_slice(&self.text);
        let [a, b, c] = three_digits(since.subsec_millis() as u16);
        out.extend_from_slice(&[a, b, c, b'Z']);
    }

    fn format(&mut self) {
        self.text = [b'.'; 20];
        write_second(&mut self.text.as_mut_slice(), self.second);
    }
}

/// Now, by both clocks.
fn both() -> (Instant, Duration) {
    let shown = SystemTime::now().duration_since(UNIX_EPOCH);
    (Instant::now(), shown.unwrap_or_default())
}

/// A time in seconds since 1970, such as `2026-11-23T16:51:22Z` (RFC 3339).
pub fn rfc3339(second: u64) -> String {
    let mut text = Vec::with_capacity(20);
    write_second(&mut text, second);
    text.push(b'Z');
    String::from_utf8(text).unwrap_or_default()
}

fn write_second(out: &mut impl Write, second: u64) {
    let (year, month, day) = date(second / 86_400);
    let second = second % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // There is room for all years of four digits, and a vector has room for all.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    );
}

/// Year, month and day in the Gregorian calendar from the days since 1970-01-01.
///
/// Years are counted from March, so that the leap day is a year's last and the lengths of months
/// follow a line: month `m` after March begins on day `(153 m + 2) / 5`.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097; // days in 400 years
    let days = days + 719_468; // since 0000-03-01
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1_460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let day = day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (cycle * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn check(seconds: u64, millis: u64, text: &str) {
        let mut out = Vec::new();
        let at = Duration::from_secs(seconds) + Duration::from_millis(millis);
        Clock::new().write(&mut out, at);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn known_times() {
        check(0, 0, "1970-01-01T00:00:00.000Z");
        check(951_782_399, 999, "2000-02-28T23:59:59.999Z");
        check(951_782_400, 7, "2000-02-29T00:00:00.007Z");
        check(951_868_800, 0, "2000-03-01T00:00:00.000Z");
        check(1_795_452_682, 42, "2026-11-23T16:51:22.042Z");
        check(4_107_542_399, 0, "2100-02-28T23:59:59.000Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn days_follow_each_other() {
        let leap =
            |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let mut expected = (1970, 1, 1);
        for days in 0..400_000 {
            assert_eq!(date(days), expected);
            let (year, month, day) = expected;
            let length = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                _ if day == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn a_clock_that_is_set_back_is_followed() {
        let mut clock = Clock::new();
        let mut out = Vec::new();
        for seconds in [5, 5, 4] {
            clock.write(&mut out, Duration::from_secs(seconds));
        }
        let text = String::from_utf8(out).unwrap();
        let seconds: Vec<&str> = text
            .split_terminator('Z')
            .map(|stamp| &stamp[17..19])
            .collect();
        assert_eq!(seconds, ["05", "05", "04"]);
    }

    #[test]
    fn moments_are_told_as_people_do() {
        let mut clock = Clock::new();
        let (then, shown) = clock.then;
        let earlier = Duration::from_nanos(1);
        // While it is known, nobody looks again.
        assert_eq!(clock.at(then), shown);
        assert_eq!(clock.at(then + KNOWN - earlier), shown + KNOWN - earlier);
        assert_eq!(clock.then, (then, shown));
        // What was before is told, too, and what comes later is looked up.
        for moment in [then - earlier, then + KNOWN] {
            let mut clock = Clock::new();
            clock.then = (then, Duration::from_secs(1));
            let told = clock.at(moment);
            assert!(told > Duration::from_secs(2), "{told:?}");
            assert_ne!(clock.then.1, Duration::from_secs(1));
        }
    }
}
