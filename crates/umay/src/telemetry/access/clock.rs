//! Time stamps: RFC 3339, UTC, to the millisecond.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::line::three_digits;

/// Writes time stamps and remembers the second it wrote last, for a busy worker asks for the same
/// second thousands of times.
#[derive(Debug)]
pub(super) struct Clock {
    second: u64,
    /// `2026-11-23T16:51:22.`
    text: Vec<u8>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut clock = Self {
            second: 0,
            text: Vec::with_capacity(20),
        };
        clock.format();
        clock
    }

    /// Writes `now`. A time before 1970 is written as its start.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.format();
        }
        out.extend_from_slice(&self.text);
        let [a, b, c] = three_digits(since.subsec_millis() as u16);
        out.extend_from_slice(&[a, b, c, b'Z']);
    }

    fn format(&mut self) {
        self.text.clear();
        write_second(&mut self.text, self.second);
        self.text.push(b'.');
    }
}

/// A time in seconds since 1970, such as `2026-11-23T16:51:22Z` (RFC 3339).
pub fn rfc3339(second: u64) -> String {
    let mut text = Vec::with_capacity(20);
    write_second(&mut text, second);
    text.push(b'Z');
    String::from_utf8(text).unwrap_or_default()
}

fn write_second(out: &mut Vec<u8>, second: u64) {
    let (year, month, day) = date(second / 86_400);
    let second = second % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing to a vector cannot fail.
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
        let at = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis);
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
            clock.write(&mut out, UNIX_EPOCH + Duration::from_secs(seconds));
        }
        clock.write(&mut out, UNIX_EPOCH - Duration::from_secs(1));
        let text = String::from_utf8(out).unwrap();
        let seconds: Vec<&str> = text
            .split_terminator('Z')
            .map(|stamp| &stamp[17..19])
            .collect();
        assert_eq!(seconds, ["05", "05", "04", "00"]);
    }
}
