//! HTTP/2 by hand: any frame with any bytes, in any order, and what comes back read frame by frame.
//! Written apart from the library that Umay uses, so that the one can judge the other.
//!
//! A [`Frame`] is bytes with a name. A [`Peer`] is one side of a connection: it acknowledges
//! SETTINGS and PING unless told not to, gives no window unless told to, and keeps nothing hidden.

mod frame;
pub mod hpack;
mod huffman;
mod peer;

pub use frame::{Frame, PREFACE, code, flag, kind, setting};
pub use peer::{Answer, Event, Outcome, Peer};
