//! Bytes that the kernel moves from one socket to another by itself, through a pipe (splice(2)).

use std::cell::RefCell;
use std::io::{self, ErrorKind};
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
    /// A pipe of its own: two file descriptors.
    pub fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            read,
            write,
            inside: 0,
        })
    }

    /// True if nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.inside == 0
    }

    /// Moves what can be moved and takes it from `left`; ready when nothing is left (false) or at the
    /// sender's end (true).
    pub fn poll(
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

/// The empty pipes of one worker, for those who need one for a moment.
#[derive(Debug, Default)]
pub struct Pipes(RefCell<Vec<Pipe>>);

impl Pipes {
    /// Kept for reuse, at most.
    const KEPT: usize = 64;

    /// An empty pipe; `None` if the process is out of file descriptors.
    pub fn take(&self) -> Option<Pipe> {
        let kept = self.0.borrow_mut().pop();
        kept.or_else(|| Pipe::open().ok())
    }

    /// Takes a pipe back, if it is empty.
    pub fn give_back(&self, pipe: Pipe) {
        let mut kept = self.0.borrow_mut();
        if pipe.is_empty() && kept.len() < Self::KEPT {
            kept.push(pipe);
        }
    }
}
