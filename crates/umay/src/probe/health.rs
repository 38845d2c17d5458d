//! The messages of `grpc.health.v1.Health/Check` as bytes: a dozen of them, so they are written and
//! read by hand.
//!
//! ```text
//! message HealthCheckRequest  { string service = 1; }
//! message HealthCheckResponse { enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2;
//!                               SERVICE_UNKNOWN = 3; } ServingStatus status = 1; }
//! ```

use bytes::{BufMut, Bytes, BytesMut};

/// The longest answer that is read, with what stands before it: 1 KiB. A usual one has 7 bytes.
pub(super) const LONGEST: usize = 1024;

/// What stands before a message: whether it is compressed, and its length in four bytes.
const PREFIX: usize = 5;

/// The request for a service's health, with its prefix.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // Field 1, of bytes that say how many they are.
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

/// What a whole body says: fine if it is SERVING, else the word that it is instead, or what is wrong with it.
pub(super) fn judge(body: &[u8]) -> Result<(), String> {
    let Some(([flag, length @ ..], message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(match body.len() {
            0 => "no message".to_owned(),
            n => format!("a message that ends after {n} bytes"),
        });
    };
    if *flag != 0 {
        return Err("a message that is compressed, which was not asked for".to_owned());
    }
    let (said, came) = (u32::from_be_bytes(*length), message.len());
    if usize::try_from(said) != Ok(came) {
        return Err(format!(
            "a message that says {said} bytes, of which {came} came"
        ));
    }
    let status = status(message).ok_or("a message that is not proper protobuf")?;
    match status {
        1 => Ok(()),
        0 => Err("UNKNOWN".to_owned()),
        2 => Err("NOT_SERVING".to_owned()),
        3 => Err("SERVICE_UNKNOWN".to_owned()),
        other => Err(format!("status {other}, which has no name")),
    }
}

/// Field 1 of a message, which is 0 if it is not there. Fields that later versions may add are passed
/// over; `None` if the bytes are no message.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let (field, kind) = (tag >> 3, tag & 7);
        // The highest number of a field is 2^29 - 1.
        if field == 0 || field >= 1 << 29 {
            return None;
        }
        match (field, kind) {
            (1, 0) => status = varint(&mut message)?,
            (1, _) => return None,
            (_, 0) => {
                varint(&mut message)?;
            }
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            // Groups, which nobody writes any more, and kinds that do not exist.
            _ => return None,
        }
    }
    Some(status)
}

/// A number of seven bits per byte, the lowest first; at most 64 bits.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_message() {
        assert_eq!(&request("")[..], b"\0\0\0\0\0");
        assert_eq!(&request("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(300);
        let framed = request(&long);
        assert_eq!(&framed[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
        assert_eq!(&framed[8..], long.as_bytes());
    }

    #[test]
    fn only_serving_is_well() {
        let framed = |message: &[u8]| {
            let length = u32::try_from(message.len()).unwrap();
            judge(&[&[0][..], &length.to_be_bytes(), message].concat())
        };
        let bad = "a message that is not proper protobuf";
        for (message, told) in [
            (&b"\x08\x01"[..], ""),
            (b"", "UNKNOWN"),
            (b"\x08\x00", "UNKNOWN"),
            (b"\x08\x02", "NOT_SERVING"),
            (b"\x08\x03", "SERVICE_UNKNOWN"),
            (b"\x08\x04", "status 4, which has no name"),
            // Written long, which is allowed; the last one counts; others are passed over.
            (b"\x08\x81\x80\x00", ""),
            (b"\x08\x02\x08\x01", ""),
            (b"\x10\x05\x08\x01\x1a\x02hi\x25abcd\x29abcdefgh", ""),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                "status 18446744073709551615, which has no name",
            ),
            // Not whole, of more than 64 bits, without an end.
            (b"\x08", bad),
            (b"\x08\x81", bad),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", bad),
            (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", bad),
            // Field 1 of another kind, field 0, one too high, a group, what is longer than the message.
            (b"\x0a\x01\x01", bad),
            (b"\x00\x01", bad),
            (b"\x80\x80\x80\x80\x10\x01", bad),
            (b"\x13\x14\x08\x01", bad),
            (b"\x17", bad),
            (b"\x12\x05hi", bad),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", bad),
            (b"\x15abc", bad),
            (b"\x11abcdefg", bad),
        ] {
            let told = if told.is_empty() {
                Ok(())
            } else {
                Err(told.to_owned())
            };
            assert_eq!(framed(message), told, "{message:?}");
        }
    }

    #[test]
    fn lengths_are_to_be_true() {
        for (body, told) in [
            (&b""[..], "no message"),
            (b"\0\0\0\0", "a message that ends after 4 bytes"),
            (
                b"\0\0\0\0\x02\x08",
                "a message that says 2 bytes, of which 1 came",
            ),
            (
                b"\0\0\0\0\x01\x08\x01",
                "a message that says 1 bytes, of which 2 came",
            ),
            (
                b"\0\xff\xff\xff\xff\x08\x01",
                "a message that says 4294967295 bytes, of which 2 came",
            ),
            (
                b"\x01\0\0\0\x02\x08\x01",
                "a message that is compressed, which was not asked for",
            ),
        ] {
            assert_eq!(judge(body).unwrap_err(), told);
        }
    }
}
