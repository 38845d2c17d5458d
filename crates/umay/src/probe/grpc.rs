//! Asking by gRPC: `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>, and PROTOCOL-HTTP2.md beside it.

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use http::{Request, Response, Uri};
use tokio::time::Instant;

use super::io::Io;
use super::{Limit, health, multiplex, words};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// Asks for a service's health; the empty name is all of it. The error is what came instead of SERVING.
pub(super) async fn check(io: Io, host: &str, service: &str, limit: Limit) -> Result<(), String> {
    let scheme = if io.is_tls() { "https" } else { "http" };
    let head = head(scheme, host, limit)?;
    let talk = async |requests: SendRequest<Bytes>| {
        let message = health::request(service);
        let answer = multiplex::send(requests, head, Some(message)).await?;
        let answer = answer.await.map_err(|error| words::http2(&error))?;
        read(answer).await
    };
    multiplex::exchange(io, limit, talk).await
}

fn head(scheme: &str, host: &str, limit: Limit) -> Result<Request<()>, String> {
    let bad = || format!("`{host}` is not a host");
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(PATH)
        .build();
    // Eight digits are all that there may be.
    let left = limit.end.saturating_duration_since(Instant::now());
    let millis = left.as_millis().clamp(1, 99_999_999);
    Request::post(uri.map_err(|_| bad())?)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header("grpc-timeout", format!("{millis}m"))
        .header(USER_AGENT, super::USER_AGENT)
        .body(())
        .map_err(|_| bad())
}

/// Reads an answer to its end, since its status comes last.
async fn read(answer: Response<RecvStream>) -> Result<(), String> {
    let (head, mut stream) = answer.into_parts();
    // A status says more than anything else that is not as it should be.
    if head.headers.contains_key("grpc-status") {
        status(&head.headers)?;
    }
    if head.status.as_u16() != 200 {
        return Err(format!("status {} of HTTP", head.status.as_u16()));
    }
    let kind = head.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    let kind = kind.unwrap_or_default();
    if !matches!(
        kind.strip_prefix(b"application/grpc"),
        Some([] | [b'+' | b';', ..])
    ) {
        let kind = String::from_utf8_lossy(kind);
        return Err(format!("an answer of type `{kind}`, which is not gRPC"));
    }
    let mut body = Vec::new();
    while let Some(bytes) = stream.data().await {
        let bytes = bytes.map_err(|error| words::http2(&error))?;
        if body.len() + bytes.len() > health::LONGEST {
            return Err(format!("a message of more than {} bytes", health::LONGEST));
        }
        body.extend_from_slice(&bytes);
        let flow = stream.flow_control();
        let released = flow.release_capacity(bytes.len());
        released.map_err(|error| words::http2(&error))?;
    }
    let trailers = stream.trailers().await;
    match trailers.map_err(|error| words::http2(&error))? {
        Some(trailers) => status(&trailers)?,
        None => return Err("an answer without grpc-status".to_owned()),
    }
    health::judge(&body)
}

/// Whether the call itself went well; else its status and message.
fn status(fields: &HeaderMap) -> Result<(), String> {
    /// By their numbers.
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let Some(status) = fields.get("grpc-status") else {
        return Err("an answer without grpc-status".to_owned());
    };
    let told = String::from_utf8_lossy(status.as_bytes());
    let number: Option<usize> = told.parse().ok();
    let name = match number.and_then(|number| NAMES.get(number)) {
        Some(&"OK") => return Ok(()),
        Some(name) => format!(" ({name})"),
        None => String::new(),
    };
    let message = fields.get("grpc-message").map(|message| message.as_bytes());
    Err(match message {
        None | Some([]) => format!("grpc-status {told}{name}"),
        Some(message) => format!("grpc-status {told}{name}, {}", unescaped(message)),
    })
}

/// A message as it was before `%XX` stood for its bytes. What is not written so stays as it is.
fn unescaped(mut message: &[u8]) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(message.len());
    while let Some((&byte, rest)) = message.split_first() {
        message = rest;
        if let (b'%', [high, low, behind @ ..]) = (byte, rest)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            bytes.push((high << 4 | low) as u8);
            message = behind;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_names_and_messages() {
        for (status, message, told) in [
            ("0", None, None),
            ("0", Some("fine"), None),
            (
                "5",
                Some("gr%C3%BC%C3%9F 100%"),
                Some("grpc-status 5 (NOT_FOUND), grüß 100%"),
            ),
            ("12", None, Some("grpc-status 12 (UNIMPLEMENTED)")),
            ("16", Some(""), Some("grpc-status 16 (UNAUTHENTICATED)")),
            ("17", Some("%zz%4"), Some("grpc-status 17, %zz%4")),
            ("-1", None, Some("grpc-status -1")),
            ("", None, Some("grpc-status ")),
            ("OK", None, Some("grpc-status OK")),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert("grpc-status", status.parse().unwrap());
            if let Some(message) = message {
                fields.insert("grpc-message", message.parse().unwrap());
            }
            let read = super::status(&fields);
            assert_eq!(read.err().as_deref(), told, "{status} {message:?}");
        }
        let none = super::status(&HeaderMap::new());
        assert_eq!(none.unwrap_err(), "an answer without grpc-status");
    }
}
