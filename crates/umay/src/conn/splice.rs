//! Bytes that the kernel moves from one socket to another by itself, through a pipe (splice(2)).

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes moved by one splice at most.
const PIECE: u64 = 1024 * 1024;

/// A pipe, and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    inside: usize,
    open: Rc<Cell<usize>>,
}

/// Which side broke, and how.
#[derive(Debug)]
pub struct Broken {
    /// The side that was read from.
    pub reading: bool,
    /// What the system says.
    pub error: io::Error,
}

impl Broken {
    /// The side that was read from broke.
    pub fn reading(error: io::Error) -> Self {
        Self {
            reading: true,
            error,
        }
    }

    /// The side that was written to broke.
    pub fn writing(error: io::Error) -> Self {
        Self {
            reading: false,
            error,
        }
    }
}

impl Pipe {
    fn open(open: &Rc<Cell<usize>>) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        open.set(open.get() + 1);
        Ok(Self {
            read,
            write,
            inside: 0,
            open: Rc::clone(open),
        })
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &TcpStream,
        sink: &TcpStream,
        left: &mut u64,
    ) -> Poll<Result<bool, Broken>> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            if self.inside == 0 {
                let piece = (*left).min(PIECE) as usize;
                if piece == 0 {
                    return Poll::Ready(Ok(false));
                }
                ready!(source.poll_read_ready(cx)).map_err(Broken::reading)?;
                let moved = source.try_io(Interest::READABLE, || {
                    Ok(splice(source, None, &self.write, None, piece, flags)?)
                });
                match moved {
                    Ok(0) => return Poll::Ready(Ok(true)),
                    Ok(count) => self.inside = count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Poll::Ready(Err(Broken::reading(error))),
                }
            }
            ready!(sink.poll_write_ready(cx)).map_err(Broken::writing)?;
            let moved = sink.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.read, None, sink, None, self.inside, flags)?)
            });
            match moved {
                Ok(0) => return Poll::Ready(Err(Broken::writing(ErrorKind::WriteZero.into()))),
                Ok(count) => {
                    self.inside = self.inside.saturating_sub(count);
                    *left = left.saturating_sub(count as u64);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(Broken::writing(error))),
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

/// The pipes of one worker. Lent only while there is something in them, so a few serve many.
#[derive(Debug)]
pub struct Pipes {
    free: RefCell<Vec<Pipe>>,
    /// Open ones, free or lent.
    open: Rc<Cell<usize>>,
    most: usize,
}

impl Pipes {
    /// No pipe yet, and never more than `most`: they must not take the file descriptors of
    /// connections.
    pub fn new(most: usize) -> Self {
        Self {
            free: RefCell::default(),
            open: Rc::default(),
            most,
        }
    }

    /// Moves what can be moved and takes it from `left`; ready when nothing is left (false) or at the
    /// sender's end (true). `held` keeps the pipe while there is something in it. `None` if no pipe is
    /// to be had.
    pub fn poll(
        &self,
        held: &mut Option<Pipe>,
        cx: &mut Context<'_>,
        source: &TcpStream,
        sink: &TcpStream,
        left: &mut u64,
    ) -> Option<Poll<Result<bool, Broken>>> {
        let mut pipe = held.take().or_else(|| self.take())?;
        let step = pipe.poll(cx, source, sink, left);
        if pipe.inside == 0 {
            self.free.borrow_mut().push(pipe);
        } else {
            *held = Some(pipe);
        }
        Some(step)
    }

    fn take(&self) -> Option<Pipe> {
        let free = self.free.borrow_mut().pop();
        free.or_else(|| {
            let room = self.open.get() < self.most;
            room.then(|| Pipe::open(&self.open).ok()).flatten()
        })
    }
}
