//! What an intermediary has to know of gRPC: its calls, its deadlines, its statuses.

use std::time::Duration;

use crate::message::{FieldId, Request};
use crate::reason::Reason;

/// True for a call: its refusal is told as a status of gRPC, not of HTTP.
pub fn is_call(request: &Request) -> bool {
    let kind = request.fields.first(FieldId::ContentType);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    // `application/grpc-web` is HTTP to intermediaries.
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// The call's deadline from its start: `grpc-timeout`, up to eight digits and a unit. What is
/// written otherwise is no deadline.
pub fn timeout(request: &Request) -> Option<Duration> {
    let (unit, digits) = request.fields.named(b"grpc-timeout")?.split_last()?;
    if !matches!(digits.len(), 1..=8) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The status of gRPC for a refusal, as gRPC maps those of HTTP, with its own words where it has
/// better ones: `DEADLINE_EXCEEDED` (4), `RESOURCE_EXHAUSTED` (8), `UNIMPLEMENTED` (12),
/// `INTERNAL` (13), `UNAVAILABLE` (14).
pub fn status(reason: Reason) -> u16 {
    match reason.status() {
        _ if reason == Reason::DeadlineExceeded => 4,
        413 | 414 | 431 => 8,
        404 | 405 => 12,
        421 | 429 | 502 | 503 | 504 => 14,
        _ => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Request {
        let mut request = Request::default();
        request.fields.push(name.as_bytes(), value.as_bytes());
        request
    }

    #[test]
    fn calls_are_known_by_their_type() {
        for (kind, call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            assert_eq!(is_call(&with("content-type", kind)), call, "{kind}");
        }
        assert!(!is_call(&Request::default()));
    }

    #[test]
    fn deadlines_have_units() {
        for (text, millis) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("250m", Some(250)),
            ("99999999n", Some(99)),
            ("5000u", Some(5)),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1", None),
            ("1 S", None),
        ] {
            let read = timeout(&with("grpc-timeout", text)).map(|t| t.as_millis());
            assert_eq!(read, millis, "{text}");
        }
    }
}
