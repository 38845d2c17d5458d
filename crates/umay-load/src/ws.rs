//! WebSocket (RFC 6455): the load, and what it has in common with the endpoint.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};

use crate::client::{Conn, field};
use crate::counts::{Counts, Fault};

/// The example of RFC 6455, section 1.3: one key will do for all, and nothing has to be hashed.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What has to be answered to that key.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The first byte of a message of bytes in one frame.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// What is left to the last answer when the time is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Loads `to` with messages of `size` bytes.
pub(crate) async fn run(to: SocketAddr, connections: usize, length: Duration, size: u8) -> Counts {
    let begun = Instant::now();
    let end = begun + length;
    let tasks: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(connection(to, end, size)))
        .collect();
    Counts::of(begun, tasks).await
}

async fn connection(to: SocketAddr, end: Instant, size: u8) -> Counts {
    let mut counts = Counts::default();
    // One alarm for the whole connection: one per message would be the client's main expense.
    let all = tokio::time::timeout_at(
        (end + PATIENCE).into(),
        messages(to, end, size, &mut counts),
    );
    match all.await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => counts.count(Duration::ZERO, Err(fault)),
        Err(_) => counts.count(Duration::ZERO, Err(Fault::Timeout)),
    }
    counts
}

async fn messages(
    to: SocketAddr,
    end: Instant,
    size: u8,
    counts: &mut Counts,
) -> Result<(), Fault> {
    let mut conn = upgraded(to).await?;
    let mut number = 0u64;
    let mut frame = Vec::new();
    while Instant::now() < end {
        number += 1;
        // No message is like the one before, so an old answer is no right one.
        let payload: Vec<u8> = number
            .to_be_bytes()
            .into_iter()
            .cycle()
            .take(size.into())
            .collect();
        masked(&mut frame, BINARY, &payload, number);
        let begun = Instant::now();
        conn.send(&frame).await?;
        echo(&mut conn, &payload).await?;
        counts.count(begun.elapsed(), Ok(payload.len() + 2));
    }
    masked(&mut frame, CLOSE, &1000u16.to_be_bytes(), number);
    conn.send(&frame).await?;
    // The endpoint answers and ends; what it says is no message any more.
    while conn.read().await.is_ok() {}
    Ok(())
}

async fn upgraded(to: SocketAddr) -> Result<Conn, Fault> {
    let mut conn = Conn::open(to, None, None).await?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    conn.send(request.as_bytes()).await?;
    let head = conn.head().await?;
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(Fault::Status);
    }
    if field(&head, "sec-websocket-accept") != Some(ACCEPT) {
        return Err(Fault::Wrong);
    }
    Ok(conn)
}

async fn echo(conn: &mut Conn, payload: &[u8]) -> Result<(), Fault> {
    while conn.came.len() < payload.len() + 2 {
        conn.read().await?;
    }
    let right = conn.came.split_at_checked(2).is_some_and(|(head, came)| {
        head.first() == Some(&BINARY)
            && head.get(1).copied().map(usize::from) == Some(payload.len())
            && came == payload
    });
    conn.came.advance(payload.len() + 2);
    if right { Ok(()) } else { Err(Fault::Wrong) }
}

/// A client's frame with a mask that is no secret.
fn masked(frame: &mut Vec<u8>, first: u8, payload: &[u8], seed: u64) {
    let mask = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    let mask = mask.to_be_bytes();
    frame.clear();
    frame.extend([first, 0x80 | payload.len() as u8]);
    frame.extend(mask);
    let bytes = payload.iter().zip(mask.iter().cycle());
    frame.extend(bytes.map(|(byte, mask)| byte ^ mask));
}

/// A frame from a client that the endpoint does not understand.
#[derive(Debug, PartialEq)]
pub(crate) struct Strange;

/// Takes the next whole frame of a client off `came`: its opcode and its payload in the clear.
pub(crate) fn unmasked(came: &mut BytesMut) -> Result<Option<(u8, BytesMut)>, Strange> {
    let [first, second, ..] = came.as_ref() else {
        return Ok(None);
    };
    // Whole messages only, no extensions, and a client has to mask.
    if first & 0xf0 != 0x80 || second & 0x80 == 0 {
        return Err(Strange);
    }
    let opcode = first & 0x0f;
    let (head, length) = match second & 0x7f {
        127 => return Err(Strange),
        126 => match came.get(2..4) {
            Some([high, low]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            _ => return Ok(None),
        },
        length => (2, usize::from(length)),
    };
    if came.len() < head + 4 + length {
        return Ok(None);
    }
    let mut frame = came.split_to(head + 4 + length);
    let mut mask = frame.split_off(head);
    let mut payload = mask.split_off(4);
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Some((opcode, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_out_as_it_went_in_wherever_it_is_cut() {
        let mut frame = Vec::new();
        masked(&mut frame, BINARY, b"twelve bytes", 7);
        for cut in 0..frame.len() {
            let mut came = BytesMut::from(&frame[..cut]);
            assert_eq!(unmasked(&mut came), Ok(None));
            came.extend_from_slice(&frame[cut..]);
            let expected = (2, BytesMut::from(&b"twelve bytes"[..]));
            assert_eq!(unmasked(&mut came), Ok(Some(expected)));
            assert!(came.is_empty());
        }
    }

    #[test]
    fn a_client_that_does_not_mask_is_strange() {
        let mut came = BytesMut::from(&b"\x82\x01a"[..]);
        assert_eq!(unmasked(&mut came), Err(Strange));
    }
}
