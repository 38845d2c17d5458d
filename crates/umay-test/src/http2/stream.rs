//! A stream in a test's hand, on either side.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::{wait, wait_for};
use crate::http::{Fields, Message};

/// A stream. What was read is given back to the peer's window at once.
pub struct Stream {
    request: Message,
    awaited: Option<ResponseFuture>,
    respond: Option<SendResponse<Bytes>>,
    send: Option<SendStream<Bytes>>,
    recv: Option<RecvStream>,
    unread: Bytes,
    trailers: Fields,
}

impl Stream {
    pub(super) fn asked(awaited: ResponseFuture, send: SendStream<Bytes>, end: bool) -> Self {
        let mut stream = Self::new();
        stream.awaited = Some(awaited);
        stream.send = (!end).then_some(send);
        stream
    }

    pub(super) fn accepted(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (head, recv) = request.into_parts();
        let mut stream = Self::new();
        stream.request = request_head(&head);
        stream.respond = Some(respond);
        stream.recv = Some(recv);
        stream
    }

    fn new() -> Self {
        Self {
            request: Message::default(),
            awaited: None,
            respond: None,
            send: None,
            recv: None,
            unread: Bytes::new(),
            trailers: Fields::new(),
        }
    }

    /// The head of the request, on the side of the endpoint. Pseudo-fields are among its fields.
    pub fn request(&self) -> &Message {
        &self.request
    }

    /// Waits for the next head of the answer: an interim or the final one.
    pub fn head(&mut self) -> io::Result<Message> {
        let Some(awaited) = &mut self.awaited else {
            return Err(io::Error::other("the answer's head has come already"));
        };
        let head = wait(poll_fn(|cx| {
            if let Poll::Ready(Some(interim)) = awaited.poll_informational(cx) {
                return Poll::Ready(interim.map(|head| (head, None)));
            }
            Pin::new(&mut *awaited).poll(cx).map_ok(|response| {
                let (head, recv) = response.into_parts();
                (Response::from_parts(head, ()), Some(recv))
            })
        }))?;
        let (head, recv) = head.map_err(broken)?;
        if recv.is_some() {
            (self.awaited, self.recv) = (None, recv);
        }
        Ok(Message {
            start: format!("HTTP/2 {}", head.status().as_u16()),
            fields: fields(head.headers()),
            ..Message::default()
        })
    }

    /// Sends an interim answer.
    pub fn inform(&mut self, status: u16, fields: &[(&str, &str)]) -> io::Result<()> {
        let head = response(status, fields)?;
        let respond = self.respond.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        respond.send_informational(head).map_err(broken)
    }

    /// Sends the head of the answer; `end` if nothing follows it.
    pub fn respond(&mut self, status: u16, fields: &[(&str, &str)], end: bool) -> io::Result<()> {
        let head = response(status, fields)?;
        let respond = self.respond.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        let send = respond.send_response(head, end).map_err(broken)?;
        self.send = (!end).then_some(send);
        self.respond = None;
        Ok(())
    }

    /// Sends all of it, as fast as the peer takes it.
    pub fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.send_some(bytes, super::DEADLINE)?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends as much of it as the peer takes now; waits no longer than this for it to take any.
    pub fn send_some(&mut self, bytes: &[u8], time: Duration) -> io::Result<usize> {
        let send = self.send.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        send.reserve_capacity(bytes.len().min(64 * 1024));
        let room = wait_for(
            time,
            poll_fn(|cx| match send.capacity() {
                0 => send.poll_capacity(cx),
                room => Poll::Ready(Some(Ok(room))),
            }),
        )?;
        let room = room.ok_or(ErrorKind::BrokenPipe)?.map_err(broken)?;
        let piece = &bytes[..room.min(bytes.len())];
        send.send_data(Bytes::copy_from_slice(piece), false)
            .map_err(broken)?;
        Ok(piece.len())
    }

    /// Ends what this side sends, with these trailers if there are any.
    pub fn finish(&mut self, trailers: &[(&str, &str)]) -> io::Result<()> {
        let mut send = self.send.take().ok_or(ErrorKind::BrokenPipe)?;
        if trailers.is_empty() {
            send.send_data(Bytes::new(), true).map_err(broken)
        } else {
            send.send_trailers(header_map(trailers)?).map_err(broken)
        }
    }

    /// Reads some of the body; `None` at its end.
    pub fn read_some(&mut self) -> io::Result<Option<Bytes>> {
        self.read_some_for(super::DEADLINE)
    }

    /// The same, but waits no longer than this.
    pub fn read_some_for(&mut self, time: Duration) -> io::Result<Option<Bytes>> {
        if !self.unread.is_empty() {
            return Ok(Some(std::mem::take(&mut self.unread)));
        }
        let recv = self.recv.as_mut().ok_or(ErrorKind::NotConnected)?;
        loop {
            match wait_for(time, poll_fn(|cx| recv.poll_data(cx)))? {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    let flow = recv.flow_control();
                    flow.release_capacity(bytes.len()).map_err(broken)?;
                    return Ok(Some(bytes));
                }
                Some(Err(error)) => return Err(broken(error)),
                None => break,
            }
        }
        let trailers = wait(poll_fn(|cx| recv.poll_trailers(cx)))?;
        if let Some(trailers) = trailers.map_err(broken)? {
            self.trailers = fields(&trailers);
        }
        Ok(None)
    }

    /// Reads the body to its end.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(bytes) = self.read_some()? {
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    /// The trailers that came behind the body.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// Ends both directions at once.
    pub fn reset(&mut self, reason: Reason) {
        if let Some(send) = &mut self.send {
            send.send_reset(reason);
        } else if let Some(respond) = &mut self.respond {
            respond.send_reset(reason);
        }
    }

    /// Waits until the peer has reset the stream (or the connection is gone), with which code. Only
    /// while this side still sends.
    pub fn wait_reset(&mut self) -> io::Result<Reason> {
        let reset = wait(poll_fn(|cx| match (&mut self.send, &mut self.respond) {
            (Some(send), _) => send.poll_reset(cx),
            (None, Some(respond)) => respond.poll_reset(cx),
            (None, None) => Poll::Ready(Ok(Reason::NO_ERROR)),
        }))?;
        reset.map_err(broken)
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            match self.read_some()? {
                Some(bytes) => self.unread = bytes,
                None => return Ok(0),
            }
        }
        let count = out.len().min(self.unread.len());
        self.unread.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.send_some(bytes, super::DEADLINE)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn request_head(head: &http::request::Parts) -> Message {
    let mut pseudo = Fields::new();
    let mut add = |name: &str, value: &str| pseudo.push((name.to_owned(), value.to_owned()));
    if let Some(authority) = head.uri.authority() {
        add(":authority", authority.as_str());
    }
    if let Some(scheme) = head.uri.scheme_str() {
        add(":scheme", scheme);
    }
    if let Some(protocol) = head.extensions.get::<h2::ext::Protocol>() {
        add(":protocol", protocol.as_str());
    }
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    Message {
        start: format!("{} {path} HTTP/2", head.method),
        fields: [pseudo, fields(&head.headers)].concat(),
        ..Message::default()
    }
}

fn response(status: u16, fields: &[(&str, &str)]) -> io::Result<Response<()>> {
    let mut head = Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(status).map_err(io::Error::other)?;
    *head.headers_mut() = header_map(fields)?;
    Ok(head)
}

fn header_map(fields: &[(&str, &str)]) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().map_err(io::Error::other)?;
        let value: HeaderValue = value.parse().map_err(io::Error::other)?;
        map.append(name, value);
    }
    Ok(map)
}

fn fields(map: &HeaderMap) -> Fields {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

pub(super) fn broken(error: h2::Error) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, error)
}
