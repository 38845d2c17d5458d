//! Waits for enough bytes of a connection to tell what it speaks.
//!
//! Some protocols' servers speak first (SMTP, SSH, MySQL), so a client that stays silent for a
//! while is taken for one of them, where a route for such streams exists. What this gives up: a
//! client of another protocol that is slower than that is misunderstood. Where the last silent
//! client's endpoint did speak first, the wait is [`GRACE`] only.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use umay_core::detect::{Verdict, sniff};

use crate::conn::{Conn, Deadline};
use crate::drain::Phase;
use crate::telemetry::metrics::Detected;
use crate::worker::Worker;

/// How long a silent client is waited for on a route whose endpoints are known to speak first:
/// 30 ms. A client that speaks first does so with the last packet of its connect, or right after it.
pub const GRACE: Duration = Duration::from_millis(30);

/// What came of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The bytes say so; [`Verdict::Opaque`] also if they stopped before they said anything else.
    Spoken(Verdict),
    /// The client has said nothing for as long as it was waited for.
    Silent,
    /// The client left, or has to, before it said anything.
    Gone,
    /// The client began to say something and did not go on.
    Stalled,
}

/// Waits for a verdict. The bytes stay with the connection. `silent` is how long to wait for the
/// first byte and for each after it, if there is a route for those who are silent.
pub async fn detect(
    worker: &Worker,
    conn: &mut Conn,
    silent: Option<Duration>,
    deadline: &Deadline,
) -> Found {
    let started = Instant::now();
    let found = match silent {
        Some(wait) => patiently(conn, wait, worker).await,
        None => idly(worker, conn, deadline).await,
    };
    let what = match found {
        Found::Spoken(Verdict::Tls) => Detected::Tls,
        Found::Spoken(Verdict::Http1) => Detected::Http1,
        Found::Spoken(Verdict::Http2) => Detected::Http2,
        Found::Spoken(Verdict::Mqtt) => Detected::Mqtt,
        Found::Spoken(Verdict::Opaque | Verdict::NeedMore) => Detected::Opaque,
        Found::Silent | Found::Stalled => Detected::Timeout,
        Found::Gone => return found,
    };
    worker.metrics.detection.done(what, started.elapsed());
    found
}

/// With a route for silent clients: each wait is short, and its end is an answer too.
async fn patiently(conn: &mut Conn, wait: Duration, worker: &Worker) -> Found {
    loop {
        // A precise timer, for this wait is shorter than a tick of the table's.
        let mut timer = pin!(tokio::time::sleep(wait));
        let step = poll_fn(|cx| match read(conn, cx) {
            Poll::Pending if worker.drain.phase() == Phase::Cutting => {
                Poll::Ready(Step::Found(Found::Gone))
            }
            Poll::Pending => timer.as_mut().poll(cx).map(|()| Step::Late),
            ready => ready,
        })
        .await;
        match step {
            Step::Found(found) => return found,
            Step::More => {}
            Step::Late if conn.unread().is_empty() => return Found::Silent,
            Step::Late => return Found::Spoken(Verdict::Opaque),
        }
    }
}

/// Without: the client may take its time to begin, and has to go on when it has begun.
async fn idly(worker: &Worker, conn: &mut Conn, deadline: &Deadline) -> Found {
    if conn.unread().is_empty() {
        deadline.set_idle(worker.timeouts.keep_alive);
    } else {
        deadline.set(worker.timeouts.header);
    }
    let found = poll_fn(|cx| {
        loop {
            let silent = conn.unread().is_empty();
            match read(conn, cx) {
                Poll::Ready(Step::Found(found)) => return Poll::Ready(found),
                Poll::Ready(Step::More | Step::Late) if silent => {
                    deadline.set_busy();
                    deadline.set(worker.timeouts.header);
                }
                Poll::Ready(Step::More | Step::Late) => {}
                Poll::Pending => break,
            }
        }
        let silent = conn.unread().is_empty();
        let phase = worker.drain.phase();
        let leave = phase == Phase::Cutting || (silent && phase == Phase::Draining);
        if leave || deadline.is_shed() {
            return Poll::Ready(Found::Gone);
        }
        let late = || {
            if silent {
                Found::Silent
            } else {
                Found::Stalled
            }
        };
        deadline.poll(cx).map(|()| late())
    })
    .await;
    deadline.set_busy();
    found
}

enum Step {
    Found(Found),
    More,
    Late,
}

/// Looks at what is there, then reads more.
fn read(conn: &mut Conn, cx: &mut std::task::Context<'_>) -> Poll<Step> {
    match sniff(conn.unread()) {
        Verdict::NeedMore => {}
        verdict => return Poll::Ready(Step::Found(Found::Spoken(verdict))),
    }
    conn.poll_fill(cx).map(|filled| match filled {
        Ok(count) if count > 0 => Step::More,
        // The client is done with sending; what it sent is no message that Umay knows.
        _ if !conn.unread().is_empty() => Step::Found(Found::Spoken(Verdict::Opaque)),
        _ => Step::Found(Found::Gone),
    })
}
