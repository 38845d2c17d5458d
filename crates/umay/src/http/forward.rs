//! A request on its way to an endpoint: picked, connected, sent, and tried elsewhere if that is safe.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use umay_core::grpc;
use umay_core::message::{Framing, Method, Request, Version};
use umay_core::reason::Reason;

use super::attempt::{Attempt, Late, Tried, With};
use super::body::{self, Half};
use super::duplex::{reset_by_client, watch_client};
use super::exchange::{Exchange, Next};
use super::record::Record;
use super::scratch::Scratch;
use super::traced::Came;
use super::{affinity, head, head2, websocket};
use crate::conn::{Millis, NEVER};
use crate::site::Route;
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
        scratch.clear();
        let request = &scratch.request;
        let limit = route.model.max_body.or(self.http.worker.limits.body);
        let framing = request.body;
        let mut up = Half::new(body::on(&self.conn, framing), framing, limit, true);
        let mut attempts = self.attempts(request, record, share);
        let way = self.way(request, route, share);
        let mut rival: Option<Box<Tried>> = None; // An attempt that is late, while another is made.
        loop {
            let opened = self.open(&way, &mut attempts, rival.as_deref_mut());
            let opened = opened.await;
            (record.attempts, record.queued) = (attempts.count, attempts.queued);
            record.unreached(&self.http.worker, &mut attempts);
            let last = attempts.last.clone();
            record.endpoint = last.map(|local| (Rc::clone(share), local));
            let mut attempt = match opened {
                Err(Unopened::Gone(reason, detail)) => {
                    return gone(record, rival, reason, detail);
                }
                Err(Unopened::Failed(Failure { reason, detail })) => {
                    Attempt::Failed(reason, detail)
                }
                Err(Unopened::Overtaken) => Attempt::Overtaken,
                Ok(opened) => {
                    let mut place = Some(opened);
                    let rival = rival.as_deref_mut();
                    self.go(
                        (scratch, record, &mut up),
                        (&way, &attempts),
                        &mut place,
                        rival,
                    )
                    .await
                }
            };
            if let Some(rival) = rival.take() {
                attempt = self
                    .resume(
                        (scratch, record, &mut up),
                        (&way, &attempts),
                        attempt,
                        rival,
                    )
                    .await;
            }
            match attempt {
                Attempt::Over(next) => return next,
                Attempt::Stale => attempts.fresh = true,
                Attempt::Late(tried) => {
                    attempts.allowed = true;
                    let failure = Failure::new(Reason::UpstreamTimeout, "the answer is late");
                    attempts.refused(failure, true);
                    rival = Some(tried);
                }
                Attempt::Again { failure, allowed } => {
                    attempts.allowed = allowed;
                    attempts.refused(failure, true);
                }
                Attempt::Refused(failure) => {
                    let last = attempts.last.as_ref();
                    let others = last.is_some_and(|local| share.has_others(way.cargo, local));
                    attempts.refused(failure, others);
                }
                Attempt::Failed(reason, detail) => {
                    up.release(&mut self.conn);
                    let read = up.is_read();
                    return self
                        .refuse(scratch, record, Some(route), reason, &detail, read)
                        .await;
                }
                Attempt::Switch(tried) => {
                    up.release(&mut self.conn);
                    // Boxed, for few exchanges become one.
                    return Box::pin(self.tunnel(scratch, record, *tried)).await;
                }
                Attempt::Overtaken => return Next::Cut, // Only with a rival, which was followed.
            }
        }
    }

    /// Makes an attempt on what was opened.
    async fn go(
        &mut self,
        (scratch, record, up): (&mut Scratch, &mut Record, &mut Half),
        (way, attempts): (&Way<'_>, &Attempts),
        place: &mut Option<(Opened, Lease)>,
        rival: Option<&mut Tried>,
    ) -> Attempt {
        let Some(opened) = place.take() else {
            return Attempt::Failed(Reason::Internal, String::new());
        };
        let mut tried = match self.start(scratch, record, up, (way, attempts), opened) {
            Ok(tried) => tried,
            Err(attempt) => return attempt,
        };
        let (share, cargo) = (way.share, way.cargo);
        let late = share.upstream().hedge_after();
        // A rival that may still answer better costs nothing.
        let alive = Cell::new(rival.is_some());
        let with = With {
            way,
            stuck: attempts.stuck,
            may_retry: &|| alive.get() || share.may_try_another(cargo, attempts),
            may_hedge: &|| share.may_hedge(cargo, attempts),
            late: late.filter(|_| rival.is_none()).map(Late::after),
            rival,
            alive: &alive,
        };
        let end = self.follow(scratch, record, up, &mut tried, with).await;
        self.conclude(scratch, record, up, tried, end)
    }

    /// Comes back to a rival that was not beaten: whatever came of the second attempt, the first may still be
    /// answered. Boxed, for few come here.
    fn resume<'a>(
        &'a mut self,
        (scratch, record, up): (&'a mut Scratch, &'a mut Record, &'a mut Half),
        (way, attempts): (&'a Way<'_>, &'a Attempts),
        attempt: Attempt,
        mut rival: Box<Tried>,
    ) -> Pin<Box<dyn Future<Output = Attempt> + 'a>> {
        Box::pin(async move {
            if matches!(attempt, Attempt::Over(_) | Attempt::Switch(_)) {
                record.attempt_came(rival.span, Came::overtaken());
                rival.give_up();
                return attempt;
            }
            let (share, cargo) = (way.share, way.cargo);
            let local = Rc::clone(rival.lease.local());
            record.endpoint = Some((Rc::clone(share), local));
            let with = With {
                way,
                stuck: attempts.stuck,
                may_retry: &|| share.may_try_another(cargo, attempts),
                may_hedge: &|| false,
                late: None,
                rival: None,
                alive: &Cell::new(false),
            };
            let end = self.follow(scratch, record, up, &mut rival, with).await;
            self.conclude(scratch, record, up, *rival, end)
        })
    }

    /// No attempt yet, but what keeps the request at an endpoint.
    fn attempts(&self, request: &Request, record: &Record, share: &Rc<Share>) -> Attempts {
        let mut attempts = Attempts::new(false);
        attempts.original = self.client.original;
        attempts.trail = record.is_recorded().then(Box::default);
        let upstream = share.upstream();
        if upstream.wants_key() {
            let by = &upstream.model.hash_by;
            attempts.key = affinity::key(by, request, &self.client, record.forwarded.as_ref());
        }
        if let Some(sticky) = &upstream.model.sticky {
            let cookie = affinity::cookie(&request.fields, &sticky.cookie);
            attempts.stuck = cookie.and_then(affinity::token);
        }
        attempts
    }

    fn way<'a>(&self, request: &Request, route: &'a Route, share: &'a Rc<Share>) -> Way<'a> {
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
        Way {
            route,
            share,
            cargo,
            bodiless: request.body.is_empty(),
            until,
        }
    }

    /// Opens the way to an endpoint, unless the client gives up before, or its deadline has come.
    async fn open(
        &mut self,
        way: &Way<'_>,
        attempts: &mut Attempts,
        mut rival: Option<&mut Tried>,
    ) -> Result<(Opened, Lease), Unopened> {
        let clock = (way.until != NEVER).then(|| self.http.worker.timers.deadline());
        if let Some(clock) = &clock {
            clock.set_at(way.until);
        }
        let why = Cell::new(None);
        let opened = way.share.open(way.cargo, attempts, &self.deadline, &why);
        let mut opened = pin!(opened);
        let conn = &mut self.conn;
        let came = poll_fn(|cx| {
            if let Some(stream) = conn.io_mut().stream_mut()
                && let Poll::Ready(reset) = stream.poll_reset(cx)
            {
                let (reason, detail) = reset_by_client(reset);
                return Poll::Ready(Err(Unopened::Gone(reason, detail)));
            }
            if let Some(rival) = &mut rival
                && rival.poll_answer(cx).is_ready()
            {
                return Poll::Ready(Err(Unopened::Overtaken));
            }
            if let Poll::Ready(opened) = opened.as_mut().poll(cx) {
                return Poll::Ready(opened.map_err(Unopened::Failed));
            }
            // An end in the middle of a body is told by who reads it: the client may still listen.
            if way.bodiless
                && conn.io().stream().is_none()
                && let Err(detail) = watch_client(conn, cx)
            {
                return Poll::Ready(Err(Unopened::Gone(Reason::ClientGone, detail)));
            }
            let late = |()| Err(Unopened::Failed(Failure::new(Reason::DeadlineExceeded, "")));
            clock
                .as_ref()
                .map_or(Poll::Pending, |clock| clock.poll(cx).map(late))
        })
        .await;
        why.set(match &came {
            Err(Unopened::Gone(reason, _) | Unopened::Failed(Failure { reason, .. })) => {
                Some(*reason)
            }
            Err(Unopened::Overtaken) | Ok(_) => None,
        });
        came
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
    pub(super) fn begin(
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
            trace: record.outgoing(),
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
}

/// The client has left; an attempt that was late ends with that, too.
fn gone(record: &mut Record, rival: Option<Box<Tried>>, reason: Reason, detail: String) -> Next {
    if let Some(rival) = rival {
        record.attempt_came(rival.span, Came::failed(reason));
        rival.lease.fail(reason);
    }
    record.because(reason, detail);
    Next::Cut
}

/// Where a request goes.
pub(super) struct Way<'a> {
    pub(super) route: &'a Route,
    pub(super) share: &'a Rc<Share>,
    pub(super) cargo: Cargo,
    /// The request has no body.
    bodiless: bool,
    /// When all has to be over.
    pub(super) until: Millis,
}

/// Why there is no way to an endpoint.
enum Unopened {
    Failed(Failure),
    /// The rival has answered meanwhile.
    Overtaken,
    /// Nobody waits for it any more.
    Gone(Reason, String),
}
