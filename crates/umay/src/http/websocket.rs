//! The handshake of WebSocket where the versions of HTTP do it differently (RFC 6455 section 4,
//! RFC 8441): HTTP/1 proves with a key that both sides mean it, HTTP/2 has a method for it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use umay_core::message::{FieldId, Request};

/// The one protocol that is translated.
pub(super) const PROTOCOL: &[u8] = b"websocket";

/// True if the upgrade that a request asks for is to WebSocket, and to nothing else.
pub(super) fn is_asked_for(request: &Request) -> bool {
    let mut protocols = request.fields.all(FieldId::Upgrade);
    let key = request.fields.first(FieldId::SecWebSocketKey);
    key.is_some() && protocols.all(|protocol| protocol.eq_ignore_ascii_case(PROTOCOL))
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
pub(super) fn accept(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    base64(hash.as_ref())
}

/// A fresh key from 128 random bits.
pub(super) fn key(random: u128) -> String {
    base64(&random.to_be_bytes())
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) as usize & 0x3f;
            let letter = ALPHABET.get(digit).filter(|_| place <= group.len());
            text.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let accepted = accept(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn base64_has_its_padding() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(key(0).len(), 24);
    }
}
