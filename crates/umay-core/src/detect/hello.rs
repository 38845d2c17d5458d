//! Reads a TLS ClientHello from the first bytes of a connection, before TLS itself is spoken: the
//! server name decides about passthrough, and names in logs what came.
//!
//! The reader checks what it needs to find the extensions and no more; whether the handshake is
//! good is for the TLS library or the endpoint to say.

use std::borrow::Cow;
use std::net::IpAddr;

use super::Guess;

/// Bytes of a ClientHello message that are put together: 64 KiB. Post-quantum hellos have about 2.
pub const MAX_HELLO: usize = 64 * 1024;

/// Bytes of a connection that are looked at for a ClientHello, records' headers included: 128 KiB.
pub const MAX_HELLO_PREFIX: usize = 2 * MAX_HELLO;

/// What a ClientHello asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name (RFC 6066 section 3): a host name in lower case, without a final dot.
    /// `None` if there is none, or if it is an IP address, which RFC 6066 does not allow there.
    pub sni: Option<String>,
    /// The application protocols (RFC 7301), most wanted first; empty if there are none.
    pub alpn: Vec<Vec<u8>>,
}

/// What came of an attempt to read a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The hello is not whole yet.
    NeedMore,
    /// The hello.
    Hello(ClientHello),
    /// It can never become a hello; the word says what is wrong.
    Malformed(&'static str),
}

/// Reads the ClientHello from the first bytes of a TLS connection, over however many records it is
/// cut (RFC 8446 section 5.1).
pub fn client_hello(prefix: &[u8]) -> Hello {
    let message = match gather(prefix) {
        Ok(Some(message)) => message,
        Ok(None) => return Hello::NeedMore,
        Err(word) => return Hello::Malformed(word),
    };
    let body = message.get(HANDSHAKE_HEADER..).unwrap_or_default();
    match parse(body) {
        Ok(hello) => Hello::Hello(hello),
        Err(word) => Hello::Malformed(word),
    }
}

/// Says whether a connection begins with a record that begins with a ClientHello.
pub(super) fn guess(prefix: &[u8]) -> Guess {
    let fits = |(i, byte): (usize, &u8)| match i {
        0 => *byte == HANDSHAKE,
        1 => *byte == 3,
        2 => *byte <= 4,
        3 => *byte <= (MAX_RECORD >> 8) as u8,
        4 => matches!(record_length(prefix), 1..=MAX_RECORD),
        _ => *byte == CLIENT_HELLO,
    };
    if !prefix.iter().take(RECORD_HEADER + 1).enumerate().all(fits) {
        Guess::No
    } else if prefix.len() > RECORD_HEADER {
        Guess::Yes
    } else {
        Guess::Maybe
    }
}

/// Content type of a handshake record.
const HANDSHAKE: u8 = 22;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Content type, version, length.
const RECORD_HEADER: usize = 5;
/// Handshake type, length.
const HANDSHAKE_HEADER: usize = 4;
/// Bytes of plaintext in a record (RFC 8446 section 5.1).
const MAX_RECORD: usize = 1 << 14;

/// The length in a record header; 0 if the header is cut.
fn record_length(header: &[u8]) -> usize {
    match header {
        [_, _, _, high, low, ..] => usize::from(*high) << 8 | usize::from(*low),
        _ => 0,
    }
}

/// Puts the ClientHello message together, with its handshake header. Copies only if it is cut.
fn gather(prefix: &[u8]) -> Result<Option<Cow<'_, [u8]>>, &'static str> {
    let too_long = prefix.len() > MAX_HELLO_PREFIX;
    let mut rest = prefix.get(..MAX_HELLO_PREFIX).unwrap_or(prefix);
    let mut message = Cow::Borrowed(&[][..]);
    loop {
        check_record(rest)?;
        let Some((_, fragment)) = rest.split_at_checked(RECORD_HEADER) else {
            return if too_long {
                Err("hello_too_long")
            } else {
                Ok(None)
            };
        };
        let length = record_length(rest);
        let (fragment, next) = fragment.split_at_checked(length).unwrap_or((fragment, &[]));
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        let Some(whole) = message_length(&message)? else {
            rest = next;
            continue;
        };
        // What this record will have carried once it is all here.
        let carried = message.len() + length - fragment.len();
        if carried > whole {
            return Err("data_after_hello");
        }
        if message.len() == whole {
            return Ok(Some(message));
        }
        rest = next;
    }
}

/// Refuses a record that cannot carry a hello, by as much of its header as is there.
fn check_record(header: &[u8]) -> Result<(), &'static str> {
    match header {
        [kind, ..] if *kind != HANDSHAKE => Err("not_a_handshake"),
        [_, major, ..] if *major != 3 => Err("bad_record_version"),
        [_, _, _, _, _, ..] if !matches!(record_length(header), 1..=MAX_RECORD) => {
            Err("bad_record_length")
        }
        _ => Ok(()),
    }
}

/// The length of the message with its header, once that is there.
fn message_length(message: &[u8]) -> Result<Option<usize>, &'static str> {
    match message {
        [kind, ..] if *kind != CLIENT_HELLO => Err("not_a_client_hello"),
        [_, high, mid, low, ..] => {
            let body = usize::from(*high) << 16 | usize::from(*mid) << 8 | usize::from(*low);
            if body > MAX_HELLO {
                return Err("hello_too_long");
            }
            Ok(Some(HANDSHAKE_HEADER + body))
        }
        _ => Ok(None),
    }
}

/// Reads the body of a ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2).
fn parse(body: &[u8]) -> Result<ClientHello, &'static str> {
    let (mut sni, mut alpn) = (None, None);
    let mut rest = skip_to_extensions(body).ok_or("hello_cut")?;
    // A TLS 1.2 hello may end without extensions.
    if !rest.is_empty() {
        let (extensions, after) = vector16(rest).ok_or("hello_cut")?;
        if !after.is_empty() {
            return Err("data_after_extensions");
        }
        rest = extensions;
    }
    while !rest.is_empty() {
        let (kind, value) = take(rest, 2).ok_or("extension_cut")?;
        let (value, next) = vector16(value).ok_or("extension_cut")?;
        let known = match kind {
            [0, 0] => sni.replace(server_name(value)?).is_some(),
            [0, 16] => alpn.replace(protocols(value).ok_or("bad_alpn")?).is_some(),
            _ => false,
        };
        if known {
            return Err("duplicate_extension");
        }
        rest = next;
    }
    Ok(ClientHello {
        sni: sni.flatten(),
        alpn: alpn.unwrap_or_default(),
    })
}

/// Skips version, random, session id, cipher suites and compression methods.
fn skip_to_extensions(body: &[u8]) -> Option<&[u8]> {
    let (_version_and_random, rest) = take(body, 2 + 32)?;
    let (session, rest) = vector8(rest)?;
    let (suites, rest) = vector16(rest)?;
    let (compression, rest) = vector8(rest)?;
    let sound = session.len() <= 32 && !suites.is_empty() && suites.len() % 2 == 0;
    (sound && !compression.is_empty()).then_some(rest)
}

/// Reads a list of exactly one host name; RFC 6066 section 3 defines no other type of name, and no
/// second name of one type.
fn server_name(value: &[u8]) -> Result<Option<String>, &'static str> {
    const WORD: &str = "bad_server_name";
    let (list, after) = vector16(value).ok_or(WORD)?;
    let (kind, name) = take(list, 1).ok_or(WORD)?;
    let (name, second) = vector16(name).ok_or(WORD)?;
    if kind != [0] || !after.is_empty() || !second.is_empty() {
        return Err(WORD);
    }
    let name = std::str::from_utf8(name).map_err(|_| WORD)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    if !is_host_name(name) {
        return Err(WORD);
    }
    Ok(Some(name.to_ascii_lowercase()))
}

/// Labels of 1 to 63 letters, digits, hyphens and underscores, 253 bytes in all.
fn is_host_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    name.len() <= 253
        && name
            .split('.')
            .all(|label| matches!(label.len(), 1..=63) && label.bytes().all(legal))
}

/// Reads a list of protocol names (RFC 7301 section 3.1).
fn protocols(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut list, after) = vector16(value)?;
    if list.is_empty() || !after.is_empty() {
        return None;
    }
    let mut names = Vec::new();
    while !list.is_empty() {
        let (name, next) = vector8(list)?;
        if name.is_empty() {
            return None;
        }
        names.push(name.to_vec());
        list = next;
    }
    Some(names)
}

/// The first `count` bytes and the rest.
fn take(bytes: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(count)
}

/// A vector with one byte of length, and the rest.
fn vector8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    take(rest, usize::from(*length))
}

/// A vector with two bytes of length, and the rest.
fn vector16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    take(rest, usize::from(u16::from_be_bytes(*length)))
}
