//! Connections: a socket, TLS over one or a stream of HTTP/2, what was read ahead from it, and its
//! deadline.

mod buffer;
mod io;
mod ledger;
mod pulse;
mod splice;
mod stream;
mod timer;
mod watched;

pub use buffer::{Buffer, Buffers, DEFAULT_SIZE};
pub use io::{Io, Plain};
pub use ledger::Silent;
pub use pulse::Pulse;
pub use splice::{Broken, Pipe, Pipes};
pub use stream::{Answered, Reset, Stream};
pub use timer::{Deadline, Millis, NEVER, START, TICK, Timers, now, unix_now};
pub use watched::{SEND_BUFFER, Watch, Watched, header_list};

use std::future::{Future, poll_fn};
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::net::TcpStream;

/// True if a connect failed for something that this process or machine is out of, so that it says nothing of the peer.
pub fn is_ours(error: &Error) -> bool {
    use rustix::io::Errno;
    const OURS: [Errno; 5] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        // No local port is left for this destination.
        Errno::ADDRNOTAVAIL,
    ];
    Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno))
}

/// A connection and what was read ahead from it. Holds a buffer only while there is something in it.
#[derive(Debug)]
pub struct Conn {
    io: Io,
    buffer: Option<Buffer>,
    buffers: Rc<Buffers>,
}

impl Conn {
    /// A connection of which nothing was read yet.
    pub fn new(io: Io, buffers: &Rc<Buffers>) -> Self {
        Self {
            io,
            buffer: None,
            buffers: Rc::clone(buffers),
        }
    }

    /// The same connection with something else above its socket; what was read ahead is handed
    /// over with the socket.
    pub fn into_plain(mut self) -> Option<(Plain, Rc<Buffers>)> {
        match self.io {
            Io::Plain(mut plain) => {
                plain.replay(self.buffer.take());
                Some((plain, self.buffers))
            }
            Io::Tls(_) | Io::Stream(_) => None,
        }
    }

    /// What was read ahead.
    pub fn unread(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], Buffer::unread)
    }

    /// What was read ahead, to be changed in place.
    pub fn unread_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], Buffer::unread_mut)
    }

    /// Takes bytes off the front of what was read ahead.
    pub fn consume(&mut self, count: usize) {
        if let Some(buffer) = &mut self.buffer {
            buffer.consume(count);
            if buffer.unread().is_empty() {
                self.buffer = None;
            }
        }
    }

    /// True if no more can be read ahead before something is consumed or [`Self::compact`] helps.
    pub fn is_full(&self) -> bool {
        self.buffer.as_ref().is_some_and(Buffer::is_full)
    }

    /// Makes room behind what was read ahead. Places within it stay the same.
    pub fn compact(&mut self) {
        if let Some(buffer) = &mut self.buffer {
            buffer.compact();
        }
    }

    /// Reads more, behind what was read ahead; 0 is the end, or that there is no room. Takes a
    /// buffer only when there is something to read.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let Some(buffer) = &mut self.buffer else {
            ready!(self.io.poll_readable(cx))?;
            let mut buffer = self.buffers.take();
            let count = ready!(self.io.poll_read(cx, buffer.spare_mut()))?;
            if count > 0 {
                buffer.filled(count);
                self.buffer = Some(buffer);
            }
            return Poll::Ready(Ok(count));
        };
        let count = ready!(self.io.poll_read(cx, buffer.spare_mut()))?;
        buffer.filled(count);
        Poll::Ready(Ok(count))
    }

    /// True if the sender has ended what carries it and nothing is left to read ahead; known only
    /// of streams.
    pub fn is_at_end(&self) -> bool {
        self.io.stream().is_some_and(Stream::is_at_end)
    }

    /// What it is read from and written to.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// The same, to write to.
    pub fn io_mut(&mut self) -> &mut Io {
        &mut self.io
    }

    /// True if nothing has come that was not asked for, as far as is known without a system call:
    /// no byte, no end, no error.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.buffer.is_none() && self.io.poll_readable(&mut cx).is_pending()
    }

    /// The same, by asking the kernel.
    pub fn is_surely_quiet(&mut self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let Some(socket) = self.io.socket() else {
            return false;
        };
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        let peeked = recv(socket, &mut byte, flags);
        if peeked != Err(rustix::io::Errno::AGAIN) {
            return false;
        }
        // Who has read just as much as there was does not know that there is no more.
        let nothing = || Err::<(), _>(ErrorKind::WouldBlock.into());
        let _ = socket.try_io(tokio::io::Interest::READABLE, nothing);
        self.is_quiet()
    }

    /// Writes all and flushes, unless a wait for the peer to take some takes longer than `wait`.
    pub async fn write_all(
        &mut self,
        bytes: &[u8],
        deadline: &Deadline,
        wait: Duration,
    ) -> Result<()> {
        self.write(bytes, false, deadline, wait).await
    }

    /// The same for all that is to be written of a body: a stream is ended with it.
    pub async fn send(&mut self, bytes: &[u8], deadline: &Deadline, wait: Duration) -> Result<()> {
        self.write(bytes, true, deadline, wait).await
    }

    async fn write(
        &mut self,
        mut bytes: &[u8],
        finish: bool,
        deadline: &Deadline,
        wait: Duration,
    ) -> Result<()> {
        deadline.set(wait);
        poll_fn(|cx| {
            loop {
                let step = if !bytes.is_empty() {
                    self.io.poll_write(cx, &[IoSlice::new(bytes)]).map_ok(Some)
                } else if finish {
                    self.io.poll_finish(cx, None).map_ok(|()| None)
                } else {
                    self.io.poll_flush(cx).map_ok(|()| None)
                };
                match step {
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(Some(0))) => {
                        return Poll::Ready(Err(ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(Some(count))) => {
                        bytes = bytes.get(count..).unwrap_or_default();
                        deadline.set(wait);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        if self.io.take_moved() {
                            deadline.set(wait);
                        }
                        return deadline.poll(cx).map(|()| Err(timed_out()));
                    }
                }
            }
        })
        .await
    }

    /// Ends the connection in order, if the peer takes the end without delay.
    pub async fn close(&mut self, deadline: &Deadline) {
        const WAIT: Duration = Duration::from_secs(1);
        if !self.is_quiet() {
            return self.linger(deadline).await;
        }
        if self.io.bare().is_some() {
            // The kernel says that this is the end when the socket is dropped.
            return;
        }
        deadline.set(WAIT);
        poll_fn(|cx| match self.io.poll_shutdown(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => deadline.poll(cx),
        })
        .await;
    }

    /// Ends the connection although the peer may still send: says that no more will be written,
    /// then reads and drops what comes until the peer is done, since a socket that is closed with
    /// unread bytes is reset, and a reset can destroy the answer on its way (RFC 9112 section 9.6).
    /// Gives up after two seconds or 256 KiB.
    pub async fn linger(&mut self, deadline: &Deadline) {
        const WAIT: Duration = Duration::from_secs(2);
        const MOST: usize = 256 * 1024;
        deadline.set(WAIT);
        let mut left = MOST;
        let mut shut = false;
        poll_fn(|cx| {
            loop {
                if !shut {
                    match self.io.poll_shutdown(cx) {
                        Poll::Ready(Ok(())) => shut = true,
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Pending => {}
                    }
                }
                self.buffer = None;
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(count)) if count > 0 && count < left => left -= count,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return deadline.poll(cx),
                }
            }
        })
        .await;
    }

    /// Makes the end of the connection, when it is dropped, a reset, so that nobody takes it for an end in order.
    pub fn reset(&mut self) {
        if let Some(stream) = self.io.stream_mut() {
            stream.reset(h2::Reason::INTERNAL_ERROR);
        }
        if let Some(socket) = self.io.socket() {
            // Nothing can be done about a socket that refuses; it is closed anyway.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Prepares a socket that was accepted: it waits to be told that there is something to read. The
/// runtime guesses that there is, but the first bytes come a little after the connection, so most of
/// the reads that follow from the guess find nothing.
pub fn await_first(stream: &TcpStream) {
    let nothing = || Err::<(), _>(ErrorKind::WouldBlock.into());
    // Nothing is lost: no events were waited for since the accept, so the next wait tells all.
    let _ = stream.try_io(tokio::io::Interest::READABLE, nothing);
}

/// Prepares a socket that was connected: small writes go out at once.
pub fn prepare(stream: &TcpStream) {
    // Fails only if the peer is gone already, which the next read will tell.
    let _ = stream.set_nodelay(true);
}

/// Waits for `future`, but not beyond the deadline that is set.
pub async fn until<F: Future>(deadline: &Deadline, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => deadline.poll(cx).map(|()| None),
    })
    .await
}

/// The error of a wait that took too long.
fn timed_out() -> Error {
    ErrorKind::TimedOut.into()
}
