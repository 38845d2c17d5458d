//! A strict HTTP/1 codec without IO: bytes in, heads and payload out; heads and payload in, bytes
//! out (RFC 9112).
//!
//! What can be read in two ways is refused, and what is accepted is written anew by the caller, so
//! that the peer behind reads what was read here. The way in is [`parse_request`] or
//! [`parse_response`] for a head, then a [`Decoder`] for the body that the head announces; the way
//! out is the functions of [`write`](mod@write) and an [`Encoder`].

mod class;
mod decoder;
mod encoder;
mod fields;
mod malformed;
mod request;
mod response;
mod scan;
pub mod write;

pub use decoder::{Decoded, Decoder, MAX_EXTENSION, MAX_EXTENSIONS, MAX_TRAILER};
pub use encoder::{Encoder, Frame};
pub use malformed::Malformed;
pub use request::{is_authority, parse_request};
pub use response::parse_response;
pub use scan::{Limits, Scan};
pub use write::{end, field, framing_field, phrase, request_line, status_line};
