//! What keeps requests at one endpoint: the key of consistent hashing, and the cookie.

use umay_core::balance::hash;
use umay_core::headers::Forwarded;
use umay_core::message::{FieldId, Fields, Request};
use umay_core::model::{HashBy, Sticky};

use crate::site::Client;
use crate::upstream::Endpoint;

/// The key of a request; `None` if it has none, and any endpoint will do.
pub(super) fn key(
    by: &HashBy,
    request: &Request,
    client: &Client,
    forwarded: Option<&Forwarded>,
) -> Option<u64> {
    let bytes = match by {
        HashBy::ClientIp => {
            let ip = forwarded.map_or_else(|| client.peer.ip().to_canonical(), |f| f.client_ip);
            return Some(hash(ip.to_string().as_bytes()));
        }
        HashBy::Path => request.path_bytes(),
        HashBy::Sni => client.sni()?.as_bytes(),
        HashBy::Header(name) => request.fields.named(name.as_bytes())?,
        HashBy::Cookie(name) => cookie(&request.fields, name)?,
    };
    Some(hash(bytes))
}

/// The first cookie of this name (RFC 6265 section 5.4).
pub(super) fn cookie<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let pairs = fields
        .all(FieldId::Cookie)
        .flat_map(|value| value.split(|b| *b == b';'));
    let mut values = pairs.filter_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        let (have, value) = pair.split_at_checked(at)?;
        (have.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default())
    });
    values.next().map(<[u8]>::trim_ascii)
}

/// The endpoint that a cookie's value names, by its token.
pub(super) fn token(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok())?
}

/// The `Set-Cookie` that keeps a client at this endpoint (RFC 6265 section 4.1).
pub(super) fn set_cookie(sticky: &Sticky, endpoint: &Endpoint, secure: bool) -> String {
    let (name, token) = (&sticky.cookie, endpoint.token());
    let age = sticky
        .max_age
        .map(|age| format!("; Max-Age={}", age.as_secs()));
    // Names with these prefixes demand it (RFC 6265bis section 4.1.3).
    let must = name.starts_with("__Host-") || name.starts_with("__Secure-");
    let secure = if secure || must { "; Secure" } else { "" };
    let age = age.unwrap_or_default();
    format!("{name}={token:016x}; Path=/; HttpOnly; SameSite=Lax{secure}{age}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for value in values {
            fields.push(b"Cookie", value.as_bytes());
        }
        fields
    }

    #[test]
    fn finds_a_cookie_among_others() {
        for (values, found) in [
            (&["umay=1"][..], Some("1")),
            (&["a=b; umay=1"], Some("1")),
            (&["a=b;umay=1;c=d"], Some("1")),
            (&["a=b", "umay = 2 "], Some("2")),
            (&["umay="], Some("")),
            (&["umay=a=b"], Some("a=b")),
            (&["xumay=1", "umayx=1", "umay"], None),
            (&[], None),
        ] {
            let fields = fields(values);
            let value = cookie(&fields, "umay").map(|v| std::str::from_utf8(v).unwrap());
            assert_eq!(value, found, "{values:?}");
        }
    }

    #[test]
    fn only_whole_tokens_name_an_endpoint() {
        assert_eq!(token(b"00000000000000ff"), Some(255));
        for value in [
            &b""[..],
            b"ff",
            b"+0000000000000ff",
            b"00000000000000fg",
            b"00000000000000ff0",
            b"\xff0000000000000f",
        ] {
            assert_eq!(token(value), None);
        }
    }
}
