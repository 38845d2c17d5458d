//! One direction of an exchange: a body is read from one side, decoded, framed anew and written to
//! the other, in whatever pieces it comes. Nothing is copied but what chunk framing forces together.

use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::task::{Context, Poll, ready};

use umay_core::message::{Fields, Framing};
use umay_core::model::Timeouts;
use umay_h1::{Decoder, Encoder, Malformed};

use crate::conn::{Conn, Io, Millis, NEVER, Pipe, Pipes, Stream, Timers};

/// What is to be written next: bytes of our own, a piece of what was read, bytes of our own.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// A head, a chunk's size.
    pub(super) lead: Vec<u8>,
    /// A piece of what was read ahead from the other side.
    data: Range<usize>,
    /// A chunk's end, the last chunk, trailers.
    tail: Vec<u8>,
    written: usize,
}

impl Outgoing {
    /// Empties it and keeps its memory, unless that has grown large.
    pub(super) fn clear(&mut self) {
        const KEEP: usize = 16 * 1024;
        for own in [&mut self.lead, &mut self.tail] {
            own.clear();
            own.shrink_to(KEEP);
        }
        self.data = 0..0;
        self.written = 0;
    }

    /// True if a part of it was written and a part was not.
    pub(super) fn is_torn(&self) -> bool {
        self.written > 0 && self.left() > 0
    }

    fn left(&self) -> usize {
        (self.lead.len() + self.data.len() + self.tail.len()).saturating_sub(self.written)
    }

    /// Writes what is left; ready when nothing is.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        from: &[u8],
        to: &mut Io,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        while self.left() > 0 {
            let data = from.get(self.data.clone()).unwrap_or_default();
            let mut slices = [IoSlice::new(&[]); 3];
            let mut skip = self.written;
            let mut used = 0;
            for part in [&self.lead[..], data, &self.tail[..]] {
                let rest = part.get(skip..).unwrap_or_default();
                skip = skip.saturating_sub(part.len());
                if let (false, Some(slot)) = (rest.is_empty(), slices.get_mut(used)) {
                    *slot = IoSlice::new(rest);
                    used += 1;
                }
            }
            let slices = slices.get(..used).unwrap_or_default();
            match ready!(to.poll_write(cx, slices))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
            *moved = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Bytes that are left of a body from which on the kernel is to move them: 16 KiB.
const LONG: u64 = 16 * 1024;

/// Why a direction stopped before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The side that sends closed or broke the connection.
    Cut(io::Error),
    /// The side that sends broke the framing.
    Malformed(Malformed),
    /// The side that takes closed or broke the connection.
    Refused(io::Error),
    /// The body is larger than allowed.
    TooLarge,
}

/// What a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Bytes of the body.
    Read,
    /// The other side, to take bytes.
    Write,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    decoder: Decoder,
    encoder: Encoder,
    /// Bytes of what was read ahead that are done with when all is written.
    consumed: usize,
    /// Payload bytes so far.
    pub(super) bytes: u64,
    /// Most payload bytes.
    limit: u64,
    /// When the wait for progress ends.
    pub(super) until: Millis,
    pub(super) waiting: Waiting,
    /// Some byte was written.
    pub(super) started: bool,
    /// Leave what was read where it is, for it may have to be sent again.
    hold: bool,
    /// What of a long body is on its way past us.
    pipe: Option<Pipe>,
    /// Bytes went by unseen.
    pub(super) spliced: bool,
}

impl Half {
    /// A direction that reads one framing and writes another. Its head, if any, is to be put into
    /// `out.lead` first.
    pub(super) fn new(from: Framing, to: Framing, limit: Option<u64>, hold: bool) -> Self {
        Self {
            decoder: Decoder::new(from),
            encoder: Encoder::new(to),
            consumed: 0,
            bytes: 0,
            limit: limit.unwrap_or(u64::MAX),
            until: NEVER,
            waiting: Waiting::Write,
            started: false,
            hold,
            pipe: None,
            spliced: false,
        }
    }

    /// True if all of the body was read.
    pub(super) fn is_read(&self) -> bool {
        self.decoder.is_done()
    }

    /// True if all that was sent so far is still there to be sent again.
    pub(super) fn can_replay(&self) -> bool {
        self.hold && (self.decoder.is_done() || self.untouched())
    }

    /// True if no byte of the body was looked at.
    fn untouched(&self) -> bool {
        self.bytes == 0 && self.consumed == 0
    }

    /// Begins to send, for the first time or again, behind the head that is in `out.lead`.
    pub(super) fn begin(&mut self, to: Framing, out: &mut Outgoing, from: &Conn) {
        self.encoder = Encoder::new(to);
        self.started = false;
        self.until = NEVER;
        out.written = 0;
        out.tail.clear();
        if !out.data.is_empty() {
            self.frame(out);
            self.last(out, from);
        }
    }

    /// The trailers that have come behind it from there.
    pub(super) fn trailers<'a>(&'a self, from: &'a Conn) -> Option<&'a Fields> {
        trailers(&self.decoder, from)
    }

    /// What was sent will not have to be sent again.
    pub(super) fn release(&mut self, from: &mut Conn) {
        self.hold = false;
        from.consume(std::mem::take(&mut self.consumed));
    }

    /// Writes what is in `out`; for heads that have no body.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outgoing,
        to: &mut Io,
        pace: &Pace<'_>,
    ) -> Poll<io::Result<()>> {
        let mut moved = false;
        let step = match out.poll_write(cx, &[], to, &mut moved) {
            Poll::Ready(Ok(())) => to.poll_flush(cx),
            other => other,
        };
        self.started |= moved;
        if step.is_pending() {
            self.wait(Waiting::Write, moved, pace);
        } else {
            out.clear();
        }
        step
    }

    /// Moves what can be moved; ready at the end of the body, when all of it was written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outgoing,
        from: &mut Conn,
        to: &mut Io,
        pace: &Pace<'_>,
    ) -> Poll<Result<(), Stop>> {
        let mut moved = false;
        loop {
            if out.written == 0 && out.data.is_empty() && out.tail.is_empty() {
                self.load(out, from)?;
            }
            let advanced = self.consumed > 0;
            let step = out.poll_write(cx, from.unread(), to, &mut moved);
            self.started |= moved;
            match step {
                Poll::Ready(Ok(())) => self.settle(out, from),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Stop::Refused(error))),
                Poll::Pending => {
                    moved |= to.take_moved();
                    self.wait(Waiting::Write, moved, pace);
                    return Poll::Pending;
                }
            }
            let done = self.decoder.is_done();
            if !done && advanced && !from.unread().is_empty() {
                continue;
            }
            // Whatever is held back below has to go before a wait for more.
            let flushed = if done {
                let trailers = trailers(&self.decoder, from);
                to.poll_finish(cx, trailers)
            } else {
                to.poll_flush(cx)
            };
            moved |= to.take_moved();
            match flushed {
                Poll::Ready(Ok(())) if done => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Stop::Refused(error))),
                Poll::Pending if done => {
                    self.wait(Waiting::Write, moved, pace);
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
            if let Some(step) = self.poll_splice(cx, from, to, &mut moved, pace) {
                ready!(step)?;
                continue;
            }
            if from.is_full() {
                from.compact();
            }
            match from.poll_fill(cx) {
                Poll::Ready(Ok(0)) => self.end(None)?,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => self.end(Some(error))?,
                Poll::Pending => {
                    self.wait(Waiting::Read, moved, pace);
                    return Poll::Pending;
                }
            }
            moved = true;
        }
    }

    /// Moves the rest of a long body from socket to socket without looking at it, if that can be;
    /// ready when all of it was moved.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &Conn,
        to: &Io,
        moved: &mut bool,
        pace: &Pace<'_>,
    ) -> Option<Poll<Result<(), Stop>>> {
        let known = matches!(self.encoder.framing(), Framing::Length(_));
        let left = self.decoder.left().filter(|_| known)?;
        let may_return = self.hold && self.untouched();
        if may_return || !from.unread().is_empty() || (self.pipe.is_none() && left < LONG) {
            return None;
        }
        let (source, sink) = (from.io().bare()?, to.bare()?);
        let mut rest = left;
        let step = pace
            .pipes
            .poll(&mut self.pipe, cx, source, sink, &mut rest)?;
        self.decoder.skip(left - rest);
        self.bytes += left - rest;
        *moved |= rest < left;
        self.started |= *moved;
        self.spliced = true;
        // It is gone.
        self.hold = false;
        Some(match step {
            Poll::Pending => {
                let waiting = match self.pipe {
                    None => Waiting::Read,
                    Some(_) => Waiting::Write,
                };
                self.wait(waiting, *moved, pace);
                Poll::Pending
            }
            Poll::Ready(Ok(true)) => Poll::Ready(self.end(None)),
            Poll::Ready(Ok(false)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(broken)) if broken.reading => Poll::Ready(Err(Stop::Cut(broken.error))),
            Poll::Ready(Err(broken)) => Poll::Ready(Err(Stop::Refused(broken.error))),
        })
    }

    /// Decodes what was read and puts it up for writing, behind what is in `out.lead`.
    fn load(&mut self, out: &mut Outgoing, from: &mut Conn) -> Result<(), Stop> {
        if !self.decoder.is_done() && !from.unread().is_empty() {
            let decoded = self
                .decoder
                .decode(from.unread_mut())
                .map_err(Stop::Malformed)?;
            self.consumed = decoded.consumed;
            out.data = decoded.data;
            self.bytes += out.data.len() as u64;
            if self.bytes > self.limit {
                return Err(Stop::TooLarge);
            }
            if from.is_at_end() {
                // Nothing more will come of a stream, so its end can go with what there is.
                self.end(None)?;
            }
        }
        self.frame(out);
        self.last(out, from);
        Ok(())
    }

    /// Puts the framing around the piece that is up for writing.
    fn frame(&mut self, out: &mut Outgoing) {
        if !out.data.is_empty() {
            let frame = self.encoder.frame(out.data.len());
            out.lead.extend_from_slice(frame.prefix());
            out.tail.extend_from_slice(frame.suffix());
        }
    }

    /// Adds the end of the body once it is known.
    fn last(&mut self, out: &mut Outgoing, from: &Conn) {
        if self.decoder.is_done() && self.encoder.framing() == Framing::Chunked {
            self.encoder
                .finish(trailers(&self.decoder, from), &mut out.tail);
            // The end is written once.
            self.encoder = Encoder::new(Framing::None);
        }
    }

    /// All that was put up is written.
    fn settle(&mut self, out: &mut Outgoing, from: &mut Conn) {
        if self.hold && self.decoder.is_done() {
            return;
        }
        if !(self.hold && self.untouched()) {
            self.release(from);
        }
        out.clear();
    }

    /// The side that sends is at its end.
    fn end(&mut self, error: Option<io::Error>) -> Result<(), Stop> {
        if let Some(error) = error {
            return Err(Stop::Cut(error));
        }
        let ended = self.decoder.eof();
        ended.map_err(|_| Stop::Cut(ErrorKind::UnexpectedEof.into()))
    }

    fn wait(&mut self, what: Waiting, moved: bool, pace: &Pace<'_>) {
        if moved || self.until == NEVER || self.waiting != what {
            self.waiting = what;
            self.until = pace.timers.after(match what {
                Waiting::Read => pace.timeouts.body,
                Waiting::Write => pace.timeouts.send,
            });
        }
    }
}

/// The trailers of a body, in whatever form they have come.
fn trailers<'a>(decoder: &'a Decoder, from: &'a Conn) -> Option<&'a Fields> {
    let of_stream = || from.io().stream().and_then(Stream::trailers);
    decoder.trailers().or_else(of_stream)
}

/// The framing of a body on what carries it: a stream of HTTP/2 marks the end by itself.
pub(super) fn on(conn: &Conn, framing: Framing) -> Framing {
    match framing {
        Framing::None => Framing::None,
        _ if conn.io().stream().is_some() => Framing::UntilClose,
        framing => framing,
    }
}

/// How long a direction may wait for progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace<'a> {
    pub(super) timers: &'a Timers,
    pub(super) timeouts: &'a Timeouts,
    pub(super) pipes: &'a Pipes,
}
