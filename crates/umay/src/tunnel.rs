//! Tunnels: bytes go both ways as they are, each way ends on its own, and a slow reader slows down
//! its writer. For raw streams, TLS that is passed through, and what follows a 101.
//!
//! A way begins with a buffer that it holds only while there is something in it. Between two plain
//! sockets, once it has turned out to carry bulk, the kernel moves the bytes itself (splice).

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::task::{Context, Poll, ready};

use umay_core::reason::Reason;

use crate::conn::{Broken, Conn, Deadline, Pipe, Pipes};
use crate::drain::Phase;
use crate::telemetry::metrics::Counter;
use crate::worker::Worker;

/// Bytes after which a way is taken for bulk: 256 KiB. Below, two more file descriptors and the
/// pipe cost more than the copy (measured: talkative streams 5 % worse with splice from the start).
const BULK: u64 = 256 * 1024;

/// What a tunnel has done.
#[derive(Debug, Default)]
pub struct Ended {
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Why it was cut; `None` if both ways came to their end.
    pub reason: Option<Reason>,
    /// More about it, for people; may be empty.
    pub detail: String,
    /// Who spoke first: true for the endpoint; `None` if nobody did.
    pub server_first: Option<bool>,
}

/// Runs a tunnel to its end, beginning with what was read ahead on both sides.
pub async fn run(
    worker: &Worker,
    client: &mut Conn,
    link: &mut Conn,
    deadline: &Deadline,
) -> Ended {
    let metrics = &worker.metrics.tcp;
    let _active = metrics.active.hold();
    let (mut up, mut down) = (Way::default(), Way::default());
    let mut server_first = None;
    deadline.set(worker.timeouts.tunnel);
    let cut = poll_fn(|cx| {
        let before = up.bytes + down.bytes;
        let up_step = up.poll(cx, client, link, &metrics.bytes_in, &worker.pipes);
        if server_first.is_none() && up.bytes > 0 {
            server_first = Some(false);
        }
        let down_step = down.poll(cx, link, client, &metrics.bytes_out, &worker.pipes);
        if server_first.is_none() && down.bytes > 0 {
            server_first = Some(true);
        }
        for (step, from, to) in [
            (&up_step, "client", "endpoint"),
            (&down_step, "endpoint", "client"),
        ] {
            if let Poll::Ready(Err(broken)) = step {
                return Poll::Ready(Some(told(broken, from, to)));
            }
        }
        if up_step.is_ready() && down_step.is_ready() {
            return Poll::Ready(None);
        }
        if worker.drain.phase() == Phase::Cutting {
            let detail = "the drain's deadline has come".to_owned();
            return Poll::Ready(Some((Reason::Draining, detail)));
        }
        if up.bytes + down.bytes > before {
            deadline.set(worker.timeouts.tunnel);
        }
        ready!(deadline.poll(cx));
        let detail = format!("no byte either way for {:?}", worker.timeouts.tunnel);
        Poll::Ready(Some((Reason::IdleTimeout, detail)))
    })
    .await;
    let (reason, detail) = cut.unzip();
    Ended {
        bytes_in: up.bytes,
        bytes_out: down.bytes,
        reason,
        detail: detail.unwrap_or_default(),
        server_first,
    }
}

/// One way.
#[derive(Debug, Default)]
struct Way {
    stage: Stage,
    bytes: u64,
    /// Bytes so far when there was no pipe to be had.
    copied: u64,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Copying,
    Splicing(Option<Pipe>),
    /// The sender is done, its end is passed on.
    Ending,
    Ended,
}

/// Why a way was cut.
fn told(broken: &Broken, from: &str, to: &str) -> (Reason, String) {
    let (who, what) = if broken.reading {
        (from, "reading from")
    } else {
        (to, "writing to")
    };
    let detail = format!("{what} the {who}: {}", broken.error);
    (Reason::TunnelReset, detail)
}

impl Way {
    /// Moves what can be moved; ready when the end was passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
        counter: &Counter,
        pipes: &Pipes,
    ) -> Poll<Result<(), Broken>> {
        loop {
            match &mut self.stage {
                Stage::Copying => {
                    let ended = ready!(copy(
                        cx,
                        from,
                        to,
                        &mut self.bytes,
                        self.copied + BULK,
                        counter
                    ))?;
                    self.stage = if ended {
                        Stage::Ending
                    } else {
                        Stage::Splicing(None)
                    };
                }
                Stage::Splicing(pipe) => {
                    let (Some(source), Some(sink)) = (from.io().bare(), to.io().bare()) else {
                        self.stage = Stage::Copying;
                        continue;
                    };
                    let mut left = u64::MAX;
                    let step = pipes.poll(pipe, cx, source, sink, &mut left);
                    self.bytes += u64::MAX - left;
                    counter.add(u64::MAX - left);
                    let Some(step) = step else {
                        // Another time.
                        self.copied = self.bytes;
                        self.stage = Stage::Copying;
                        continue;
                    };
                    ready!(step)?;
                    self.stage = Stage::Ending;
                }
                Stage::Ending => {
                    // A peer that is gone needs not be told.
                    let _ = ready!(to.io_mut().poll_shutdown(cx));
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Copies until the sender's end (true), or until the way turns out to be bulk and could be spliced
/// (false).
fn copy(
    cx: &mut Context<'_>,
    from: &mut Conn,
    to: &mut Conn,
    bytes: &mut u64,
    bulk: u64,
    counter: &Counter,
) -> Poll<Result<bool, Broken>> {
    loop {
        while !from.unread().is_empty() {
            let slice = [IoSlice::new(from.unread())];
            let count = ready!(to.io_mut().poll_write(cx, &slice)).map_err(Broken::writing)?;
            if count == 0 {
                return Poll::Ready(Err(Broken::writing(ErrorKind::WriteZero.into())));
            }
            from.consume(count);
            *bytes += count as u64;
            counter.add(count as u64);
        }
        if *bytes >= bulk && from.io().bare().is_some() && to.io().bare().is_some() {
            return Poll::Ready(Ok(false));
        }
        // What TLS holds back has to go before a wait for more; the wait goes on meanwhile.
        if let Poll::Ready(Err(error)) = to.io_mut().poll_flush(cx) {
            return Poll::Ready(Err(Broken::writing(error)));
        }
        match ready!(from.poll_fill(cx)) {
            Ok(0) => return Poll::Ready(Ok(true)),
            Ok(_) => {}
            // TLS without close_notify: as many clients do it, it is an end, not a reset. What goes
            // through a tunnel has to know its own end.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Poll::Ready(Ok(true)),
            Err(error) => return Poll::Ready(Err(Broken::reading(error))),
        }
    }
}
