//! Detection: which protocol the first bytes of a connection belong to.
//!
//! Everything here is a pure function of a prefix. It can be asked again after each read, or once
//! with all bytes, and gives the same answer: a verdict other than [`Verdict::NeedMore`] never
//! changes when more bytes come.
//!
//! What this gives up: a protocol is told by its first bytes alone, so a raw stream that begins
//! like HTTP (`GET /` …), like a TLS hello or like an MQTT CONNECT is taken for it. A listener
//! whose routes are all raw streams is not asked (see [`crate::route::Table::only_stream`]).

mod hello;
mod http;
mod mqtt;

#[cfg(test)]
mod hello_tests;
#[cfg(test)]
mod tests;

pub use hello::{ClientHello, Hello, MAX_HELLO, MAX_HELLO_PREFIX, client_hello};
pub use http::MAX_REQUEST_LINE;

/// What a connection speaks, as far as its first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The bytes fit two answers still: read on.
    NeedMore,
    /// A TLS record with a ClientHello in it (RFC 8446 section 4.1.2).
    Tls,
    /// An HTTP/1 request line (RFC 9112 section 3).
    Http1,
    /// The HTTP/2 connection preface (RFC 9113 section 3.4).
    Http2,
    /// An MQTT CONNECT packet, version 3.1, 3.1.1 or 5.
    Mqtt,
    /// None of these.
    Opaque,
}

/// Tells what a connection speaks from its first plain bytes.
///
/// The answer comes with the first byte that settles it, at most [`MAX_REQUEST_LINE`] bytes in:
/// - `Tls` after 6 bytes: handshake record, version 3.0 to 3.4, plausible length, ClientHello.
/// - `Http1` after a registered method and ` /` or ` http://`. Everything else that might be a
///   request line must be whole, down to ` HTTP/1.x`: `OPTIONS * ` may be RTSP, `CONNECT {` is
///   NATS, `GET key` is Redis, and a method of one's own may be any line protocol's command.
/// - `Http2` after the whole preface.
/// - `Mqtt` after the protocol level of a CONNECT packet.
/// - `Opaque` at the first byte that excludes all others.
pub fn sniff(prefix: &[u8]) -> Verdict {
    let guesses = [
        (Verdict::Tls, hello::guess(prefix)),
        (Verdict::Http2, exact(prefix, HTTP2_PREFACE)),
        (Verdict::Http1, http::guess(prefix)),
        (Verdict::Mqtt, mqtt::guess(prefix)),
    ];
    let mut open = false;
    for (verdict, guess) in guesses {
        match guess {
            Guess::Yes => return verdict,
            Guess::Maybe => open = true,
            Guess::No => {}
        }
    }
    if open {
        Verdict::NeedMore
    } else {
        Verdict::Opaque
    }
}

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What one protocol says of a prefix. `Yes` and `No` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    Yes,
    Maybe,
    No,
}

/// Compares a prefix with the bytes that a protocol always begins with.
fn exact(prefix: &[u8], expected: &[u8]) -> Guess {
    if prefix.starts_with(expected) {
        Guess::Yes
    } else if expected.starts_with(prefix) {
        Guess::Maybe
    } else {
        Guess::No
    }
}
