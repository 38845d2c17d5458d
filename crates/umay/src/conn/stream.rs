//! One stream of an HTTP/2 connection as something to read a body from and to write one to, so that
//! nothing above needs to know what carries a body. Heads go by the side; see [`Stream::respond`]
//! and [`Stream::poll_response`].

use std::fmt;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use umay_core::headers::may_be_trailer;
use umay_core::message::Fields;

use super::watched::{Known, Upload, Watch};

/// Bytes that are taken before they are sent. What the peer's window and the connection do not take
/// stays here, so this and the library's own buffer are all that a stream that does not move costs.
const MOST: usize = 64 * 1024;

/// A stream.
pub struct Stream {
    recv: Option<RecvStream>,
    /// What has come and was not read yet.
    chunk: Bytes,
    /// No more will come.
    ended: bool,
    trailers: Option<Fields>,
    /// Counts it, for the connection's window, until all has come.
    upload: Option<Upload>,
    send: Sending,
    /// What was written and not sent yet: the last piece waits here for the end of the stream.
    held: Bytes,
    /// Something was sent since it was last asked.
    moved: bool,
    /// What is known of the connection.
    watch: Rc<Watch>,
    /// Of a client's stream.
    known: Option<Known>,
}

enum Sending {
    /// The head of an answer is to come first.
    Respond(SendResponse<Bytes>),
    Open(SendStream<Bytes>),
    Ended,
}

/// Why there is no more of a client's stream.
pub enum Reset {
    /// The client has reset it or left.
    Peer(String),
    /// The client broke the protocol on it.
    Broken(String),
}

/// What has come of a request that was sent.
pub enum Answered {
    /// 1xx.
    Interim(Response<()>),
    /// The final head; true if nothing follows it.
    Final(Response<()>, bool),
}

impl Stream {
    /// A client's request, to be answered.
    pub fn serving(recv: RecvStream, respond: SendResponse<Bytes>, watch: Rc<Watch>) -> Self {
        let ended = recv.is_end_stream();
        let known = watch.know(respond.stream_id().as_u32());
        Self {
            recv: (!ended).then_some(recv),
            ended,
            upload: (!ended).then(|| watch.upload()),
            known: Some(known),
            ..Self::new(Sending::Respond(respond), watch)
        }
    }

    /// A request to an endpoint whose head was sent; `ended` if there is no more of it.
    pub fn requesting(send: SendStream<Bytes>, ended: bool, watch: Rc<Watch>) -> Self {
        let send = if ended {
            Sending::Ended
        } else {
            Sending::Open(send)
        };
        Self::new(send, watch)
    }

    fn new(send: Sending, watch: Rc<Watch>) -> Self {
        Self {
            recv: None,
            chunk: Bytes::new(),
            ended: false,
            trailers: None,
            upload: None,
            send,
            held: Bytes::new(),
            moved: false,
            watch,
            known: None,
        }
    }

    /// True if no more will come from the peer.
    pub fn is_at_end(&self) -> bool {
        self.ended && self.chunk.is_empty()
    }

    /// The trailers that have come, once [`Self::is_at_end`].
    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref().filter(|fields| !fields.is_empty())
    }

    /// True if something was sent since this was last asked.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Sends an interim answer.
    pub fn inform(&mut self, head: Response<()>) -> Result<()> {
        match &mut self.send {
            Sending::Respond(respond) => respond.send_informational(head).map_err(broken),
            Sending::Open(_) | Sending::Ended => Ok(()),
        }
    }

    /// Sends the head of the answer; `end` if nothing follows it.
    pub fn respond(&mut self, head: Response<()>, end: bool) -> Result<()> {
        let Sending::Respond(respond) = &mut self.send else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        let send = respond.send_response(head, end).map_err(broken)?;
        self.moved = true;
        self.send = if end {
            Sending::Ended
        } else {
            Sending::Open(send)
        };
        Ok(())
    }

    /// Waits for the next head of the answer to a request that was sent.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut ResponseFuture,
    ) -> Poll<std::result::Result<Answered, h2::Error>> {
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            return Poll::Ready(interim.map(Answered::Interim));
        }
        let (head, recv) = ready!(Pin::new(response).poll(cx))?.into_parts();
        self.ended = recv.is_end_stream();
        self.recv = (!self.ended).then_some(recv);
        Poll::Ready(Ok(Answered::Final(
            Response::from_parts(head, ()),
            self.ended,
        )))
    }

    /// Ready when the peer has reset the stream or the connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Reset> {
        let reset = match &mut self.send {
            Sending::Respond(respond) => ready!(respond.poll_reset(cx)),
            Sending::Open(send) => ready!(send.poll_reset(cx)),
            Sending::Ended => return Poll::Pending,
        };
        // What ends the connection is told of the connection.
        let by_peer =
            self.known.as_ref().is_none_or(Known::is_reset) || self.watch.ended().is_some();
        Poll::Ready(match reset {
            Ok(reason) if by_peer => Reset::Peer(format!("reset with {reason:?}")),
            Ok(reason) => Reset::Broken(format!("the stream had to be reset with {reason:?}")),
            Err(error) => Reset::Peer(error.to_string()),
        })
    }

    /// Ends an answer that has begun and cannot be completed with trailers that tell so, without
    /// what the peer's window had no room for. False if it is not under way.
    pub fn end_early(&mut self, trailers: HeaderMap) -> bool {
        let Sending::Open(send) = &mut self.send else {
            return false;
        };
        self.held = Bytes::new();
        let sent = send.send_trailers(trailers).is_ok();
        self.send = Sending::Ended;
        sent
    }

    /// Ends both directions at once.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.send {
            Sending::Respond(respond) => respond.send_reset(reason),
            Sending::Open(send) => send.send_reset(reason),
            Sending::Ended => {}
        }
        self.send = Sending::Ended;
    }

    /// The connection that it is a stream of.
    pub fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.chunk.is_empty() && !self.ended {
            let Some(recv) = &mut self.recv else {
                // The head of the answer is to come first.
                return Poll::Pending;
            };
            match ready!(recv.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    self.ended = recv.is_end_stream();
                    self.chunk = chunk;
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => {
                    let received = ready!(recv.poll_trailers(cx)).map_err(broken)?;
                    self.trailers = received.as_ref().map(trailers);
                    self.ended = true;
                }
            }
        }
        if self.ended {
            self.upload = None;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        ready!(self.poll_readable(cx))?;
        let mut count = 0;
        // As many pieces as there are: what is read together is written together.
        while !self.chunk.is_empty()
            && let Some(room) = buf.get_mut(count..).filter(|room| !room.is_empty())
        {
            let piece = self.chunk.len().min(room.len());
            if let Some(place) = room.get_mut(..piece) {
                self.chunk.copy_to_slice(place);
            }
            count += piece;
            // An error is told when what came before it has been read.
            if !matches!(self.poll_readable(cx), Poll::Ready(Ok(()))) {
                break;
            }
        }
        if let (Some(recv), true) = (&mut self.recv, count > 0) {
            // Fails only if more is given back than was taken.
            let _ = recv.flow_control().release_capacity(count);
        }
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        ready!(self.poll_held(cx, false))?;
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut bytes = BytesMut::with_capacity(total.min(MOST));
        for slice in slices {
            let room = MOST - bytes.len();
            bytes.extend_from_slice(slice.get(..room.min(slice.len())).unwrap_or_default());
        }
        self.held = bytes.freeze();
        Poll::Ready(Ok(self.held.len()))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_held(cx, false)
    }

    /// Sends what is left, and the end of the stream, with trailers if there are any.
    pub(super) fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<Result<()>> {
        ready!(self.poll_held(cx, trailers.is_none()))?;
        let Sending::Open(send) = &mut self.send else {
            return Poll::Ready(Ok(()));
        };
        match trailers {
            Some(trailers) => send.send_trailers(header_map(trailers)),
            None => send.send_data(Bytes::new(), true),
        }
        .map_err(broken)?;
        self.moved = true;
        self.send = Sending::Ended;
        Poll::Ready(Ok(()))
    }

    /// Sends what is held, as far as the peer's window allows; the last of it ends the stream if
    /// `end` says so.
    fn poll_held(&mut self, cx: &mut Context<'_>, end: bool) -> Poll<Result<()>> {
        while !self.held.is_empty() {
            let Sending::Open(send) = &mut self.send else {
                return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
            };
            send.reserve_capacity(self.held.len());
            let capacity = send.capacity();
            if capacity == 0 {
                match ready!(send.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                    None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
                }
            }
            let piece = self.held.split_to(capacity.min(self.held.len()));
            let last = end && self.held.is_empty();
            send.send_data(piece, last).map_err(broken)?;
            self.moved = true;
            if last {
                self.send = Sending::Ended;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// Trailers from the library's form, without those that must not be any.
fn trailers(map: &HeaderMap) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in map {
        let name = name.as_str().as_bytes();
        if may_be_trailer(name) {
            fields.push(name, value.as_bytes());
        }
    }
    fields
}

/// Fields in the library's form. What it does not take as a field is no field.
fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (_, name, value) in fields.iter() {
        let name = http::HeaderName::from_bytes(name);
        let value = http::HeaderValue::from_bytes(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

/// An error of the library as one of IO: whatever it is, the stream is cut.
fn broken(error: h2::Error) -> Error {
    Error::new(ErrorKind::ConnectionReset, error)
}
