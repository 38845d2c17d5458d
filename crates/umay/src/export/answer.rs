//! What a collector says of a message.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::telemetry::otlp::{Field, Reader};

/// The longest that a collector may ask to be left alone for.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A message that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// So many parts of it were not (partial success).
    pub rejected: u64,
    /// What the collector says about that, or warns of; may be empty.
    pub message: String,
}

/// A message that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// It may be sent again, not before this; `None` if that is no use.
    pub again: Option<Duration>,
    /// Why, for people.
    pub why: String,
    /// What to do; may be empty.
    pub hint: &'static str,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hint {
            "" => f.write_str(&self.why),
            hint => write!(f, "{} ({hint})", self.why),
        }
    }
}

/// What to do if there is nothing at the path, or the method is not known.
const NOT_THERE: &str =
    "it does not take these there: see the `endpoint`, or turn this off with endpoint = \"off\"";
/// If it does not know who asks.
const NOT_LET_IN: &str = "see the `headers`, where a key or token belongs";

impl Failed {
    /// For a reason that may pass.
    pub fn for_now(why: impl Into<String>) -> Self {
        Self {
            again: Some(Duration::ZERO),
            why: why.into(),
            hint: "",
        }
    }

    /// For good.
    pub fn for_good(why: impl Into<String>) -> Self {
        Self {
            again: None,
            why: why.into(),
            hint: "",
        }
    }
}

/// Reads an answer to an export of any signal: they are alike. What is none is as good as an empty one,
/// for the status has said that the message was taken.
pub(super) fn accepted(body: &[u8]) -> Accepted {
    let Some(Field::Bytes(partial)) = Reader::new(body).find(1) else {
        return Accepted::default();
    };
    let partial = Reader::new(partial);
    Accepted {
        rejected: match partial.find(1) {
            Some(Field::Number(rejected)) => rejected,
            _ => 0,
        },
        message: text(partial.find(2)),
    }
}

/// What an answer that refuses says: `google.rpc.Status`, or else text.
pub(super) fn refusal(body: &[u8]) -> String {
    match text(Reader::new(body).find(2)) {
        told if told.is_empty() => brief(body),
        told => told,
    }
}

fn text(field: Option<Field<'_>>) -> String {
    match field {
        Some(Field::Bytes(text)) => brief(text),
        _ => String::new(),
    }
}

/// The beginning of what somebody else says, on one line.
pub(super) fn brief(text: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(text.get(..LONGEST).unwrap_or(text));
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(clean).collect()
}

/// What an answer in HTTP with this status means (OTLP, "OTLP/HTTP Response").
pub(super) fn by_status(
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> Result<Accepted, Failed> {
    if (200..300).contains(&status) {
        return Ok(accepted(body));
    }
    let told = refusal(body);
    let why = if told.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}: {told}")
    };
    let again = matches!(status, 429 | 502 | 503 | 504).then(|| rest(retry_after));
    let hint = match status {
        401 | 403 => NOT_LET_IN,
        404 | 405 => NOT_THERE,
        _ => "",
    };
    Err(Failed { again, why, hint })
}

/// `Retry-After`: seconds or a date (RFC 9110 section 10.2.3).
fn rest(retry_after: Option<&str>) -> Duration {
    let Some(text) = retry_after else {
        return Duration::ZERO;
    };
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text.trim())
            .ok()
            .and_then(|date| date.duration_since(SystemTime::now()).ok())
            .unwrap_or_default(),
    };
    wait.min(LONGEST_REST)
}

/// What an answer in gRPC with this status means (OTLP, "OTLP/gRPC Response"). `details` is
/// `grpc-status-details-bin`.
pub(super) fn by_code(
    code: u32,
    message: &str,
    details: Option<&[u8]>,
    body: &[u8],
) -> Result<Accepted, Failed> {
    if code == 0 {
        return Ok(accepted(body));
    }
    let told = brief(message.as_bytes());
    let why = if told.is_empty() {
        format!("gRPC status {code}")
    } else {
        format!("gRPC status {code}: {told}")
    };
    let asked = details.and_then(retry_info);
    let again = match code {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        1 | 4 | 10 | 11 | 14 | 15 => Some(asked.unwrap_or_default()),
        // RESOURCE_EXHAUSTED passes only if the collector says so.
        8 => asked,
        _ => None,
    };
    let hint = match code {
        // PERMISSION_DENIED, UNAUTHENTICATED; UNIMPLEMENTED.
        7 | 16 => NOT_LET_IN,
        12 => NOT_THERE,
        _ => "",
    };
    Err(Failed { again, why, hint })
}

/// How long to wait: `RetryInfo` among the details of a `google.rpc.Status`.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = STANDARD_NO_PAD
        .decode(details)
        .or_else(|_| STANDARD.decode(details))
        .ok()?;
    Reader::new(&status).find_map(|(number, any)| {
        let (3, Field::Bytes(any)) = (number, any) else {
            return None;
        };
        let any = Reader::new(any);
        let (Field::Bytes(kind), Field::Bytes(info)) = (any.find(1)?, any.find(2)?) else {
            return None;
        };
        if !kind.ends_with(b"google.rpc.RetryInfo") {
            return None;
        }
        let Some(Field::Bytes(delay)) = Reader::new(info).find(1) else {
            return Some(Duration::ZERO);
        };
        let part = |number| match Reader::new(delay).find(number) {
            Some(Field::Number(value)) => value,
            _ => 0,
        };
        let nanos = u32::try_from(part(2)).unwrap_or_default().min(999_999_999);
        // A negative number of seconds is a very large one here.
        let seconds = i64::try_from(part(1)).map_or(0, i64::unsigned_abs);
        Some(Duration::new(seconds.min(LONGEST_REST.as_secs()), nanos).min(LONGEST_REST))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::{bytes, nested, number};

    #[test]
    fn statuses_of_http() {
        for (status, retry_after, again) in [
            (429, None, Some(0)),
            (429, Some("7"), Some(7)),
            (503, Some("86400"), Some(60)),
            (503, Some("soon"), Some(0)),
            (503, Some("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0)),
            (502, None, Some(0)),
            (504, None, Some(0)),
            (400, None, None),
            (401, Some("7"), None),
            (404, None, None),
            (500, None, None),
            (501, None, None),
            (301, None, None),
        ] {
            let failed = by_status(status, retry_after, b"no\n").unwrap_err();
            assert_eq!(failed.again.map(|wait| wait.as_secs()), again, "{status}");
            assert_eq!(failed.why, format!("status {status}: no"));
            let helps = matches!(status, 401 | 404);
            assert_eq!(failed.to_string() != failed.why, helps, "{failed}");
        }
        assert_eq!(by_status(200, None, b""), Ok(Accepted::default()));
        assert_eq!(by_status(202, None, b"<html>\xff"), Ok(Accepted::default()));
    }

    #[test]
    fn a_partial_success_is_told() {
        let mut body = Vec::new();
        nested(&mut body, 1, |out| {
            number(out, 1, 3);
            bytes(out, 2, b"too old\n");
        });
        let accepted = by_status(200, None, &body).unwrap();
        assert_eq!((accepted.rejected, &*accepted.message), (3, "too old"));
        assert_eq!(by_code(0, "", None, &body).unwrap().rejected, 3);
    }

    #[test]
    fn codes_of_grpc() {
        let mut status = Vec::new();
        number(&mut status, 1, 8);
        nested(&mut status, 3, |any| {
            bytes(any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
            nested(any, 2, |info| nested(info, 1, |delay| number(delay, 1, 5)));
        });
        let details = STANDARD_NO_PAD.encode(&status).into_bytes();
        for (code, details, again) in [
            (14, None, Some(0)),
            (14, Some(&details), Some(5)),
            (8, None, None),
            (8, Some(&details), Some(5)),
            (8, Some(&b"?!".to_vec()), None),
            (4, None, Some(0)),
            (3, None, None),
            (3, Some(&details), None),
            (12, None, None),
            (16, None, None),
        ] {
            let failed = by_code(code, "why", details.map(Vec::as_slice), b"").unwrap_err();
            assert_eq!(failed.again.map(|wait| wait.as_secs()), again, "{code}");
        }
    }

    #[test]
    fn refusals_are_text_or_messages() {
        let mut body = Vec::new();
        number(&mut body, 1, 3);
        bytes(&mut body, 2, b"no tenant");
        assert_eq!(refusal(&body), "no tenant");
        assert_eq!(refusal(b"Bad\r\nGateway"), "Bad  Gateway");
        assert_eq!(refusal(&[b'x'; 5000]).len(), 200);
    }
}
