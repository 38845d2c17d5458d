//! What a client is told when Umay refuses: the reason's word, what it means, and the request's id
//! to ask about. What an endpoint did wrong is told in the log only, for it names addresses inside.

use serde_json::json;
use umay_core::reason::{Reason, Side};

/// The value of `Proxy-Status` (RFC 9209) for a reason.
pub fn proxy_status(reason: Reason) -> String {
    let error = reason.proxy_error();
    format!("umay; error={error}; details=\"{}\"", reason.as_str())
}

/// The body of a refusal and its media type: JSON if that is what `accept` asks for, else text.
pub fn body(
    reason: Reason,
    detail: &str,
    request_id: &str,
    accept: Option<&[u8]>,
) -> (&'static str, String) {
    let detail = if reason.side() == Side::Downstream {
        detail
    } else {
        ""
    };
    if accept.is_some_and(|accept| accept.windows(JSON.len()).any(|part| part == JSON)) {
        let body = json!({
            "status": reason.status(),
            "reason": reason.as_str(),
            "message": reason.what(),
            "detail": detail,
            "request_id": request_id,
        });
        return ("application/json", format!("{body}\n"));
    }
    let mut body = format!(
        "{} {}\n{}\n",
        reason.status(),
        reason.as_str(),
        reason.what()
    );
    if !detail.is_empty() {
        body.extend(["Detail: ", detail, "\n"]);
    }
    if !request_id.is_empty() {
        body.extend(["Request id: ", request_id, "\n"]);
    }
    ("text/plain; charset=utf-8", body)
}

const JSON: &[u8] = b"application/json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_why_and_what_to_ask() {
        assert_eq!(
            proxy_status(Reason::NoRoute),
            "umay; error=destination_not_found; details=\"no_route\""
        );
        let (kind, text) = body(Reason::NoRoute, "", "ab12", None);
        assert_eq!(kind, "text/plain; charset=utf-8");
        assert_eq!(text, "404 no_route\nNo route matches.\nRequest id: ab12\n");
        let accept = b"text/html, application/json".as_slice();
        let (kind, text) = body(Reason::NoRoute, "x\"y", "", Some(accept));
        assert_eq!(kind, "application/json");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["detail"], "x\"y");
    }

    #[test]
    fn keeps_what_is_inside_to_itself() {
        let (_, text) = body(Reason::ConnectRefused, "10.0.0.7:3000", "", None);
        assert!(!text.contains("10.0.0.7"));
        let (_, text) = body(Reason::RequestMalformed, "bare LF", "", None);
        assert!(text.contains("bare LF"));
    }
}
