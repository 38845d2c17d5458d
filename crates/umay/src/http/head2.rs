//! Heads of HTTP/2 (RFC 9113 section 8): as they come in, checked for what the library does not
//! check, and as they go out.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use umay_core::headers::is_hop_by_hop;
use umay_core::message::{FieldId, Fields, Framing, Method, Request, Response, Span, Version};
use umay_core::model::Limits;
use umay_core::reason::Reason;
use umay_h1 as h1;

use super::head::{self, Context, Delivery, Put};
use super::websocket;

/// Why a head is refused.
pub(super) type Refused = (Reason, &'static str);

/// What is known of a client's stream besides its head.
pub(super) struct Arrived<'a> {
    /// Nothing follows the head.
    pub(super) ended: bool,
    /// The schemes that the request may have: that of the connection, or both from a trusted proxy.
    pub(super) schemes: &'a [&'static str],
    /// 128 random bits.
    pub(super) random: u128,
}

/// Reads the head of a client's request into `request`.
pub(super) fn request_in(
    head: &http::request::Parts,
    arrived: &Arrived<'_>,
    limits: &Limits,
    request: &mut Request,
) -> Result<(), Refused> {
    request.clear();
    request.version = Version::Http2;
    request.keep_alive = true;
    let token = head.method.as_str().as_bytes();
    request.method = Method::from_token(token);
    request.method_span = request.fields.store(token);
    target(&head.uri, arrived, limits, request)?;
    let length = fields_in(&head.headers, limits, &mut request.fields)
        .map_err(|wrong| wrong.told(Reason::RequestHeadTooLarge, Reason::RequestMalformed))?;
    host(&head.uri, request)?;
    match request.fields.first(FieldId::Expect) {
        None => {}
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => {
            request.expect_continue = true;
        }
        Some(_) => return Err((Reason::ExpectationFailed, "")),
    }
    request.body = match length {
        _ if arrived.ended || request.method == Method::Connect => Framing::None,
        Some(length) if !announces_trailers(&request.fields) => Framing::Length(length),
        _ => Framing::Chunked,
    };
    if request.method == Method::Trace && request.body != Framing::None {
        return Err(malformed("TRACE has no body"));
    }
    if let Some(protocol) = head.extensions.get::<h2::ext::Protocol>() {
        extended_connect(protocol.as_str().as_bytes(), arrived.random, request)?;
    }
    Ok(())
}

/// A WebSocket (RFC 8441) is a GET that asks for an upgrade, to everything behind.
fn extended_connect(protocol: &[u8], random: u128, request: &mut Request) -> Result<(), Refused> {
    if protocol != websocket::PROTOCOL {
        let detail = "of the protocols for an extended CONNECT only websocket is known";
        return Err((Reason::UpgradeRefused, detail));
    }
    request.method = Method::Get;
    request.method_span = request.fields.store(b"GET");
    request.upgrade = true;
    request
        .fields
        .retain(|id, _, _| id != FieldId::SecWebSocketKey);
    request.fields.push(b"Upgrade", websocket::PROTOCOL);
    let key = websocket::key(random);
    request.fields.push(b"Sec-WebSocket-Key", key.as_bytes());
    Ok(())
}

/// Scheme, path and query.
fn target(
    uri: &Uri,
    arrived: &Arrived<'_>,
    limits: &Limits,
    request: &mut Request,
) -> Result<(), Refused> {
    // The library drops the scheme of a request without an authority.
    if let Some(scheme) = uri.scheme_str()
        && !arrived.schemes.contains(&scheme)
    {
        return Err(malformed("`:scheme` is not that of the connection"));
    }
    let Some(target) = uri.path_and_query().map(PathAndQuery::as_str) else {
        return Ok(());
    };
    if target.len() > limits.target {
        return Err((Reason::RequestUriTooLong, "the request target is too long"));
    }
    let visible = target.bytes().all(|b| b > b' ' && b < 0x7f && b != b'#');
    let form = target.starts_with('/') || (target == "*" && request.method == Method::Options);
    if !visible || !form {
        return Err(malformed("`:path` has none of the forms that it may have"));
    }
    let whole = request.fields.store(target.as_bytes());
    let mark = target.find('?').unwrap_or(target.len());
    let span = |from: usize, len: usize| Span {
        start: whole.start + from as u32,
        len: len as u32,
    };
    request.path = span(0, mark);
    request.query = (mark < target.len()).then(|| span(mark + 1, target.len() - mark - 1));
    Ok(())
}

/// `:authority` and `Host`, one of which has to be there; both have to say the same.
fn host(uri: &Uri, request: &mut Request) -> Result<(), Refused> {
    let host = request.fields.first(FieldId::Host).map(<[u8]>::to_vec);
    if request.fields.all(FieldId::Host).count() > 1 {
        return Err(malformed("`Host` is repeated"));
    }
    let authority = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let usual: &[u8] = match uri.scheme_str() {
        Some("https") => b":443",
        _ => b":80",
    };
    let plain = |text: &[u8]| {
        let text = text.strip_suffix(usual).unwrap_or(text);
        text.to_ascii_lowercase()
    };
    let found = match (authority, &host) {
        (Some(authority), Some(host)) if plain(authority) != plain(host) => {
            return Err(malformed("`:authority` and `Host` differ"));
        }
        (Some(authority), _) => authority,
        (None, Some(host)) => host,
        (None, None) => return Err(malformed("there is neither `:authority` nor `Host`")),
    };
    if !h1::is_authority(found) {
        return Err(malformed("the authority is no host with an optional port"));
    }
    if request.method == Method::Connect && !found.contains(&b':') && request.path.len == 0 {
        return Err(malformed("CONNECT needs a port"));
    }
    request.authority = request.fields.store(found);
    Ok(())
}

fn malformed(what: &'static str) -> Refused {
    (Reason::RequestMalformed, what)
}

/// What is wrong with the fields of a head.
enum Wrong {
    TooLarge(&'static str),
    Malformed(&'static str),
}

impl Wrong {
    /// With the word of the side that sent the head.
    fn told(self, too_large: Reason, malformed: Reason) -> Refused {
        match self {
            Self::TooLarge(what) => (too_large, what),
            Self::Malformed(what) => (malformed, what),
        }
    }
}

/// Copies fields and gives the content's length. The pieces of `Cookie` are put together (RFC 9113
/// section 8.2.3).
fn fields_in(map: &HeaderMap, limits: &Limits, fields: &mut Fields) -> Result<Option<u64>, Wrong> {
    if map.len() > limits.fields {
        return Err(Wrong::TooLarge("the head has too many fields"));
    }
    let mut left = limits.head;
    let mut length = None;
    let mut cookie = Vec::new();
    for (name, value) in map {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        let Some(rest) = left.checked_sub(name.len() + value.len() + 4) else {
            return Err(Wrong::TooLarge("the head is too large"));
        };
        left = rest;
        let space = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
        if space(value.first()) || space(value.last()) {
            return Err(Wrong::Malformed("a value begins or ends with white space"));
        }
        match FieldId::of(name) {
            FieldId::Cookie => {
                if !cookie.is_empty() {
                    cookie.extend_from_slice(b"; ");
                }
                cookie.extend_from_slice(value);
                continue;
            }
            FieldId::ContentLength if length.is_some() => {
                return Err(Wrong::Malformed("Content-Length is repeated"));
            }
            FieldId::ContentLength => {
                let number = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
                length = Some(number.ok_or(Wrong::Malformed("Content-Length is no number"))?);
            }
            _ => {}
        }
        fields.push(name, value);
    }
    if !cookie.is_empty() {
        fields.push(b"cookie", &cookie);
    }
    Ok(length)
}

/// True if the message says that it has trailers. HTTP/1 has no place for them but behind a body of
/// unknown length, so its length is told in HTTP/2 only.
fn announces_trailers(fields: &Fields) -> bool {
    fields.first(FieldId::Trailer).is_some()
}

/// Writes the length of a body, if it is known.
fn length_out(framing: Framing, received: &Fields, fields: &mut HeaderMap) {
    let told = received.first(FieldId::ContentLength);
    let length = match framing {
        Framing::Length(length) if told.is_some() || length > 0 => Some(HeaderValue::from(length)),
        Framing::Chunked | Framing::UntilClose => {
            told.and_then(|told| HeaderValue::from_bytes(told).ok())
        }
        Framing::None | Framing::Length(_) => None,
    };
    if let Some(length) = length {
        fields.insert(http::header::CONTENT_LENGTH, length);
    }
}

/// Reads the head of an endpoint's answer; `ended` if nothing follows it.
pub(super) fn response_in(
    head: &http::Response<()>,
    ended: bool,
    method: Method,
    limits: &Limits,
    response: &mut Response,
) -> Result<(), Refused> {
    response.clear();
    response.version = Version::Http2;
    response.keep_alive = true;
    response.status = head.status().as_u16();
    if response.status == 101 {
        return Err((Reason::UpstreamMalformed, "101 has no meaning in HTTP/2"));
    }
    let length = fields_in(head.headers(), limits, &mut response.fields)
        .map_err(|wrong| wrong.told(Reason::UpstreamHeadTooLarge, Reason::UpstreamMalformed))?;
    let phrase = h1::phrase(response.status).as_bytes();
    response.phrase = response.fields.store(phrase);
    let bodiless = match response.status {
        100..=199 | 204 | 304 => true,
        200..=299 if method == Method::Connect => true,
        _ => method == Method::Head,
    };
    response.body = match length {
        _ if bodiless => Framing::None,
        // HTTP/1 has to say that there is none: nothing else marks the end.
        _ if ended => Framing::Length(0),
        Some(length) if !announces_trailers(&response.fields) => Framing::Length(length),
        _ => Framing::UntilClose,
    };
    Ok(())
}

/// The head of a request for an endpoint; `secure` if it is spoken to over TLS.
pub(super) fn request_out(cx: &Context<'_>, secure: bool) -> Result<http::Request<()>, Refused> {
    let request = cx.request;
    let mut fields = HeaderMap::with_capacity(request.fields.len() + 8);
    head::request_fields(cx, &mut fields)
        .map_err(|_| malformed("Connection names too many fields"))?;
    length_out(request.body, &request.fields, &mut fields);
    let mut te = request.fields.all(FieldId::Te);
    if te.any(|te| te.to_ascii_lowercase().windows(8).any(|w| w == b"trailers")) {
        fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    let mut parts = http::uri::Parts::default();
    parts.authority = Some(
        Authority::try_from(cx.host())
            .map_err(|_| malformed("HTTP/2 to the endpoint needs a Host"))?,
    );
    let mut head = http::Request::new(());
    *head.method_mut() = if request.upgrade {
        head.extensions_mut()
            .insert(h2::ext::Protocol::from_static("websocket"));
        fields.remove(http::header::SEC_WEBSOCKET_KEY);
        http::Method::CONNECT
    } else {
        http::Method::from_bytes(request.method_bytes())
            .map_err(|_| malformed("the method cannot be said in HTTP/2"))?
    };
    if request.method != Method::Connect {
        parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
        let [front, path] = head::path(request, cx.filters());
        let mut target = [front, path].concat();
        if let Some(query) = request.query_bytes() {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        let target = PathAndQuery::try_from(&*target);
        parts.path_and_query =
            Some(target.map_err(|_| malformed("the path cannot be said in HTTP/2"))?);
    }
    *head.uri_mut() =
        Uri::from_parts(parts).map_err(|_| malformed("the target cannot be said in HTTP/2"))?;
    *head.headers_mut() = fields;
    Ok(head)
}

/// The head of an answer, interim ones too, for a client.
pub(super) fn response_out(
    cx: &Context<'_>,
    response: &Response,
    delivery: Delivery,
) -> Result<http::Response<()>, Refused> {
    let mut fields = HeaderMap::with_capacity(response.fields.len() + 4);
    head::response_fields(cx, response, &mut fields).map_err(|_| {
        let detail = "Connection names too many fields";
        (Reason::UpstreamMalformed, detail)
    })?;
    if response.status >= 200 {
        cx.added_to_response(&mut fields);
    }
    length_out(delivery.framing, &response.fields, &mut fields);
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(response.status)
        .map_err(|_| (Reason::UpstreamMalformed, "the status is none"))?;
    *head.headers_mut() = fields;
    Ok(head)
}

/// As HTTP/2 has them: `Cookie` in pieces, which compress better (RFC 9113 section 8.2.3), and
/// nothing that is about one connection of HTTP/1.
impl Put for HeaderMap {
    fn put(&mut self, name: &[u8], value: &[u8]) {
        let id = FieldId::of(name);
        if is_hop_by_hop(id) {
            return;
        }
        let Ok(name) = HeaderName::from_bytes(name) else {
            return;
        };
        let mut add = |name: HeaderName, value: &[u8]| {
            if let Ok(mut value) = HeaderValue::from_bytes(value) {
                // No other message has it, so it is not to push others out of the peer's table of
                // fields (RFC 7541 section 6.2.3).
                value.set_sensitive(matches!(id, FieldId::Traceparent | FieldId::XRequestId));
                // Heads are capped far below what the map can hold.
                let _ = self.try_append(name, value);
            }
        };
        if id != FieldId::Cookie {
            return add(name, value);
        }
        for crumb in value.split(|b| *b == b';').map(<[u8]>::trim_ascii) {
            if !crumb.is_empty() {
                add(name.clone(), crumb);
            }
        }
    }
}
