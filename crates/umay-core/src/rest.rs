//! Rest: how long an endpoint wants to be left alone.

use std::time::Duration;

/// The longest rest that is believed.
pub const MOST: Duration = Duration::from_secs(30);

/// The wait that a `Retry-After` asks for (RFC 9110 section 10.2.3), at most [`MOST`]; `None` if it is malformed
/// or in the past. `now` is in seconds since 1970.
pub fn retry_after(value: &[u8], now: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let seconds = if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        text.parse().unwrap_or(u64::MAX)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        since.as_secs().saturating_sub(now)
    };
    (seconds > 0).then(|| Duration::from_secs(seconds).min(MOST))
}
