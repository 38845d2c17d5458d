//! Header fields that an intermediary answers for: those that end at one connection, those that
//! say where a request came from, and those that must not be shown.

mod elements;
mod forwarded;

#[cfg(test)]
mod forwarded_tests;

pub use crate::message::{REDACTED, redact};
pub use elements::IpText;
pub use forwarded::{Forwarded, Policy, RequestId};

use crate::message::{FieldId, Fields};

/// Connection options, other than the usual ones, that a message may have: 16.
pub const MAX_CONNECTION_OPTIONS: usize = 16;

/// True for fields that are about one connection and are never passed on (RFC 9110 section 7.6.1).
///
/// `Trailer` is passed on, since trailers are. So are `Proxy-Authorization` and
/// `Proxy-Authenticate`: Umay never asks for the credentials of a proxy, so they can only be meant
/// for a proxy behind it, which RFC 9110 section 11.7.2 lets an intermediary relay.
pub fn is_hop_by_hop(id: FieldId) -> bool {
    matches!(
        id,
        FieldId::Connection
            | FieldId::Http2Settings
            | FieldId::KeepAlive
            | FieldId::ProxyConnection
            | FieldId::Te
            | FieldId::TransferEncoding
            | FieldId::Upgrade
    )
}

/// False for fields that must not be trailers (RFC 9110 section 6.5.1): those that steer framing, routing, authentication or the reading of the body, and for
/// those of one connection.
pub fn may_be_trailer(name: &[u8]) -> bool {
    let id = FieldId::of(name);
    let steers = matches!(
        id,
        FieldId::Authorization
            | FieldId::ContentLength
            | FieldId::ContentType
            | FieldId::Cookie
            | FieldId::Expect
            | FieldId::Forwarded
            | FieldId::Host
            | FieldId::ProxyAuthenticate
            | FieldId::ProxyAuthorization
            | FieldId::SetCookie
            | FieldId::Trailer
            | FieldId::XForwardedFor
            | FieldId::XForwardedHost
            | FieldId::XForwardedProto
            | FieldId::XRealIp
            | FieldId::XRequestId
    );
    let about_content = name
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    !steers && !about_content && !is_hop_by_hop(id)
}

/// The fields that a message's `Connection` names, which end at this connection too.
///
/// A sender can name any field there, also one that Umay or the endpoint relies on. So this is to
/// be applied to what was received, before filters and [`Forwarded`] add anything, and it spares:
/// - all fields that have a [`FieldId`]: they are hop by hop by nature or not at all;
/// - `Cache-Control` and all of `Content-*`, `X-Forwarded-*` and `Sec-WebSocket-*`.
#[derive(Clone, Debug, Default)]
pub struct ConnectionNamed<'a> {
    /// Empty, and then without memory, for messages that name nothing but the usual.
    options: Vec<&'a [u8]>,
}

/// A message's `Connection` names more than [`MAX_CONNECTION_OPTIONS`] unusual options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyOptions;

impl<'a> ConnectionNamed<'a> {
    /// Reads the `Connection` fields of a message. Refuses lists so long that to look them up for
    /// each field would be an attack.
    pub fn of(fields: &'a Fields) -> Result<Self, TooManyOptions> {
        let mut options = Vec::new();
        for value in fields.all(FieldId::Connection) {
            for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                if !can_be_named(option) {
                    continue;
                }
                if options.len() == MAX_CONNECTION_OPTIONS {
                    return Err(TooManyOptions);
                }
                options.push(option);
            }
        }
        Ok(Self { options })
    }

    /// True if the field is named and may be dropped for it.
    pub fn names(&self, id: FieldId, name: &[u8]) -> bool {
        let matches = |option: &&[u8]| option.eq_ignore_ascii_case(name);
        id == FieldId::Other && !self.options.is_empty() && self.options.iter().any(matches)
    }
}

/// True if an option names a field that is dropped for being named.
fn can_be_named(option: &[u8]) -> bool {
    const SPARED: &[&[u8]] = &[b"content-", b"x-forwarded-", b"sec-websocket-"];
    const USUAL: &[&[u8]] = &[b"", b"close", b"cache-control"];
    let spared = SPARED.iter().any(|prefix| starts_with(option, prefix));
    let usual = USUAL.iter().any(|word| option.eq_ignore_ascii_case(word));
    FieldId::of(option) == FieldId::Other && !spared && !usual
}

/// True if a name begins with `prefix`, in any case.
fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    let start = name.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for value in values {
            fields.push(b"Connection", value.as_bytes());
        }
        fields
    }

    fn named(fields: &Fields, name: &str) -> bool {
        let named = ConnectionNamed::of(fields).unwrap();
        named.names(FieldId::of(name.as_bytes()), name.as_bytes())
    }

    #[test]
    fn hop_by_hop_fields() {
        for (name, ends) in [
            ("connection", true),
            ("Keep-Alive", true),
            ("proxy-connection", true),
            ("TE", true),
            ("transfer-encoding", true),
            ("upgrade", true),
            ("http2-settings", true),
            ("trailer", false),
            ("proxy-authorization", false),
            ("proxy-authenticate", false),
            ("host", false),
            ("x-hop", false),
        ] {
            assert_eq!(is_hop_by_hop(FieldId::of(name.as_bytes())), ends, "{name}");
        }
    }

    #[test]
    fn named_fields_go_and_vital_ones_stay() {
        let fields = connection(&[
            "close, X-Hop ,, upgrade",
            "host, content-length, Authorization, cookie, x-forwarded-for, x-request-id",
            "X-Forwarded-Port, content-encoding, sec-websocket-version, cache-control, y",
        ]);
        for (name, goes) in [
            ("x-hop", true),
            ("Y", true),
            ("x", false),
            ("close", false),
            ("Host", false),
            ("content-length", false),
            ("Content-Encoding", false),
            ("authorization", false),
            ("cookie", false),
            ("x-forwarded-for", false),
            ("X-Forwarded-Port", false),
            ("x-request-id", false),
            ("sec-websocket-version", false),
            ("cache-control", false),
        ] {
            assert_eq!(named(&fields, name), goes, "{name}");
        }
    }

    #[test]
    fn the_usual_options_cost_nothing() {
        let fields = connection(&["keep-alive, Upgrade", "close", "TE, HTTP2-Settings"]);
        assert_eq!(ConnectionNamed::of(&fields).unwrap().options.capacity(), 0);
        assert!(
            ConnectionNamed::of(&Fields::default())
                .unwrap()
                .options
                .is_empty()
        );
    }

    #[test]
    fn the_number_of_options_is_bounded() {
        let many = |count: usize| connection(&[&vec!["a"; count].join(",")]);
        assert!(ConnectionNamed::of(&many(MAX_CONNECTION_OPTIONS)).is_ok());
        let over = many(MAX_CONNECTION_OPTIONS + 1);
        assert_eq!(ConnectionNamed::of(&over).err(), Some(TooManyOptions));
    }

    #[test]
    fn credentials_are_not_shown() {
        for (name, shown) in [
            ("Authorization", false),
            ("proxy-authorization", false),
            ("Cookie", false),
            ("set-cookie", false),
            ("X-Api-Key", false),
            ("host", true),
            ("x-other", true),
        ] {
            let value = redact(FieldId::of(name.as_bytes()), name.as_bytes(), b"v");
            assert_eq!(value == b"v", shown, "{name}");
        }
    }
}
