//! A request on its way to an endpoint: picked, connected, sent, and tried elsewhere if that is safe.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use umay_core::grpc;
use umay_core::headers::Forwarded;
use umay_core::message::{Framing, Method, Request, Version};
use umay_core::reason::Reason;

use super::body::{self, Half};
use super::duplex::{Duplex, End, State, reset_by_client};
use super::exchange::{Exchange, Next};
use super::record::Record;
use super::scratch::Scratch;
use super::{affinity, answer, head, head2, websocket};
use crate::conn::{Millis, NEVER, Reset};
use crate::site::Route;
use crate::tunnel;
use crate::upstream::{Attempts, Cargo, Failure, Lease, Link, Opened, Share};

impl Exchange {
    /// Sends the request to an endpoint of `share` and the answer to the client.
    pub(super) async fn forward(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        route: &Route,
        share: &Rc<Share>,
    ) -> Next {
        scratch.up.clear();
        scratch.down.clear();
        let request = &scratch.request;
        let limit = route.model.max_body.or(self.http.worker.limits.body);
        let from = body::on(&self.conn, request.body);
        let mut up = Half::new(from, request.body, limit, true);
        let mut attempts = Attempts::new(false);
        let upstream = share.upstream();
        if upstream.wants_key() {
            let by = &upstream.model.hash_by;
            attempts.key = affinity::key(by, request, &self.client, record.forwarded.as_ref());
        }
        if let Some(sticky) = &upstream.model.sticky {
            let cookie = affinity::cookie(&request.fields, &sticky.cookie);
            attempts.stuck = cookie.and_then(affinity::token);
        }
        let call = grpc::is_call(request);
        let cargo = Cargo::Request {
            http2: call || self.prior_knowledge(request),
            upgrade: request.upgrade || request.method == Method::Connect,
            replayable: request.method.is_idempotent(),
        };
        let worker = &self.http.worker;
        let asked = grpc::timeout(request).filter(|_| call);
        let waits = asked.into_iter().chain(worker.timeouts.total);
        let until = waits.min().map_or(NEVER, |wait| worker.timers.after(wait));
        loop {
            let opened = self.open(share, cargo, &mut attempts, until).await;
            record.attempts = attempts.count;
            let last = attempts.last.clone();
            record.endpoint = last.map(|local| (Rc::clone(share), local));
            let attempt = match opened {
                Ok((opened, lease)) => {
                    let may_retry = || share.may_retry(cargo, &attempts);
                    let stuck = attempts.stuck;
                    let on = On {
                        opened,
                        lease,
                        stuck,
                        may_retry: &may_retry,
                    };
                    self.attempt(scratch, record, route, &mut up, on, until)
                        .await
                }
                Err(Unopened::Failed(Failure { reason, detail })) => {
                    Attempt::Failed(reason, detail)
                }
                Err(Unopened::Reset(reset)) => {
                    let (reason, detail) = reset_by_client(reset);
                    record.because(reason, detail);
                    Attempt::Over(Next::Cut)
                }
            };
            match attempt {
                Attempt::Over(next) => return next,
                // Once: a connection that is shared looks like that again to whoever comes second.
                Attempt::Stale(_) if !attempts.fresh => attempts.fresh = true,
                Attempt::Again { failure, allowed } => {
                    attempts.allowed = allowed;
                    attempts.refused(failure, true);
                }
                Attempt::Refused(failure) => {
                    let last = attempts.last.as_ref();
                    let others = last.is_some_and(|local| share.has_others(cargo, local));
                    attempts.refused(failure, others);
                }
                Attempt::Stale(Failure { reason, detail }) | Attempt::Failed(reason, detail) => {
                    up.release(&mut self.conn);
                    let read = up.is_read();
                    return self
                        .refuse(scratch, record, Some(route), reason, &detail, read)
                        .await;
                }
            }
        }
    }

    /// Opens the way to an endpoint, unless the client gives up before, or its deadline has come.
    async fn open(
        &mut self,
        share: &Rc<Share>,
        cargo: Cargo,
        attempts: &mut Attempts,
        until: Millis,
    ) -> Result<(Opened, Lease), Unopened> {
        let clock = (until != NEVER).then(|| self.http.worker.timers.deadline());
        if let Some(clock) = &clock {
            clock.set_at(until);
        }
        let mut opened = pin!(share.open(cargo, attempts, &self.deadline));
        let conn = &mut self.conn;
        poll_fn(|cx| {
            if let Some(stream) = conn.io_mut().stream_mut()
                && let Poll::Ready(reset) = stream.poll_reset(cx)
            {
                return Poll::Ready(Err(Unopened::Reset(reset)));
            }
            if let Poll::Ready(opened) = opened.as_mut().poll(cx) {
                return Poll::Ready(opened.map_err(Unopened::Failed));
            }
            let late = |()| Err(Unopened::Failed(Failure::new(Reason::DeadlineExceeded, "")));
            clock
                .as_ref()
                .map_or(Poll::Pending, |clock| clock.poll(cx).map(late))
        })
        .await
    }

    /// True if the client spoke HTTP/2 without being offered it.
    fn prior_knowledge(&self, request: &Request) -> bool {
        let offered = self
            .client
            .tls
            .as_ref()
            .is_some_and(|tls| tls.alpn.is_some());
        request.version == Version::Http2 && !offered
    }

    /// Sends the head to what was opened, or gets it ready for that.
    fn begin(
        &self,
        scratch: &mut Scratch,
        record: &Record,
        route: &Route,
        up: &mut Half,
        opened: Opened,
    ) -> Result<Link, Failure> {
        let Some(forwarded) = &record.forwarded else {
            return Err(Failure::new(Reason::Internal, ""));
        };
        let cx = head::Context {
            client: &self.client,
            request: &scratch.request,
            forwarded,
            route: Some(route),
            sticky: None,
        };
        let (reason, detail) = match opened {
            Opened::Link(link) => {
                scratch.up.lead.clear();
                if head::request(&cx, &mut scratch.up.lead).is_ok() {
                    up.begin(scratch.request.body, &mut scratch.up, &self.conn);
                    return Ok(link);
                }
                let detail = "Connection names too many fields";
                (Reason::RequestMalformed, detail)
            }
            Opened::Ticket(_)
                if scratch.request.upgrade && !websocket::is_asked_for(&scratch.request) =>
            {
                let detail = "HTTP/2 to the endpoint carries WebSocket and no other protocol";
                (Reason::UpgradeRefused, detail)
            }
            Opened::Ticket(ticket) if scratch.request.upgrade && !ticket.takes_websockets() => {
                (Reason::UpstreamNoExtendedConnect, "")
            }
            Opened::Ticket(ticket) => match head2::request_out(&cx, ticket.secure) {
                Ok(head) => {
                    scratch.up.lead.clear();
                    up.begin(Framing::UntilClose, &mut scratch.up, &self.conn);
                    let tunnel =
                        scratch.request.upgrade || scratch.request.method == Method::Connect;
                    let link = ticket.send(head, up.is_read() && !tunnel && up.bytes == 0)?;
                    up.started = true;
                    return Ok(link);
                }
                Err(refused) => refused,
            },
        };
        Err(Failure::new(reason, detail))
    }

    /// One attempt on one connection.
    async fn attempt(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        route: &Route,
        up: &mut Half,
        on: On<'_>,
        until: Millis,
    ) -> Attempt {
        let On {
            opened,
            mut lease,
            stuck,
            may_retry,
        } = on;
        let mut link = match self.begin(scratch, record, route, up, opened) {
            Ok(link) => link,
            Err(failure) if failure.reason == Reason::UpstreamRefusedStream => {
                lease.fail(failure.reason);
                return Attempt::Refused(failure);
            }
            Err(failure) => return Attempt::Failed(failure.reason, failure.detail),
        };
        (record.reused, record.connect) = (link.reused, link.connect);
        let Some(forwarded) = &record.forwarded else {
            return Attempt::Over(Next::Close);
        };
        let sticky = self.set_cookie(forwarded, &lease, stuck);
        let mut duplex = Duplex {
            worker: &self.http.worker,
            deadline: &self.deadline,
            cx: head::Context {
                client: &self.client,
                request: &scratch.request,
                forwarded,
                route: Some(route),
                sticky: sticky.as_deref(),
            },
            client: &mut self.conn,
            link: &mut link.conn,
            awaited: link.awaited.as_mut(),
            response: &mut scratch.response,
            up,
            up_out: &mut scratch.up,
            down_out: &mut scratch.down,
            state: State::new(until),
            lease: &mut lease,
            may_retry,
        };
        let end = poll_fn(|cx| duplex.poll(cx)).await;
        let state = duplex.state;
        record.bytes_in = up.bytes;
        record.first_byte = state.first_byte;
        if state.down.is_some() {
            route.learn_http();
        }
        if let Some(first_byte) = state.first_byte {
            let metrics = &lease.share().upstream().metrics;
            metrics.answered(self.http.worker.index, first_byte);
        }
        let tried = Tried { link, lease, state };
        self.conclude(scratch, record, up, tried, end).await
    }

    /// What comes of an attempt that has ended so.
    async fn conclude(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        up: &mut Half,
        tried: Tried,
        end: End,
    ) -> Attempt {
        let Tried { link, lease, state } = tried;
        match end {
            End::Complete => Attempt::Over(self.completed(scratch, record, up, link, &state)),
            End::Switch => {
                up.release(&mut self.conn);
                // Boxed, for few exchanges become one.
                Attempt::Over(Box::pin(self.tunnel(scratch, record, link)).await)
            }
            End::Retry => {
                let detail = format!("status {}", scratch.response.status);
                Attempt::Again {
                    failure: Failure::new(Reason::UpstreamUnavailable, detail),
                    allowed: true,
                }
            }
            End::Failed(reason, detail) => {
                let harmless = scratch.request.method.is_idempotent() || !up.started;
                let replayable = up.can_replay() && !state.answered;
                let reused = link.reused;
                drop(link);
                let failure = Failure { reason, detail };
                let failure = match again(failure, replayable, harmless, reused) {
                    Ok(attempt) => {
                        // What was idle may be closed: that says nothing of the endpoint.
                        if !matches!(attempt, Attempt::Stale(_)) {
                            lease.fail(reason);
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
        mut link: Link,
        state: &State,
    ) -> Next {
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
    async fn tunnel(&mut self, scratch: &mut Scratch, record: &mut Record, mut link: Link) -> Next {
        let worker = &self.http.worker;
        record.status = scratch.response.status;
        let head = &scratch.down.lead;
        let wait = worker.timeouts.send;
        let sent = self.conn.write_all(head, &self.deadline, wait).await;
        if let Err(error) = sent {
            record.because(Reason::ClientGone, error.to_string());
            return Next::Cut;
        }
        let ended = tunnel::run(worker, &mut self.conn, &mut link.conn, &self.deadline).await;
        record.bytes_in += ended.bytes_in;
        record.bytes_out += ended.bytes_out;
        match ended.reason {
            None => Next::Close,
            Some(reason) => {
                record.because(reason, ended.detail);
                Next::Cut
            }
        }
    }
}

/// Why there is no way to an endpoint.
enum Unopened {
    Failed(Failure),
    /// Nobody waits for it any more.
    Reset(Reset),
}

/// What an attempt is made on.
struct On<'a> {
    opened: Opened,
    lease: Lease,
    /// The endpoint that the client's cookie names.
    stuck: Option<u64>,
    may_retry: &'a dyn Fn() -> bool,
}

/// What is left when an attempt has ended.
struct Tried {
    link: Link,
    lease: Lease,
    state: State,
}

/// What came of an attempt.
enum Attempt {
    /// The client has its answer, or cannot be given one.
    Over(Next),
    /// The connection that was there already was dead: a fresh one may do.
    Stale(Failure),
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
        Reason::UpstreamClosed if harmless && reused => Ok(Attempt::Stale(failure)),
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
