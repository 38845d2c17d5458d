//! Recognises an MQTT CONNECT packet (MQTT 5.0 section 3.1, MQTT 3.1.1 section 3.1).

use super::{Guess, exact};

/// The high bit of the protocol level: set by bridges to say that they are bridges.
const BRIDGE: u8 = 0x80;

/// Smallest remaining length of a CONNECT: 10 bytes of variable header and an empty client id.
const SMALLEST: u32 = 12;

/// Says whether a connection begins with a CONNECT packet. Decided by the protocol level.
pub(super) fn guess(prefix: &[u8]) -> Guess {
    let Some((first, rest)) = prefix.split_first() else {
        return Guess::Maybe;
    };
    if *first != 0x10 {
        return Guess::No;
    }
    let body = match remaining_length(rest) {
        Ok(Some((length, body))) if length >= SMALLEST => body,
        Ok(None) => return Guess::Maybe,
        _ => return Guess::No,
    };
    let v3_1_1 = name_and_level(body, b"\x00\x04MQTT", &[4, 5]);
    let v3_1 = name_and_level(body, b"\x00\x06MQIsdp", &[3]);
    match (v3_1_1, v3_1) {
        (Guess::Yes, _) | (_, Guess::Yes) => Guess::Yes,
        (Guess::No, Guess::No) => Guess::No,
        _ => Guess::Maybe,
    }
}

fn name_and_level(body: &[u8], name: &[u8], levels: &[u8]) -> Guess {
    match exact(body, name) {
        Guess::Yes => match body.get(name.len()) {
            None => Guess::Maybe,
            Some(level) if levels.contains(&(level & !BRIDGE)) => Guess::Yes,
            Some(_) => Guess::No,
        },
        other => other,
    }
}

/// Reads the remaining length: 1 to 4 bytes of 7 bits, least significant first. `Ok(None)` if it
/// is cut, `Err` if it goes on after the fourth byte.
fn remaining_length(bytes: &[u8]) -> Result<Option<(u32, &[u8])>, ()> {
    let mut length = 0;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        length |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((length, bytes.get(i + 1..).unwrap_or_default())));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(()) }
}
