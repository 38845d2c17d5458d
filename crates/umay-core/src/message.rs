//! A message head, independent of the HTTP version that carried it.
//!
//! A head owns one byte arena; method, target and fields are spans into it. The codecs fill it,
//! routing and filters read it, and the writer on the other side serialises it anew. One head is
//! reused from request to request, so the common path allocates nothing.

use std::fmt;
use std::ops::Range;

/// A range of a [`Fields`] arena, in bytes from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

/// The protocol version of a message (RFC 9110 section 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// The name used in logs and metrics: `http/1.0`, `http/1.1`, `http/2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "http/2",
        }
    }
}

/// A request method (RFC 9110 section 9). The bytes of an [`Method::Other`] are in the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Connect,
    Trace,
    /// Any other token.
    Other,
}

impl Method {
    /// Every method that has a name of its own.
    pub const KNOWN: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Options,
        Self::Patch,
        Self::Connect,
        Self::Trace,
    ];

    /// Reads a method token. Methods are case-sensitive (RFC 9110 section 9.1).
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// The label for metrics: the token, or `_OTHER` (OpenTelemetry's word for the unknown).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Connect => "CONNECT",
            Self::Trace => "TRACE",
            Self::Other => "_OTHER",
        }
    }

    /// True if sending the request twice has the effect of sending it once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }
}

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// Chunked transfer coding; may end in trailers.
    Chunked,
    /// All until the connection closes (responses only).
    UntilClose,
}

impl Framing {
    /// True if no byte of a body follows the head.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// Field names that Umay itself looks at, so that a head is searched by comparing one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum FieldId {
    Other,
    AcceptEncoding,
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Referer,
    RetryAfter,
    SecWebSocketKey,
    Server,
    SetCookie,
    StrictTransportSecurity,
    Te,
    Traceparent,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRealIp,
    XRequestId,
}

impl FieldId {
    /// Finds the id of a field name, in any case.
    pub fn of(name: &[u8]) -> Self {
        // With the length known to the compiler, folding and comparing are a few instructions each.
        macro_rules! among {
            ($($len:literal: $($known:literal => $id:ident),+;)+) => {
                match name.len() {
                    $($len => {
                        let Ok(mut name) = <[u8; $len]>::try_from(name) else {
                            return Self::Other;
                        };
                        name.make_ascii_lowercase();
                        match &name {
                            $($known => Self::$id,)+
                            _ => Self::Other,
                        }
                    })+
                    _ => Self::Other,
                }
            };
        }
        among! {
            2: b"te" => Te;
            3: b"via" => Via;
            4: b"host" => Host, b"date" => Date;
            6: b"cookie" => Cookie, b"expect" => Expect, b"server" => Server;
            7: b"referer" => Referer, b"trailer" => Trailer, b"upgrade" => Upgrade;
            9: b"forwarded" => Forwarded, b"x-real-ip" => XRealIp;
            10: b"connection" => Connection, b"keep-alive" => KeepAlive,
                b"set-cookie" => SetCookie, b"user-agent" => UserAgent;
            11: b"traceparent" => Traceparent, b"retry-after" => RetryAfter;
            12: b"content-type" => ContentType, b"x-request-id" => XRequestId;
            13: b"authorization" => Authorization;
            14: b"content-length" => ContentLength, b"http2-settings" => Http2Settings;
            15: b"accept-encoding" => AcceptEncoding, b"x-forwarded-for" => XForwardedFor;
            16: b"proxy-connection" => ProxyConnection, b"x-forwarded-host" => XForwardedHost;
            17: b"transfer-encoding" => TransferEncoding, b"x-forwarded-proto" => XForwardedProto,
                b"sec-websocket-key" => SecWebSocketKey;
            18: b"proxy-authenticate" => ProxyAuthenticate;
            19: b"proxy-authorization" => ProxyAuthorization;
            25: b"strict-transport-security" => StrictTransportSecurity;
        }
    }
}

/// One field of a head: where its name and value stand in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, if Umay knows it.
    pub id: FieldId,
    /// The name as it was sent.
    pub name: Span,
    /// The value, without surrounding white space.
    pub value: Span,
}

/// The arena of a head and its fields in the order received.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    list: Vec<Field>,
}

impl Fields {
    /// Empties the head and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
    }

    /// Copies bytes into the arena and tells where they stand.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        // Heads are capped far below 4 GiB, so the casts cannot truncate.
        Span {
            start: start as u32,
            len: bytes.len() as u32,
        }
    }

    /// The bytes of a span; empty if the span is not of this arena.
    pub fn get(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.bytes
            .get(start..start + span.len as usize)
            .unwrap_or_default()
    }

    /// Adds a field whose name and value are in the arena already.
    pub fn push_spans(&mut self, id: FieldId, name: Span, value: Span) {
        self.list.push(Field { id, name, value });
    }

    /// Adds a field. The caller vouches for the syntax of name and value.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let name_span = self.store(name);
        let value_span = self.store(value);
        self.push_spans(FieldId::of(name), name_span, value_span);
    }

    /// Removes the fields for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(FieldId, &[u8], &[u8]) -> bool) {
        let bytes = &self.bytes;
        let get = |span: Span| {
            let start = span.start as usize;
            bytes
                .get(start..start + span.len as usize)
                .unwrap_or_default()
        };
        self.list
            .retain(|field| keep(field.id, get(field.name), get(field.value)));
    }

    /// All fields in order: id, name as sent, value.
    pub fn iter(&self) -> impl Iterator<Item = (FieldId, &[u8], &[u8])> {
        self.list
            .iter()
            .map(|field| (field.id, self.get(field.name), self.get(field.value)))
    }

    /// All fields in order, as places in the arena.
    pub fn list(&self) -> &[Field] {
        &self.list
    }

    /// Where a field stands just as it is written in HTTP/1, its line's end included, if it does.
    pub fn line(&self, field: &Field) -> Option<Range<usize>> {
        let start = field.name.start as usize;
        let colon = start + field.name.len as usize;
        let end = (field.value.start + field.value.len) as usize;
        let is_written = field.value.start as usize == colon + 2
            && self.bytes.get(colon..colon + 2) == Some(b": ")
            && self.bytes.get(end..end + 2) == Some(b"\r\n");
        is_written.then_some(start..end + 2)
    }

    /// The bytes of a place in the arena; empty if there is none.
    pub fn slice(&self, place: Range<usize>) -> &[u8] {
        self.bytes.get(place).unwrap_or_default()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there is no field.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value of the first field with this id.
    pub fn first(&self, id: FieldId) -> Option<&[u8]> {
        self.list
            .iter()
            .find(|field| field.id == id)
            .map(|field| self.get(field.value))
    }

    /// The values of all fields with this id.
    pub fn all(&self, id: FieldId) -> impl Iterator<Item = &[u8]> {
        self.list
            .iter()
            .filter(move |field| field.id == id)
            .map(|field| self.get(field.value))
    }

    /// The value of the first field with this name, in any case.
    pub fn named(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter()
            .find(|(_, have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, _, value)| value)
    }
}

/// What stands in logs and debug output for a credential.
pub const REDACTED: &[u8] = b"[redacted]";

/// The value of a field as it may be shown to people: itself, or [`REDACTED`] if the field carries
/// a credential.
pub fn redact<'a>(id: FieldId, name: &[u8], value: &'a [u8]) -> &'a [u8] {
    const NAMES: &[&[u8]] = &[
        b"api-key",
        b"x-api-key",
        b"x-access-token",
        b"x-amz-security-token",
        b"x-auth-token",
        b"x-csrf-token",
        b"x-gitlab-token",
        b"x-vault-token",
        b"x-xsrf-token",
    ];
    let secret = match id {
        FieldId::Authorization
        | FieldId::Cookie
        | FieldId::ProxyAuthorization
        | FieldId::SetCookie => true,
        FieldId::Other => NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)),
        _ => false,
    };
    if secret { REDACTED } else { value }
}

/// Shows the fields without their credentials.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(id, name, value)| {
                (
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(redact(id, name, value)),
                )
            }))
            .finish()
    }
}

/// A request head.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The method's token.
    pub method_span: Span,
    /// The version the client spoke.
    pub version: Version,
    /// The host that the request is for, with its port if one was given: from the target's
    /// authority if there is one, else from `Host`. Empty for HTTP/1.0 without `Host`.
    pub authority: Span,
    /// The path: starts with `/`, or is `*` (OPTIONS), or is empty (CONNECT).
    pub path: Span,
    /// The query without its `?`.
    pub query: Option<Span>,
    /// How the body ends.
    pub body: Framing,
    /// The client wants to reuse the connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The client asks to change the protocol: `Upgrade` is named by `Connection`.
    pub upgrade: bool,
    /// All fields.
    pub fields: Fields,
}

impl Request {
    /// Empties the head and keeps its memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// The method's bytes.
    pub fn method_bytes(&self) -> &[u8] {
        self.fields.get(self.method_span)
    }

    /// Host and port that the request is for, as sent.
    pub fn authority_bytes(&self) -> &[u8] {
        self.fields.get(self.authority)
    }

    /// The path's bytes.
    pub fn path_bytes(&self) -> &[u8] {
        self.fields.get(self.path)
    }

    /// The query's bytes, if there is one.
    pub fn query_bytes(&self) -> Option<&[u8]> {
        self.query.map(|span| self.fields.get(span))
    }
}

/// A response head.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The version the endpoint spoke.
    pub version: Version,
    /// The status code, 100 to 999.
    pub status: u16,
    /// The reason phrase.
    pub phrase: Span,
    /// How the body ends, given the method of the request.
    pub body: Framing,
    /// The endpoint keeps the connection open.
    pub keep_alive: bool,
    /// All fields.
    pub fields: Fields,
}

impl Response {
    /// Empties the head and keeps its memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// The reason phrase's bytes.
    pub fn phrase_bytes(&self) -> &[u8] {
        self.fields.get(self.phrase)
    }
}
