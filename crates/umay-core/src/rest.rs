//! How long an endpoint asks to be left alone: `Retry-After` (RFC 9110, 10.2.3).

use std::time::{Duration, UNIX_EPOCH};

/// No endpoint is left alone for longer, whatever it asks: the value comes from the network.
pub const LONGEST: Duration = Duration::from_secs(30);

/// Reads a `Retry-After`: seconds, or a date to compare with `now_unix`, in seconds since 1970. A date in the past is
/// zero, more than [`LONGEST`] is that. `None` if it is neither.
pub fn retry_after(value: &[u8], now_unix: u64) -> Option<Duration> {
    let value = value.trim_ascii();
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        // More digits than fit are more than the longest.
        let number = |sum: u64, digit: &u8| {
            let digit = u64::from(digit - b'0');
            sum.saturating_mul(10).saturating_add(digit)
        };
        let seconds = value.iter().fold(0, number);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let then = date.duration_since(UNIX_EPOCH).ok()?;
    let now = Duration::from_secs(now_unix);
    Some(then.saturating_sub(now).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const THEN: u64 = 784_111_777;

    #[test]
    fn seconds_and_dates() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (value, now, seconds) in [
            ("0", 0, Some(0)),
            ("7", 0, Some(7)),
            (" 7\t", 0, Some(7)),
            ("007", 0, Some(7)),
            ("30", 0, Some(30)),
            ("31", 0, Some(30)),
            ("99999999999999999999999999", 0, Some(30)),
            (date, THEN - 12, Some(12)),
            (date, THEN, Some(0)),
            (date, THEN + 12, Some(0)),
            (date, 0, Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", THEN - 1, Some(1)),
            ("Sun Nov  6 08:49:37 1994", THEN - 1, Some(1)),
            ("", 0, None),
            ("-1", 0, None),
            ("+1", 0, None),
            ("1.5", 0, None),
            ("1 2", 0, None),
            ("soon", 0, None),
            ("Sun, 06 Nov 1994", 0, None),
        ] {
            let read = retry_after(value.as_bytes(), now).map(|rest| rest.as_secs());
            assert_eq!(read, seconds, "{value:?} at {now}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_none_lasts_too_long(
            value in prop::collection::vec(any::<u8>(), 0..40),
            now in any::<u64>(),
        ) {
            prop_assert!(retry_after(&value, now).is_none_or(|rest| rest <= LONGEST));
        }
    }
}
