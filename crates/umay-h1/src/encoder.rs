//! Bodies to the wire (RFC 9112 section 7.1).

use umay_core::message::{Fields, Framing};

use crate::write;

/// Puts the framing on a body.
#[derive(Clone, Debug)]
pub struct Encoder {
    framing: Framing,
}

/// What stands around a piece of payload.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    digits: [u8; 18],
    /// Where the digits begin; the end of the array if there are none.
    start: usize,
}

impl Encoder {
    /// For a body that is framed like this.
    pub fn new(framing: Framing) -> Self {
        Self { framing }
    }

    /// The framing.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// What stands around a piece of `len` bytes. An empty piece gets nothing, for as a chunk it
    /// would be the end.
    pub fn frame(&mut self, len: usize) -> Frame {
        let mut frame = Frame {
            digits: *b"                \r\n",
            start: 18,
        };
        if self.framing != Framing::Chunked || len == 0 {
            return frame;
        }
        let mut left = len;
        frame.start = 16;
        for digit in frame.digits.iter_mut().take(16).rev() {
            let nibble = (left & 0xf) as u8;
            *digit = if nibble < 10 {
                b'0' + nibble
            } else {
                b'a' + nibble - 10
            };
            frame.start -= 1;
            left >>= 4;
            if left == 0 {
                break;
            }
        }
        frame
    }

    /// Writes what ends the body, with its trailers if the framing has any.
    pub fn finish(&mut self, trailers: Option<&Fields>, out: &mut Vec<u8>) {
        if self.framing != Framing::Chunked {
            return;
        }
        out.extend_from_slice(b"0\r\n");
        for (_, name, value) in trailers.iter().flat_map(|fields| fields.iter()) {
            write::field(out, name, value);
        }
        write::end(out);
    }
}

impl Frame {
    /// What stands before the payload: a chunk's size.
    pub fn prefix(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }

    /// What stands behind it.
    pub fn suffix(&self) -> &[u8] {
        if self.start < self.digits.len() {
            b"\r\n"
        } else {
            b""
        }
    }
}
