//! What carries an HTTP/2 connection: a [`Conn`] whose frames are counted on their way, in both
//! directions. What the library does not tell is known from here: floods, GOAWAY, silence, and a
//! peer that takes nothing.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use umay_core::frames::{Abuse, Allowance, Guard, PREFACE, Scanner, kind};

use umay_core::model::{Http2, Limits};

use super::ledger::{Ledger, Silent};
use super::{Conn, Millis, Timers};

/// Bytes that the library may hold of a stream on their way to the socket: 64 KiB.
pub const SEND_BUFFER: usize = 64 * 1024;

/// Bytes of a head's fields that the library is to take. The room above our own limit is where a
/// head that is too large is still told apart, and told (431). The library also takes from this how
/// many CONTINUATION frames there may be, and it must not be stricter than we are.
pub fn header_list(http2: &Http2, limits: &Limits) -> u32 {
    /// More than this is not made room for, whatever the number of frames.
    const MOST: usize = 1024 * 1024;
    let frames = http2.allowance.continuations as usize;
    let blocks = frames.saturating_mul(http2.max_frame as usize).min(MOST);
    let list = limits.head.saturating_mul(2).max(blocks);
    u32::try_from(list).unwrap_or(u32::MAX)
}

/// What is known of an HTTP/2 connection besides what the library tells.
pub struct Watch {
    timers: Rc<Timers>,
    state: RefCell<State>,
    abuse: Cell<Option<Abuse>>,
    /// The last stream that the peer will process, once it has said so.
    last_stream: Cell<Option<u32>>,
    /// The peer has sent a frame.
    greeted: Cell<bool>,
    /// When something came last.
    heard: Cell<Millis>,
    /// Since when the peer takes nothing.
    stuck: Cell<Option<Millis>>,
    /// Who waits for the first frame.
    waiting: RefCell<Option<Waker>>,
    /// The words with which the connection was given up for an error.
    ended: RefCell<Option<Vec<u8>>>,
    /// Streams on which more of a body may come.
    uploads: Cell<u32>,
    /// Bytes of bodies that the peer takes on the connection, whatever their streams.
    window: Cell<i64>,
    /// Since when that is none.
    dry: Cell<Option<Millis>>,
}

/// What a peer takes before it has said how much (RFC 9113 section 6.9.2).
const FIRST_WINDOW: i64 = 65_535;

/// A window that is used up for so long is not only waiting for its next update.
const DRY: Duration = Duration::from_millis(250);

struct State {
    input: Scanner,
    output: Scanner,
    /// For clients; endpoints are trusted to want no harm.
    guard: Option<Guard>,
    /// The same.
    ledger: Ledger,
}

impl Watch {
    /// For a client's connection.
    pub fn client(timers: &Rc<Timers>, allowance: Allowance) -> Rc<Self> {
        let guard = Some(Guard::new(allowance));
        Self::new(timers, PREFACE, 0, guard)
    }

    /// For a connection to an endpoint.
    pub fn endpoint(timers: &Rc<Timers>) -> Rc<Self> {
        Self::new(timers, 0, PREFACE, None)
    }

    fn new(timers: &Rc<Timers>, input: usize, output: usize, guard: Option<Guard>) -> Rc<Self> {
        Rc::new(Self {
            timers: Rc::clone(timers),
            state: RefCell::new(State {
                input: Scanner::new(input),
                output: Scanner::new(output),
                guard,
                ledger: Ledger::default(),
            }),
            abuse: Cell::new(None),
            last_stream: Cell::new(None),
            greeted: Cell::new(false),
            heard: Cell::new(timers.now()),
            stuck: Cell::new(None),
            waiting: RefCell::new(None),
            ended: RefCell::default(),
            uploads: Cell::new(0),
            window: Cell::new(FIRST_WINDOW),
            dry: Cell::new(None),
        })
    }

    /// What the peer was caught at.
    pub fn abuse(&self) -> Option<Abuse> {
        self.abuse.get()
    }

    /// The last stream that the peer will process, if it has said GOAWAY.
    pub fn last_stream(&self) -> Option<u32> {
        self.last_stream.get()
    }

    /// When something came last.
    pub fn heard(&self) -> Millis {
        self.heard.get()
    }

    /// Since when the peer takes nothing of what is to be sent.
    pub fn stuck(&self) -> Option<Millis> {
        self.stuck.get()
    }

    /// The streams that ended without anybody above, since this was last asked.
    pub fn take_silent(&self) -> Silent {
        self.state.borrow_mut().ledger.take()
    }

    /// A client's stream comes into the hands of somebody who will tell of it.
    pub fn know(self: &Rc<Self>, stream: u32) -> Known {
        self.state.borrow_mut().ledger.know(stream);
        Known {
            watch: Rc::clone(self),
            stream,
        }
    }

    /// The beginning of the words, if any, of a GOAWAY that was sent for an error or would have been.
    pub fn ended(&self) -> Option<Vec<u8>> {
        self.ended.borrow().clone()
    }

    /// True if the peer has taken no byte of any body for a while, because streams that it does not
    /// read use up the window of the connection.
    pub fn is_dry(&self) -> bool {
        let dry = self.dry.get();
        dry.is_some_and(|then| self.timers.is_past(Timers::since(then, DRY)))
    }

    fn window_changed(&self, by: i64) {
        self.window.set(self.window.get() + by);
        if self.window.get() > 0 {
            self.dry.set(None);
        } else if self.dry.get().is_none() {
            self.dry.set(Some(self.timers.now()));
        }
    }

    /// Streams on which more of a body may come.
    pub fn uploads(&self) -> u32 {
        self.uploads.get()
    }

    /// Counts a stream on which more may come, until the guard is dropped.
    pub fn upload(self: &Rc<Self>) -> Upload {
        self.uploads.set(self.uploads.get() + 1);
        Upload(Rc::clone(self))
    }

    /// Ready when the peer has sent its first frame.
    pub fn poll_greeted(&self, cx: &Context<'_>) -> Poll<()> {
        if self.greeted.get() {
            return Poll::Ready(());
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn received(&self, bytes: &[u8]) -> Result<()> {
        let now = self.timers.now();
        self.heard.set(now);
        let state = &mut *self.state.borrow_mut();
        let (guard, ledger) = (&mut state.guard, &mut state.ledger);
        let mut result = Ok(());
        state.input.scan(bytes, |frame| {
            if !self.greeted.replace(true) {
                if let Some(waker) = self.waiting.take() {
                    waker.wake();
                }
                // RFC 9113 section 3.4; the library does not insist.
                if frame.kind != kind::SETTINGS {
                    *self.ended.borrow_mut() = Some(Vec::new());
                    let what = "the first frame is not SETTINGS";
                    result = Err(Error::new(ErrorKind::InvalidData, what));
                }
            }
            if let Some(last) = frame.last_stream() {
                self.last_stream.set(Some(last));
            }
            self.window_changed(i64::from(frame.adds()));
            if let Some(guard) = guard {
                ledger.received(&frame);
                self.caught(guard.received(&frame, now));
            }
        });
        result
    }

    fn sent(&self, bytes: &[u8]) {
        let now = self.timers.now();
        let state = &mut *self.state.borrow_mut();
        let (guard, ledger) = (&mut state.guard, &mut state.ledger);
        state.output.scan(bytes, |frame| {
            self.window_changed(-i64::from(frame.takes()));
            if let (kind::GOAWAY, Some(1..)) = (frame.kind, frame.code()) {
                *self.ended.borrow_mut() = Some(frame.words().to_vec());
            }
            if let Some(guard) = guard {
                ledger.sent(&frame);
                self.caught(guard.sent(&frame, now));
            }
        });
    }

    fn caught(&self, abuse: Option<Abuse>) {
        if self.abuse.get().is_none() {
            self.abuse.set(abuse);
        }
    }
}

/// A stream on which more of a body may come.
pub struct Upload(Rc<Watch>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.uploads.set(self.0.uploads.get() - 1);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// A client's stream that somebody will tell of.
#[derive(Debug)]
pub struct Known {
    watch: Rc<Watch>,
    stream: u32,
}

impl Known {
    /// True if the client has reset it, and not we for what the client did.
    pub fn is_reset(&self) -> bool {
        self.watch.state.borrow().ledger.is_reset(self.stream)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.watch.state.borrow_mut().ledger.forget(self.stream);
    }
}

/// A connection that is watched.
#[derive(Debug)]
pub struct Watched {
    conn: Conn,
    watch: Rc<Watch>,
}

impl Watched {
    /// Begins with what was read ahead.
    pub fn new(conn: Conn, watch: &Rc<Watch>) -> Self {
        Self {
            conn,
            watch: Rc::clone(watch),
        }
    }

    fn wrote(&self, slices: &[IoSlice<'_>], step: Poll<Result<usize>>) -> Poll<Result<usize>> {
        match &step {
            Poll::Ready(Ok(count)) => {
                self.watch.stuck.set(None);
                let mut left = *count;
                for slice in slices {
                    let part = slice.get(..left.min(slice.len())).unwrap_or_default();
                    left -= part.len();
                    self.watch.sent(part);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pending(),
        }
        step
    }

    fn pending(&self) {
        if self.watch.stuck.get().is_none() {
            self.watch.stuck.set(Some(self.watch.timers.now()));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buf.filled().len();
        if self.conn.unread().is_empty() {
            std::task::ready!(self.conn.io_mut().poll_read_into(cx, buf))?;
        } else {
            let unread = self.conn.unread();
            let count = unread.len().min(buf.remaining());
            buf.put_slice(unread.get(..count).unwrap_or_default());
            self.conn.consume(count);
        }
        let new = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.watch.received(new))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        let slices = [IoSlice::new(buf)];
        let step = self.conn.io_mut().poll_write(cx, &slices);
        self.wrote(&slices, step)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let step = self.conn.io_mut().poll_write(cx, slices);
        self.wrote(slices, step)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let step = self.conn.io_mut().poll_flush(cx);
        match &step {
            Poll::Ready(_) => self.watch.stuck.set(None),
            Poll::Pending => self.pending(),
        }
        step
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.conn.io_mut().poll_shutdown(cx)
    }
}
