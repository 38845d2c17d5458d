//! Bodies from the wire (RFC 9112 sections 6 and 7).

use std::ops::Range;

use umay_core::headers::may_be_trailer;
use umay_core::message::{Fields, Framing};

use crate::class::{self, TOKEN};
use crate::{Malformed, fields};

/// Bytes of one chunk's extensions, at most: 256. Nobody uses them, and nobody reads them.
pub const MAX_EXTENSION: u32 = 256;

/// Bytes of all extensions of a body, at most: 16 KiB.
pub const MAX_EXTENSIONS: u32 = 16 * 1024;

/// Bytes of a trailer section, at most: 8 KiB.
pub const MAX_TRAILER: usize = 8 * 1024;

/// Fields of a trailer section, at most.
const MAX_TRAILER_FIELDS: usize = 32;

/// Takes the framing off a body.
#[derive(Clone, Debug)]
pub struct Decoder {
    framing: Framing,
    state: State,
    /// Bytes of extensions: of this chunk, of all.
    extension: u32,
    extensions: u32,
    trailer: Option<Box<Trailer>>,
}

/// What came of a piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the piece that are done with.
    pub consumed: usize,
    /// Where the payload now stands in the piece, all together.
    pub data: Range<usize>,
    /// The body is at its end.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    Length(u64),
    UntilClose,
    /// Digits so far, and their value.
    Size(u8, u64),
    /// In an extension of a chunk of this size.
    Extension(Extension, u64),
    /// The LF behind a size.
    SizeLf(u64),
    Data(u64),
    /// The CRLF behind a chunk.
    DataCr,
    DataLf,
    Trailer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// Behind `;`.
    NameStart,
    Name,
    /// Behind `=`.
    ValueStart,
    Token,
    Quoted,
    /// Behind a backslash.
    Escaped,
    /// Behind the closing quote.
    Closed,
}

#[derive(Clone, Debug, Default)]
struct Trailer {
    bytes: usize,
    /// A line that is not whole.
    line: Vec<u8>,
    fields: Fields,
}

impl Decoder {
    /// For a body that is framed like this.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            state: match framing {
                Framing::None | Framing::Length(0) => State::Done,
                Framing::Length(length) => State::Length(length),
                Framing::Chunked => State::Size(0, 0),
                Framing::UntilClose => State::UntilClose,
            },
            extension: 0,
            extensions: 0,
            trailer: None,
        }
    }

    /// Takes the framing off as much of `buf` as belongs to the body. Payload of several chunks is
    /// moved together within `buf[..consumed]`; what follows the body is left alone.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, Malformed> {
        let (consumed, data) = match self.state {
            State::Done => (0, 0..0),
            State::UntilClose => (buf.len(), 0..buf.len()),
            State::Length(left) => {
                let count = clamp(left, buf.len());
                let left = left - count as u64;
                self.state = if left == 0 {
                    State::Done
                } else {
                    State::Length(left)
                };
                (count, 0..count)
            }
            _ => self.chunks(buf)?,
        };
        Ok(Decoded {
            consumed,
            data,
            done: self.is_done(),
        })
    }

    /// Bytes that are left of a body of known length; `None` of any other, and at its end.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// So many bytes of a body of known length went by without being looked at.
    pub fn skip(&mut self, count: u64) {
        if let State::Length(left) = self.state {
            self.state = match left.saturating_sub(count) {
                0 => State::Done,
                left => State::Length(left),
            };
        }
    }

    /// True if the body is at its end.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The sender has closed its side. Fine at the end of a body, and that end itself for
    /// [`Framing::UntilClose`]; else the body is cut.
    pub fn eof(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Malformed::BodyCut),
        }
    }

    /// The framing.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The trailers of a chunked body, once it is done, if there are any. Those that must not be
    /// trailers are left out (RFC 9110 section 6.5.1).
    pub fn trailers(&self) -> Option<&Fields> {
        let trailer = self.trailer.as_ref().filter(|_| self.is_done())?;
        Some(&trailer.fields).filter(|fields| !fields.is_empty())
    }

    fn chunks(&mut self, buf: &mut [u8]) -> Result<(usize, Range<usize>), Malformed> {
        let mut at = 0;
        let mut data = 0..0;
        while self.state != State::Done {
            if let State::Data(left) = self.state {
                let count = clamp(left, buf.len() - at);
                if data.is_empty() {
                    data = at..at;
                }
                if count > 0 && data.end != at {
                    buf.copy_within(at..at + count, data.end);
                }
                data.end += count;
                at += count;
                let left = left - count as u64;
                self.state = if left == 0 {
                    State::DataCr
                } else {
                    State::Data(left)
                };
                if left > 0 {
                    break;
                }
            }
            let Some(byte) = buf.get(at) else { break };
            at += 1;
            self.state = self.step(*byte)?;
        }
        Ok((at, data))
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        match self.state {
            State::Size(digits, value) => self.size(digits, value, byte),
            State::Extension(state, size) => {
                self.extension += 1;
                self.extensions += 1;
                if self.extension > MAX_EXTENSION || self.extensions > MAX_EXTENSIONS {
                    return Err(Malformed::ExtensionsTooLong);
                }
                extension(state, size, byte)
            }
            State::SizeLf(size) if byte == b'\n' => Ok(match size {
                0 => State::Trailer,
                size => State::Data(size),
            }),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size(0, 0)),
            State::SizeLf(_) | State::DataCr | State::DataLf => Err(Malformed::BadChunkEnd),
            State::Trailer => self.trailer(byte),
            // These have no framing.
            State::Done | State::Length(_) | State::UntilClose | State::Data(_) => Ok(self.state),
        }
    }

    fn size(&mut self, digits: u8, value: u64, byte: u8) -> Result<State, Malformed> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(State::SizeLf(value)),
            b';' if digits > 0 => {
                self.extension = 0;
                return Ok(State::Extension(Extension::NameStart, value));
            }
            _ => return Err(Malformed::BadChunkSize),
        };
        // Below 2^63, as all software can count.
        if digits == 16 || value >> 59 != 0 {
            return Err(Malformed::BadChunkSize);
        }
        Ok(State::Size(digits + 1, value << 4 | u64::from(digit)))
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Malformed> {
        let trailer = self.trailer.get_or_insert_default();
        trailer.bytes += 1;
        if trailer.bytes > MAX_TRAILER {
            return Err(Malformed::TrailersTooLarge);
        }
        if byte != b'\n' {
            trailer.line.push(byte);
            return Ok(State::Trailer);
        }
        let line = std::mem::take(&mut trailer.line);
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(Malformed::BadTrailer);
        };
        if line.is_empty() {
            return Ok(State::Done);
        }
        let (name, value) = fields::split(line).map_err(|_| Malformed::BadTrailer)?;
        if trailer.fields.len() == MAX_TRAILER_FIELDS {
            return Err(Malformed::TrailersTooLarge);
        }
        if may_be_trailer(name) {
            trailer.fields.push(name, value);
        }
        Ok(State::Trailer)
    }
}

/// One byte of an extension: `;name`, `;name=token` or `;name="quoted"`. White space is refused,
/// which RFC 9112 section 7.1.1 calls bad and lets be removed.
fn extension(state: Extension, size: u64, byte: u8) -> Result<State, Malformed> {
    use Extension::{Closed, Escaped, Name, NameStart, Quoted, Token, ValueStart};
    let is_token = class::is(byte, TOKEN);
    let next = match (state, byte) {
        (Name | Token | Closed, b'\r') => return Ok(State::SizeLf(size)),
        (Name | Token | Closed, b';') => NameStart,
        (NameStart | Name, _) if is_token => Name,
        (Name, b'=') => ValueStart,
        (ValueStart, b'"') => Quoted,
        (ValueStart | Token, _) if is_token => Token,
        (Quoted, b'"') => Closed,
        (Quoted, b'\\') => Escaped,
        (Quoted | Escaped, _) if class::is(byte, class::VALUE) => Quoted,
        _ => return Err(Malformed::BadChunkExtension),
    };
    Ok(State::Extension(next, size))
}

fn clamp(left: u64, here: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(here)
}
