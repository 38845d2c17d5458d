//! Who the client is, behind proxies that are trusted, and how the endpoint is told.
//!
//! An untrusted peer is the client, and whatever it says about itself is replaced. A trusted peer's
//! word is believed and added to. If it sends both `X-Forwarded-For` and `Forwarded`, the former
//! counts.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::elements::{IpText, elements, is_https, parse_ip, proto, push_element};
use super::starts_with;
use crate::message::{FieldId, Fields, Request};

/// What a listener believes and sends.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Networks of the proxies whose word counts.
    pub trusted: &'a [IpNet],
    /// Send `Forwarded` (RFC 7239) besides `X-Forwarded-*`.
    pub forwarded: bool,
}

/// What is known of a request's origin.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The client's address: the peer's, or the one that trusted proxies vouch for.
    pub client_ip: IpAddr,
    /// The client itself used TLS, as far as is known.
    pub secure: bool,
    /// The request's id.
    pub request_id: RequestId,
    peer: Hop,
    send_forwarded: bool,
    /// What a trusted peer said; `None` if the peer is not trusted.
    received: Option<Box<Received>>,
}

/// The id of a request: 32 hexadecimal digits, or what a trusted peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Id);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Id {
    New([u8; 32]),
    Received(Box<str>),
}

/// The last hop: who connected to Umay and how.
#[derive(Clone, Copy, Debug)]
struct Hop {
    ip: IpAddr,
    secure: bool,
}

/// What a trusted peer said. Empty is absent.
#[derive(Clone, Debug, Default)]
struct Received {
    x_forwarded_for: Vec<u8>,
    forwarded: Vec<u8>,
    host: Vec<u8>,
}

impl Policy<'_> {
    /// Decides who the client of a request is.
    ///
    /// - `peer` is who connected, after PROXY protocol if there was one.
    /// - `secure` says whether the peer speaks TLS.
    /// - `random` is 128 fresh random bits, for the request's id if it brings none that counts.
    ///
    /// From a trusted peer, the addresses of `X-Forwarded-For` are walked from the right: the first
    /// that is not trusted is the client's. What is no address ends the walk, and the last address
    /// before it counts. `X-Request-Id` is taken if it has 1 to 128 of `A-Za-z0-9._-`.
    pub fn decide(
        &self,
        peer: SocketAddr,
        secure: bool,
        request: &Request,
        random: u128,
    ) -> Forwarded {
        let peer = Hop {
            ip: peer.ip().to_canonical(),
            secure,
        };
        let mut decided = Forwarded {
            client_ip: peer.ip,
            secure,
            request_id: RequestId::new(random),
            peer,
            send_forwarded: self.forwarded,
            received: None,
        };
        if self.trusts(peer.ip) {
            self.believe(&mut decided, &request.fields);
        }
        decided
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&ip))
    }

    /// Takes over what a trusted peer says.
    fn believe(&self, decided: &mut Forwarded, fields: &Fields) {
        let mut received = Received {
            x_forwarded_for: joined(fields, FieldId::XForwardedFor),
            forwarded: joined(fields, FieldId::Forwarded),
            host: Vec::new(),
        };
        let mut proto = None;
        if !received.x_forwarded_for.is_empty() {
            let entries = received.x_forwarded_for.rsplit(|b| *b == b',');
            for entry in entries.map(<[u8]>::trim_ascii).filter(|e| !e.is_empty()) {
                let Some(ip) = parse_ip(entry) else { break };
                decided.client_ip = ip;
                if !self.trusts(ip) {
                    break;
                }
            }
        } else {
            for element in elements(&received.forwarded).into_iter().rev() {
                // Written by a trusted hop, even if it hides the address that it was sent from.
                proto = element.secure;
                received.host = element.host;
                let Some(ip) = element.ip else { break };
                decided.client_ip = ip;
                if !self.trusts(ip) {
                    break;
                }
            }
        }
        if let Some(value) = fields.first(FieldId::XForwardedProto) {
            proto = is_https(value);
        }
        if let Some(value) = fields.first(FieldId::XForwardedHost) {
            received.host = value.to_vec();
        }
        if let Some(id) = fields
            .first(FieldId::XRequestId)
            .and_then(RequestId::received)
        {
            decided.request_id = id;
        }
        decided.secure = proto.unwrap_or(decided.peer.secure);
        decided.received = Some(Box::new(received));
    }
}

impl Forwarded {
    /// True if the peer is a proxy whose word counts.
    pub fn is_trusted(&self) -> bool {
        self.received.is_some()
    }

    /// True if a received field must not be passed on as it is: [`Self::write`] writes it anew, or
    /// an untrusted peer tries to pass for a proxy with it. That holds for `x_forwarded_for` and
    /// the like too, since many endpoints read `_` in a name as `-`.
    pub fn replaces(&self, id: FieldId, name: &[u8]) -> bool {
        match id {
            FieldId::Forwarded
            | FieldId::XForwardedFor
            | FieldId::XForwardedHost
            | FieldId::XForwardedProto
            | FieldId::XRequestId => true,
            FieldId::XRealIp => self.received.is_none(),
            FieldId::Other => self.received.is_none() && poses_as_proxy(name),
            _ => false,
        }
    }

    /// Hands out the fields that tell the endpoint, as name and value. `authority` is the host that
    /// the request is for; a trusted peer's `X-Forwarded-Host` comes before it.
    ///
    /// `Forwarded` is not passed on if it is not sent: a list that lacks a hop misleads.
    pub fn write(&self, authority: &[u8], put: &mut impl FnMut(&[u8], &[u8])) {
        let received = self.received.as_deref();
        match received {
            None => put(b"X-Forwarded-For", IpText::of(self.peer.ip).as_bytes()),
            Some(received) => put(b"X-Forwarded-For", &self.x_forwarded_for(received)),
        }
        put(b"X-Forwarded-Proto", proto(self.secure));
        let host = received.map_or(authority, |received| match &received.host[..] {
            [] => authority,
            host => host,
        });
        if !host.is_empty() {
            put(b"X-Forwarded-Host", host);
        }
        put(b"X-Request-Id", self.request_id.as_bytes());
        if self.send_forwarded {
            put(b"Forwarded", &self.forwarded(received, authority));
        }
    }

    /// The list with the peer added; begun with the client if only `Forwarded` told of it.
    fn x_forwarded_for(&self, received: &Received) -> Vec<u8> {
        let mut list = received.x_forwarded_for.clone();
        if list.is_empty() && self.client_ip != self.peer.ip {
            list.extend_from_slice(IpText::of(self.client_ip).as_bytes());
        }
        separate(&mut list);
        list.extend_from_slice(IpText::of(self.peer.ip).as_bytes());
        list
    }

    /// The list with an element for the peer added (RFC 7239 section 4); begun with an element for
    /// the client if only `X-Forwarded-*` told of it.
    fn forwarded(&self, received: Option<&Received>, authority: &[u8]) -> Vec<u8> {
        let mut list = Vec::new();
        if let Some(received) = received {
            list.extend_from_slice(&received.forwarded);
            if list.is_empty() && self.client_ip != self.peer.ip {
                push_element(&mut list, self.client_ip, &received.host, self.secure);
            }
        }
        separate(&mut list);
        push_element(&mut list, self.peer.ip, authority, self.peer.secure);
        list
    }
}

impl RequestId {
    /// Formats 128 random bits.
    pub fn new(random: u128) -> Self {
        let mut digits = [b'0'; 32];
        let (pairs, _) = digits.as_chunks_mut();
        for (pair, byte) in pairs.iter_mut().zip(random.to_be_bytes()) {
            *pair = [hex(byte >> 4), hex(byte & 0xf)];
        }
        Self(Id::New(digits))
    }

    /// Takes an id from outside, if it is fit for logs and headers.
    fn received(value: &[u8]) -> Option<Self> {
        let legal = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
        if !matches!(value.len(), 1..=128) || !value.iter().all(legal) {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        Some(Self(Id::Received(text.into())))
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Id::New(digits) => digits,
            Id::Received(text) => text.as_bytes(),
        }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Digits are always UTF-8.
            Id::New(digits) => std::str::from_utf8(digits).unwrap_or_default(),
            Id::Received(text) => text,
        }
    }
}

/// The digit of a number below 16. Without a branch, so that all are written at once.
fn hex(nibble: u8) -> u8 {
    b'0' + nibble + u8::from(nibble > 9) * (b'a' - b'9' - 1)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All values of a field as one list (RFC 9110 section 5.3).
fn joined(fields: &Fields, id: FieldId) -> Vec<u8> {
    let mut list = Vec::new();
    for value in fields.all(id).filter(|value| !value.is_empty()) {
        separate(&mut list);
        list.extend_from_slice(value);
    }
    list
}

fn separate(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
}

/// True for names that endpoints read as a proxy's word, with `-` or `_`.
fn poses_as_proxy(name: &[u8]) -> bool {
    if !matches!(name, [b'x' | b'X', b'-' | b'_', ..]) {
        return false;
    }
    let mut folded = [0; 12];
    for (to, from) in folded.iter_mut().zip(name) {
        *to = if *from == b'_' { b'-' } else { *from };
    }
    let start = folded.get(..name.len()).unwrap_or(&folded);
    starts_with(start, b"x-forwarded-")
        || start.eq_ignore_ascii_case(b"x-real-ip")
        || start.eq_ignore_ascii_case(b"x-request-id") && name.len() == start.len()
}
