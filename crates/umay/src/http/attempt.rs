//! One attempt at an endpoint: what it is made on, and what comes of it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};
use umay_core::grpc;
use umay_core::headers::Forwarded;
use umay_core::message::Framing;
use umay_core::reason::Reason;

use super::body::Half;
use super::duplex::{Duplex, End, State};
use super::exchange::{Exchange, Next};
use super::forward::Way;
use super::record::{Record, Tunnelled};
use super::scratch::Scratch;
use super::traced::Came;
use super::{affinity, answer, head};
use crate::tunnel;
use crate::upstream::{Attempts, Failure, Lease, Link, Opened};

impl Exchange {
    /// Begins an attempt on what was opened.
    pub(super) fn start(
        &self,
        scratch: &mut Scratch,
        record: &mut Record,
        up: &mut Half,
        (way, attempts): (&Way<'_>, &Attempts),
        (opened, lease): (Opened, Lease),
    ) -> Result<Tried, Attempt> {
        let span = record.attempt_begins(&self.http.worker, attempts, lease.local());
        match self.begin(scratch, record, way.route, up, opened) {
            Ok(mut link) => {
                (record.reused, record.connect) = (link.reused, link.connect);
                // Once is enough to blame what was idle: a connection that is shared looks like that to whoever
                // comes second.
                link.reused &= !attempts.fresh;
                let state = State::new(way.until);
                Ok(Tried {
                    link,
                    lease,
                    state,
                    dead: false,
                    span,
                })
            }
            Err(failure) if failure.reason == Reason::UpstreamRefusedStream => {
                record.attempt_came(span, Came::failed(failure.reason));
                lease.fail(failure.reason);
                Err(Attempt::Refused(failure))
            }
            Err(failure) => {
                record.attempt_came(span, Came::failed(failure.reason));
                lease.excuse(failure.reason);
                Err(Attempt::Failed(failure.reason, failure.detail))
            }
        }
    }

    /// Follows an attempt until it ends. It stays where it is, for it is large, and most are followed once.
    pub(super) async fn follow(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        up: &mut Half,
        tried: &mut Tried,
        with: With<'_>,
    ) -> End {
        let Some(forwarded) = &record.forwarded else {
            return End::Failed(Reason::Internal, String::new());
        };
        let Tried {
            link, lease, state, ..
        } = tried;
        let route = with.way.route;
        let sticky = self.set_cookie(forwarded, lease, with.stuck);
        let mut duplex = Duplex {
            worker: &self.http.worker,
            deadline: &self.deadline,
            cx: head::Context {
                client: &self.client,
                request: &scratch.request,
                forwarded,
                trace: None,
                route: Some(route),
                sticky: sticky.as_deref(),
            },
            client: &mut self.conn,
            link: &mut link.conn,
            awaited: link.awaited.as_mut(),
            response: &mut scratch.response,
            up: &mut *up,
            up_out: &mut scratch.up,
            down_out: &mut scratch.down,
            state,
            lease,
            may_retry: with.may_retry,
        };
        let (mut late, mut rival) = (with.late, with.rival);
        let end = poll_fn(|cx| {
            if let Some(rival) = &mut rival
                && !duplex.state.stamps.is_answered()
            {
                let answer = rival.poll_answer(cx);
                with.alive.set(!rival.dead);
                if answer.is_ready() {
                    return Poll::Ready(End::Overtaken);
                }
            }
            if let Poll::Ready(end) = duplex.poll(cx) {
                return Poll::Ready(end);
            }
            if let Some(moment) = &mut late
                && duplex.may_be_late()
                && moment.is_now(cx)
            {
                late = None;
                if (with.may_hedge)() {
                    return Poll::Ready(End::Late);
                }
            }
            Poll::Pending
        })
        .await;
        record.bytes_in = up.bytes;
        record.stamps = tried.state.stamps;
        if tried.state.down.is_some() {
            route.learn_http();
        }
        if let Some(first_byte) = record.stamps.first_byte() {
            let metrics = &tried.lease.share().upstream().metrics;
            metrics.answered(self.http.worker.index, first_byte, record.recorded());
            if rival.is_some() {
                metrics.healing.hedges_won.add(1);
            }
        }
        end
    }

    /// What comes of an attempt that has ended so.
    pub(super) fn conclude(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        up: &mut Half,
        tried: Tried,
        end: End,
    ) -> Attempt {
        record.attempt_ended(&tried, &end, scratch);
        let (reason, detail) = match end {
            End::Late => return Attempt::Late(Box::new(tried)),
            End::Switch => return Attempt::Switch(Box::new(tried)),
            End::Overtaken => {
                tried.lease.cancel();
                return Attempt::Overtaken;
            }
            End::Complete => return Attempt::Over(self.completed(scratch, record, up, tried)),
            End::Retry => {
                let detail = format!("status {}", scratch.response.status);
                return Attempt::Again {
                    failure: Failure::new(Reason::UpstreamUnavailable, detail),
                    allowed: true,
                };
            }
            End::Failed(reason, detail) => (reason, detail),
        };
        let Tried {
            link, lease, state, ..
        } = tried;
        let harmless = scratch.request.method.is_idempotent() || !up.started;
        let replayable = up.can_replay() && !state.stamps.is_answered();
        let reused = link.reused;
        drop(link);
        let failure = match again(Failure { reason, detail }, replayable, harmless, reused) {
            Ok(attempt) => {
                // What was idle may be closed: that says nothing of the endpoint.
                match attempt {
                    Attempt::Stale => lease.excuse(reason),
                    _ => lease.fail(reason),
                }
                return attempt;
            }
            Err(failure) => failure,
        };
        lease.fail(reason);
        match failed(scratch, record, &state, reason, &failure.detail) {
            Some(next) => {
                up.release(&mut self.conn);
                Attempt::Over(self.cut(scratch, record, reason, next))
            }
            None => Attempt::Failed(reason, failure.detail),
        }
    }

    /// The `Set-Cookie` that keeps the client at the endpoint, unless it has that cookie.
    fn set_cookie(
        &self,
        forwarded: &Forwarded,
        lease: &Lease,
        stuck: Option<u64>,
    ) -> Option<String> {
        let sticky = lease.share().upstream().model.sticky.as_ref()?;
        let endpoint = lease.endpoint();
        let secure = forwarded.secure || self.client.tls.is_some();
        (stuck != Some(endpoint.token())).then(|| affinity::set_cookie(sticky, endpoint, secure))
    }

    /// The answer has begun and cannot be completed. A call of gRPC has its status behind its
    /// messages, so it can still be told why.
    fn cut(&mut self, scratch: &Scratch, record: &Record, reason: Reason, next: Next) -> Next {
        if !grpc::is_call(&scratch.request) {
            return next;
        }
        if let (Some(stream), Some(forwarded)) =
            (self.conn.io_mut().stream_mut(), &record.forwarded)
            && stream.end_early(answer::call_trailers(forwarded, reason))
        {
            return Next::Linger;
        }
        next
    }

    /// The answer went to the client whole.
    fn completed(
        &mut self,
        scratch: &Scratch,
        record: &mut Record,
        up: &mut Half,
        tried: Tried,
    ) -> Next {
        let Tried {
            mut link,
            lease: _lease,
            state,
            ..
        } = tried;
        up.release(&mut self.conn);
        let Some((down, delivery)) = &state.down else {
            return Next::Close;
        };
        record.status = scratch.response.status;
        record.bytes_out = down.bytes;
        let whole = state.is_sent() && scratch.response.keep_alive;
        // Of what went by unseen it is not known whether more came behind it.
        let quiet = |link: &mut Link| !down.spliced || link.conn.is_surely_quiet();
        if whole && link.awaited.is_none() && link.conn.unread().is_empty() && quiet(&mut link) {
            link.put_back();
        }
        match (delivery.keep_alive, state.is_sent()) {
            (true, true) => Next::Again,
            (false, true) => Next::Close,
            // The rest of the request is on its way, and nobody wants it.
            (_, false) => Next::Linger,
        }
    }

    /// The endpoint has agreed to another protocol: from here on bytes are passed on as they are.
    pub(super) async fn tunnel(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        tried: Tried,
    ) -> Next {
        let Tried {
            mut link, lease, ..
        } = tried;
        let worker = &self.http.worker;
        record.status = scratch.response.status;
        let head = &scratch.down.lead;
        let wait = worker.timeouts.send;
        let sent = self.conn.write_all(head, &self.deadline, wait).await;
        if let Err(error) = sent {
            record.because(Reason::ClientGone, error.to_string());
            lease.fail(Reason::ClientGone);
            return Next::Cut;
        }
        let began = Instant::now();
        let ended = tunnel::run(worker, &mut self.conn, &mut link.conn, &self.deadline).await;
        worker.metrics.tcp.closed(ended.reason, began.elapsed());
        record.tunnel = Some(Tunnelled {
            began,
            bytes_in: ended.bytes_in,
            bytes_out: ended.bytes_out,
        });
        match ended.reason {
            None => Next::Close,
            Some(reason) => {
                lease.fail(reason);
                record.because(reason, ended.detail);
                Next::Cut
            }
        }
    }
}

/// What an attempt is made with.
pub(super) struct With<'a> {
    pub(super) way: &'a Way<'a>,
    /// The endpoint that the client's cookie names.
    pub(super) stuck: Option<u64>,
    pub(super) may_retry: &'a dyn Fn() -> bool,
    pub(super) may_hedge: &'a dyn Fn() -> bool,
    /// When to ask another endpoint as well.
    pub(super) late: Option<Late>,
    /// An attempt that has not been answered yet: whichever is first is taken.
    pub(super) rival: Option<&'a mut Tried>,
    /// Whether that may still be answered.
    pub(super) alive: &'a Cell<bool>,
}

/// The moment from which on an answer is late.
pub(super) struct Late(Pin<Box<Sleep>>);

impl Late {
    /// So long from now.
    pub(super) fn after(wait: Duration) -> Self {
        Self(Box::pin(sleep(wait)))
    }

    fn is_now(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().poll(cx).is_ready()
    }
}

/// An attempt that was begun.
pub(super) struct Tried {
    pub(super) link: Link,
    pub(super) lease: Lease,
    pub(super) state: State,
    /// There will be no answer.
    pub(super) dead: bool,
    /// Its place among the attempts that are recorded.
    pub(super) span: usize,
}

impl Tried {
    /// Ready when there is an answer to take.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.dead {
            self.dead = !ready!(self.link.poll_answer(cx));
        }
        if self.dead {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Another was answered first.
    pub(super) fn give_up(self) {
        if self.dead {
            return self.lease.fail(Reason::UpstreamClosed);
        }
        self.lease.overtaken(self.state.stamps.waited());
    }
}

/// What came of an attempt.
pub(super) enum Attempt {
    /// The client has its answer, or cannot be given one.
    Over(Next),
    /// The connection that was there already was dead: a fresh one may do.
    Stale,
    /// The protocol changes: what follows is a tunnel.
    Switch(Box<Tried>),
    /// The answer is late: another endpoint may be asked as well.
    Late(Box<Tried>),
    /// The rival has answered first.
    Overtaken,
    /// The endpoint has not looked at it: another may.
    Refused(Failure),
    /// It came to nothing, and to try another does no harm; `allowed` if that is paid for.
    Again { failure: Failure, allowed: bool },
    /// It is the client's turn to be told.
    Failed(Reason, String),
}

/// What else can be done after a failure before any answer, or the failure again. `replayable` says that all
/// that was sent is still there, `harmless` that sending it twice does no harm.
fn again(
    failure: Failure,
    replayable: bool,
    harmless: bool,
    reused: bool,
) -> Result<Attempt, Failure> {
    match failure.reason {
        _ if !replayable => Err(failure),
        Reason::UpstreamRefusedStream => Ok(Attempt::Refused(failure)),
        Reason::UpstreamClosed if harmless && reused => Ok(Attempt::Stale),
        Reason::UpstreamClosed | Reason::UpstreamReset if harmless => Ok(Attempt::Again {
            failure,
            allowed: false,
        }),
        _ => Err(failure),
    }
}

/// The attempt failed for good: how the connection ends, or `None` if the client can be told.
fn failed(
    scratch: &Scratch,
    record: &mut Record,
    state: &State,
    reason: Reason,
    detail: &str,
) -> Option<Next> {
    let begun = state.has_begun() || scratch.down.is_torn();
    if !begun && reason != Reason::ClientGone {
        return None;
    }
    record.because(reason, detail.to_owned());
    let (true, Some((down, delivery))) = (begun, &state.down) else {
        return Some(Next::Cut);
    };
    record.status = scratch.response.status;
    record.bytes_out = down.bytes;
    Some(match delivery.framing {
        Framing::UntilClose => Next::Reset,
        _ => Next::Cut,
    })
}
