//! What a connection is read from and written to: a socket, TLS over one, or one stream of an HTTP/2
//! connection. Hardly anything above this room knows the difference.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use umay_core::message::Fields;

use super::buffer::Buffer;
use super::stream::Stream;
use crate::original::Outgoing;

/// A socket, TLS over one, or a stream of HTTP/2.
#[derive(Debug)]
pub enum Io {
    /// A socket.
    Plain(Plain),
    /// TLS; boxed, for its state is a hundred times that of a socket.
    Tls(Box<TlsStream<Plain>>),
    /// A stream of HTTP/2.
    Stream(Box<Stream>),
}

/// A socket. Bytes that were looked at before TLS began are read again from here.
#[derive(Debug)]
pub struct Plain {
    stream: TcpStream,
    replay: Option<Buffer>,
    /// It is one of Umay's own, which is remembered until it is closed.
    _outgoing: Option<Outgoing>,
}

impl Plain {
    /// A socket of which nothing was read yet.
    pub fn new(stream: TcpStream) -> Self {
        Self::keeping(stream, None)
    }

    /// The same, of a socket that is remembered until it is closed.
    pub fn keeping(stream: TcpStream, outgoing: Option<Outgoing>) -> Self {
        Self {
            stream,
            replay: None,
            _outgoing: outgoing,
        }
    }

    /// Puts bytes in front of what comes from the socket.
    pub fn replay(&mut self, bytes: Option<Buffer>) {
        self.replay = bytes;
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes several slices. `writev` costs more than `send`, and more than to gather little.
    fn poll_write_many(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        const LITTLE: usize = 1024;
        let mut gathered = [0; LITTLE];
        let mut length = 0;
        for slice in slices {
            let end = length + slice.len();
            let Some(room) = gathered.get_mut(length..end) else {
                return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
            };
            room.copy_from_slice(slice);
            length = end;
        }
        let gathered = gathered.get(..length).unwrap_or_default();
        Pin::new(&mut self.stream).poll_write(cx, gathered)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.replay {
            Some(_) => Poll::Ready(Ok(())),
            None => self.stream.poll_read_ready(cx),
        }
    }
}

impl Io {
    /// Ready when a read would not wait: bytes, the end or an error are there. Under TLS what is
    /// there may turn out to be no byte of the stream.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(plain) => plain.poll_readable(cx),
            Self::Stream(stream) => stream.poll_readable(cx),
            Self::Tls(tls) => {
                let (plain, wants_read) = match &**tls {
                    TlsStream::Client(tls) => (tls.get_ref().0, tls.get_ref().1.wants_read()),
                    TlsStream::Server(tls) => (tls.get_ref().0, tls.get_ref().1.wants_read()),
                };
                if wants_read {
                    plain.poll_readable(cx)
                } else {
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    /// Reads into `buf`; 0 is the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.poll_read_into(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// The same, into what may not be initialised.
    pub fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(plain) => Pin::new(plain).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
            Self::Stream(stream) => {
                let count = ready!(stream.poll_read(cx, buf.initialize_unfilled()))?;
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Writes some of the slices.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Plain(plain), [one]) => Pin::new(&mut plain.stream).poll_write(cx, one),
            (Self::Plain(plain), many) => plain.poll_write_many(cx, many),
            (Self::Tls(tls), slices) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
            (Self::Stream(stream), slices) => stream.poll_write(cx, slices),
        }
    }

    /// Sends what TLS holds back.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Self::Stream(stream) => stream.poll_flush(cx),
        }
    }

    /// Sends what is held back because a body is at its end; where the end is marked by the
    /// protocol below, with that mark and the body's trailers.
    pub fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Self::Stream(stream) => stream.poll_finish(cx, trailers),
        }
    }

    /// Says that no more will be written: FIN, and before it `close_notify`.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(plain) => Pin::new(&mut plain.stream).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Self::Stream(stream) => stream.poll_finish(cx, None),
        }
    }

    /// The socket below, if there is one of its own.
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(plain) => Some(&plain.stream),
            Self::Tls(tls) => Some(&tls.get_ref().0.stream),
            Self::Stream(_) => None,
        }
    }

    /// The stream, if it is one.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Plain(_) | Self::Tls(_) => None,
        }
    }

    /// The same, to send on.
    pub fn stream_mut(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Plain(_) | Self::Tls(_) => None,
        }
    }

    /// True if a stream has sent something since this was last asked. What a socket takes is told by
    /// its writes.
    pub fn take_moved(&mut self) -> bool {
        self.stream_mut().is_some_and(Stream::take_moved)
    }

    /// The application protocol that TLS has agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol(),
            Self::Plain(_) | Self::Stream(_) => None,
        }
    }

    /// The socket, if there is nothing above it: bytes may then pass by it unseen.
    pub fn bare(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(plain) if plain.replay.is_none() => Some(&plain.stream),
            _ => None,
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(replay) = &mut self.replay {
            let count = replay.unread().len().min(buf.remaining());
            buf.put_slice(replay.slice(&(0..count)));
            replay.consume(count);
            if replay.unread().is_empty() {
                self.replay = None;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
