//! A request on its way to an endpoint: picked, connected, sent, and tried elsewhere if that is safe.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use umay_core::grpc;
use umay_core::message::{Framing, Method, Request, Version};
use umay_core::reason::Reason;

use super::attempt::{Attempt, Late, Tried, With};
use super::body::{self, Half};
use super::duplex::reset_by_client;
use super::exchange::{Exchange, Next};
use super::record::Record;
use super::scratch::Scratch;
use super::{affinity, head, head2, websocket};
use crate::conn::{Millis, NEVER, Reset};
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
        scratch.up.clear();
        scratch.down.clear();
        let request = &scratch.request;
        let limit = route.model.max_body.or(self.http.worker.limits.body);
        let from = body::on(&self.conn, request.body);
        let mut up = Half::new(from, request.body, limit, true);
        let mut attempts = Attempts::new(false);
        attempts.original = self.client.original;
        self.stick(request, record, share, &mut attempts);
        let way = self.way(request, route, share);
        // An attempt that is late, while another is made.
        let mut rival: Option<Box<Tried>> = None;
        loop {
            let opened = self.open(&way, &mut attempts, rival.as_deref_mut());
            let opened = opened.await;
            record.attempts = attempts.count;
            let last = attempts.last.clone();
            record.endpoint = last.map(|local| (Rc::clone(share), local));
            let attempt = match opened {
                Err(Unopened::Reset(reset)) => {
                    let (reason, detail) = reset_by_client(reset);
                    record.because(reason, detail);
                    return Next::Cut;
                }
                Err(Unopened::Failed(failure)) => Err(failure),
                Err(Unopened::Overtaken) => Err(Failure::new(Reason::UpstreamTimeout, "")),
                Ok(opened) => Ok(opened),
            };
            let attempt = self.go(
                (scratch, record, &mut up),
                (&way, &attempts),
                attempt,
                rival.take(),
            );
            match attempt.await {
                Attempt::Over(next) => return next,
                // Once: a connection that is shared looks like that again to whoever comes second.
                Attempt::Stale(_) if !attempts.fresh => attempts.fresh = true,
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
                Attempt::Stale(Failure { reason, detail }) | Attempt::Failed(reason, detail) => {
                    up.release(&mut self.conn);
                    let read = up.is_read();
                    return self
                        .refuse(scratch, record, Some(route), reason, &detail, read)
                        .await;
                }
                // Only with a rival, which was followed.
                Attempt::Overtaken => return Next::Cut,
            }
        }
    }

    /// Makes an attempt on what was opened, and comes back to its rival if that has not been beaten.
    async fn go(
        &mut self,
        (scratch, record, up): (&mut Scratch, &mut Record, &mut Half),
        (way, attempts): (&Way<'_>, &Attempts),
        opened: Result<(Opened, Lease), Failure>,
        mut rival: Option<Box<Tried>>,
    ) -> Attempt {
        let share = way.share;
        let may_retry = || share.may_retry(way.cargo, attempts);
        let may_hedge = || share.may_hedge(way.cargo, attempts);
        let with = || With {
            route: way.route,
            until: way.until,
            stuck: attempts.stuck,
            may_retry: &may_retry,
            may_hedge: &may_hedge,
            late: None,
            rival: None,
        };
        let attempt = match opened {
            Ok(opened) => {
                let late = share.upstream().hedge_after();
                let with = With {
                    late: late.filter(|_| rival.is_none()).map(Late::after),
                    rival: rival.as_deref_mut(),
                    ..with()
                };
                self.attempt(scratch, record, up, opened, with).await
            }
            Err(Failure { reason, detail }) => Attempt::Failed(reason, detail),
        };
        let Some(rival) = rival else {
            return attempt;
        };
        if matches!(attempt, Attempt::Over(_)) {
            rival.lease.cancel();
            return attempt;
        }
        // Whatever came of the second, the first may still be answered.
        let local = Rc::clone(rival.lease.local());
        record.endpoint = Some((Rc::clone(share), local));
        self.follow(scratch, record, up, *rival, with()).await
    }

    /// What keeps the request at an endpoint.
    fn stick(
        &self,
        request: &Request,
        record: &Record,
        share: &Rc<Share>,
        attempts: &mut Attempts,
    ) {
        let upstream = share.upstream();
        if upstream.wants_key() {
            let by = &upstream.model.hash_by;
            attempts.key = affinity::key(by, request, &self.client, record.forwarded.as_ref());
        }
        if let Some(sticky) = &upstream.model.sticky {
            let cookie = affinity::cookie(&request.fields, &sticky.cookie);
            attempts.stuck = cookie.and_then(affinity::token);
        }
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
        let mut opened = pin!(way.share.open(way.cargo, attempts, &self.deadline));
        let conn = &mut self.conn;
        poll_fn(|cx| {
            if let Some(stream) = conn.io_mut().stream_mut()
                && let Poll::Ready(reset) = stream.poll_reset(cx)
            {
                return Poll::Ready(Err(Unopened::Reset(reset)));
            }
            if let Some(rival) = &mut rival
                && rival.link.poll_answer(cx).is_ready()
            {
                return Poll::Ready(Err(Unopened::Overtaken));
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

/// Where a request goes.
struct Way<'a> {
    route: &'a Route,
    share: &'a Rc<Share>,
    cargo: Cargo,
    /// When all has to be over.
    until: Millis,
}

/// Why there is no way to an endpoint.
enum Unopened {
    Failed(Failure),
    /// The rival has answered meanwhile.
    Overtaken,
    /// Nobody waits for it any more.
    Reset(Reset),
}
