//! One attempt at an endpoint: the request goes up while the answer comes down, in one task.
//!
//! Both directions are polled in turn, so an endpoint may answer before it has read the whole
//! request, and a client that leaves is noticed while the endpoint is still thinking.

use std::io::ErrorKind;
use std::task::{Context, Poll, ready};

use umay_core::grpc;
use umay_core::message::{FieldId, Framing, Method, Response};
use umay_core::reason::Reason;
use umay_core::rest;
use umay_h1::{self as h1, Malformed, Scan};

use super::body::{self, Half, Outgoing, Pace, Stop, Waiting};
use super::head::{self, Delivery};
use super::stamps::Stamps;
use super::{head_limits, head2, websocket};
use crate::conn::{Answered, Conn, Deadline, Millis, NEVER, Reset, Watch, unix_now};
use crate::drain::Phase;
use crate::upstream::{Awaited, Lease};
use crate::worker::Worker;

/// Interim answers (1xx) to one request, at most.
const MOST_INTERIM: u32 = 16;

/// An attempt under way.
pub(super) struct Duplex<'a> {
    pub(super) worker: &'a Worker,
    pub(super) deadline: &'a Deadline,
    pub(super) cx: head::Context<'a>,
    pub(super) client: &'a mut Conn,
    pub(super) link: &'a mut Conn,
    /// The head of the answer, if the link is a stream of HTTP/2.
    pub(super) awaited: Option<&'a mut Awaited>,
    pub(super) response: &'a mut Response,
    pub(super) up: &'a mut Half,
    pub(super) up_out: &'a mut Outgoing,
    pub(super) down_out: &'a mut Outgoing,
    pub(super) state: &'a mut State,
    /// What the endpoint is used by: it is told how the endpoint does.
    pub(super) lease: &'a mut Lease,
    /// Whether the request may be tried elsewhere, which is then paid for.
    pub(super) may_retry: &'a dyn Fn() -> bool,
}

/// How far an attempt has come.
pub(super) struct State {
    upload: Upload,
    /// `None` until the head of the final answer is there.
    pub(super) down: Option<(Half, Delivery)>,
    scan: Scan,
    interim: u32,
    pub(super) stamps: Stamps,
    /// `100 Continue` was passed on, or the body came without it.
    continued: bool,
    /// Wait for the head of the answer.
    until: Millis,
    /// The client's own deadline.
    limit: Millis,
    /// What is sent now begins a tunnel.
    switching: bool,
    /// The final head was sent on the client's stream.
    headed: bool,
    /// Writes interim answers, and knows whether any byte went to the client.
    early: Half,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    Flowing,
    Sent,
    /// The endpoint takes no more; it may have answered all the same.
    Broken,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End {
    /// The answer is complete.
    Complete,
    /// The protocol changes: what follows is a tunnel.
    Switch,
    /// There is no answer yet, and it is late.
    Late,
    /// Another attempt was answered first.
    Overtaken,
    /// The answer is one that another endpoint may do better than.
    Retry,
    /// The attempt failed. If no byte of an answer has gone to the client, it can be told.
    Failed(Reason, String),
}

impl State {
    /// `limit` is the client's own deadline for the whole.
    pub(super) fn new(limit: Millis) -> Self {
        Self {
            limit,
            upload: Upload::Flowing,
            down: None,
            scan: Scan::default(),
            interim: 0,
            stamps: Stamps::default(),
            continued: false,
            until: NEVER,
            switching: false,
            headed: false,
            early: Half::new(Framing::None, Framing::None, None, false),
        }
    }

    /// True if a byte of the final answer was written to the client.
    pub(super) fn has_begun(&self) -> bool {
        self.headed || self.down.as_ref().is_some_and(|(down, _)| down.started)
    }

    /// True if the whole request went to the endpoint.
    pub(super) fn is_sent(&self) -> bool {
        self.upload == Upload::Sent
    }
}

impl Duplex<'_> {
    /// Moves whatever can be moved; ready when the attempt is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(stream) = self.client.io_mut().stream_mut()
            && let Poll::Ready(reset) = stream.poll_reset(cx)
        {
            let (reason, why) = reset_by_client(reset);
            return Poll::Ready(failed(reason, why));
        }
        if let Err(end) = self.poll_up(cx) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_down(cx) {
            return Poll::Ready(end);
        }
        if self.worker.drain.phase() == Phase::Cutting {
            return Poll::Ready(failed(Reason::Draining, "the drain's deadline has come"));
        }
        let up = match self.state.upload {
            Upload::Flowing => self.up.until,
            Upload::Sent | Upload::Broken => NEVER,
        };
        let asks = self.state.upload == Upload::Flowing && self.up.waiting == Waiting::Read;
        let down = match &self.state.down {
            // It may have to see more of the request before it can go on.
            Some((down, _)) if asks && down.waiting == Waiting::Read => NEVER,
            Some((down, _)) => down.until,
            None => self.state.until.min(self.state.early.until),
        };
        let limit = self.state.limit;
        self.deadline.set_at(up.min(down).min(limit));
        ready!(self.deadline.poll(cx));
        if limit <= up.min(down) {
            return Poll::Ready(failed(Reason::DeadlineExceeded, ""));
        }
        Poll::Ready(self.timed_out(up < down))
    }

    fn timed_out(&self, up: bool) -> End {
        let timeouts = &self.worker.timeouts;
        match (up, &self.state.down) {
            (true, _) if self.up.waiting == Waiting::Read => failed(
                Reason::RequestBodyTimeout,
                format!("no byte of the body for {:?}", timeouts.body),
            ),
            (true, _) => failed(
                Reason::UpstreamStalled,
                format!(
                    "the endpoint took no byte of the request for {:?}",
                    timeouts.send
                ),
            ),
            (false, None) => failed(
                Reason::UpstreamTimeout,
                format!("no answer for {:?}", timeouts.first_byte),
            ),
            (false, Some((down, _))) if down.waiting == Waiting::Read => failed(
                Reason::UpstreamStalled,
                format!("no byte of the answer for {:?}", timeouts.body),
            ),
            (false, Some(_)) => failed(
                Reason::ClientStalled,
                format!("the client took no byte for {:?}", timeouts.send),
            ),
        }
    }

    /// The request's direction; then the client is watched, for it may leave.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let pace = Pace {
            timers: self.deadline.timers(),
            timeouts: &self.worker.timeouts,
            pipes: &self.worker.pipes,
        };
        if self.state.upload == Upload::Flowing {
            let step = if self.awaited.is_some() && self.asks_for_tunnel() {
                // The head has gone. To end what it began is up to the tunnel.
                Poll::Ready(Ok(()))
            } else {
                let to = self.link.io_mut();
                self.up.poll(cx, self.up_out, self.client, to, &pace)
            };
            self.state.upload = match step {
                Poll::Pending => {
                    self.state.stamps.gives();
                    return Ok(());
                }
                Poll::Ready(Ok(())) => Upload::Sent,
                Poll::Ready(Err(Stop::Refused(_))) => Upload::Broken,
                Poll::Ready(Err(stop)) => return Err(client_failed(stop)),
            };
            self.state.stamps.sends();
            self.state.until = pace.timers.after(pace.timeouts.first_byte);
        }
        if self.client.io().stream().is_some() {
            return Ok(());
        }
        watch_client(self.client, cx).map_err(|detail| failed(Reason::ClientGone, detail))
    }

    /// The answer's direction.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let pace = Pace {
            timers: self.deadline.timers(),
            timeouts: &self.worker.timeouts,
            pipes: &self.worker.pipes,
        };
        if self.state.down.is_none() {
            match self.poll_head(cx, &pace) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending => {
                    self.state.stamps.expects();
                    return Poll::Pending;
                }
            }
        }
        let Some((down, _)) = &mut self.state.down else {
            return Poll::Ready(End::Switch);
        };
        let to = self.client.io_mut();
        Poll::Ready(match down.poll(cx, self.down_out, self.link, to, &pace) {
            Poll::Pending => {
                self.state.stamps.passes();
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) => End::Complete,
            Poll::Ready(Err(Stop::Refused(error))) => failed(Reason::ClientGone, error.to_string()),
            Poll::Ready(Err(Stop::Malformed(malformed))) => malformed_answer(malformed),
            Poll::Ready(Err(Stop::Cut(error))) => failed(Reason::UpstreamCut, error.to_string()),
            Poll::Ready(Err(Stop::TooLarge)) => failed(Reason::Internal, "an answer has no limit"),
        })
    }

    /// Reads heads of answers until the final one, or the one that changes the protocol, and puts
    /// it up for writing.
    fn poll_head(&mut self, cx: &mut Context<'_>, pace: &Pace<'_>) -> Poll<Result<(), End>> {
        loop {
            let to = self.client.io_mut();
            if let Err(error) = ready!(self.state.early.poll_head(cx, self.down_out, to, pace)) {
                return Poll::Ready(Err(failed(Reason::ClientGone, error.to_string())));
            }
            self.state.early.until = NEVER;
            if let Err(end) = ready!(self.poll_next_head(cx)) {
                return Poll::Ready(Err(end));
            }
            if let Some(outcome) = self.take_head() {
                return Poll::Ready(outcome);
            }
        }
    }

    /// Reads the next head of an answer.
    fn poll_next_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.awaited.is_some() {
            return self.poll_stream_head(cx);
        }
        let limits = head_limits(&self.worker.limits);
        loop {
            // Also what had come before this attempt was followed: the answer to one that was late.
            if !self.link.unread().is_empty() {
                self.state.stamps.hears();
            }
            let parsed = h1::parse_response(
                self.link.unread(),
                &mut self.state.scan,
                &limits,
                self.cx.request.method,
                self.response,
            );
            match parsed {
                Ok(Some(length)) => {
                    self.link.consume(length);
                    self.state.scan = Scan::default();
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(malformed_answer(malformed))),
            }
            if self.link.is_full() {
                self.link.compact();
            }
            match ready!(self.link.poll_fill(cx)) {
                Ok(0) if self.state.stamps.is_answered() => {
                    let detail = "the endpoint left in the middle of its head";
                    return Poll::Ready(Err(failed(Reason::UpstreamClosed, detail)));
                }
                Ok(0) => return Poll::Ready(Err(failed(Reason::UpstreamClosed, ""))),
                Ok(_) => {}
                Err(error) => {
                    let reason = match error.kind() {
                        ErrorKind::InvalidData => Reason::UpstreamTlsFailed,
                        _ => Reason::UpstreamClosed,
                    };
                    return Poll::Ready(Err(failed(reason, error.to_string())));
                }
            }
        }
    }

    /// The same from a stream of HTTP/2.
    fn poll_stream_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let (Some(awaited), Some(stream)) = (&mut self.awaited, self.link.io_mut().stream_mut())
        else {
            return Poll::Ready(Err(failed(Reason::Internal, "")));
        };
        let (head, ended) = match ready!(awaited.poll(cx, stream)) {
            Ok(Answered::Interim(head)) => (head, false),
            Ok(Answered::Final(head, ended)) => (head, ended),
            Err(error) => {
                let id = awaited.response.stream_id().as_u32();
                let (reason, detail) = stream_failed(&error, id, stream.watch());
                return Poll::Ready(Err(failed(reason, detail)));
            }
        };
        let (method, limits) = (self.cx.request.method, &self.worker.limits);
        let read = head2::response_in(&head, ended, method, limits, self.response);
        self.state.stamps.hears();
        Poll::Ready(read.map_err(|(reason, detail)| failed(reason, detail)))
    }

    /// True if a success of this request begins a tunnel.
    fn asks_for_tunnel(&self) -> bool {
        let request = self.cx.request;
        request.method == Method::Connect || (request.upgrade && self.awaited.is_some())
    }

    /// Decides on a head that was read; `None` if it was interim and another is to come.
    fn take_head(&mut self) -> Option<Result<(), End>> {
        let request = self.cx.request;
        let status = self.response.status;
        let success = (200..300).contains(&status);
        if status == 101 || (success && self.asks_for_tunnel()) {
            return Some(self.switch());
        }
        let interim = status < 200;
        if interim {
            self.state.interim += 1;
            self.state.continued |= status == 100;
            if self.state.interim > MOST_INTERIM {
                let detail = "more interim answers than anyone needs";
                return Some(Err(failed(Reason::UpstreamMalformed, detail)));
            }
            if request.version == umay_core::message::Version::Http10 {
                return None;
            }
        }
        if !interim {
            self.judge();
            if self.is_retried() {
                return Some(Err(End::Retry));
            }
            // There is no way back now, so the request's bytes need not be kept.
            if self.state.upload != Upload::Flowing {
                self.up.release(self.client);
            }
        }
        // A client that was not told to continue may send its body or not: nobody knows where the
        // next request would begin.
        let in_doubt = request.expect_continue && !self.state.continued && !self.up.is_read();
        let phase = self.cx.client.phase(self.worker.drain.phase());
        let may_keep = phase == Phase::Open && self.state.upload != Upload::Broken && !in_doubt;
        let delivery = Delivery::of(request, self.response.body, may_keep);
        if let Err(end) = self.deliver(delivery) {
            return Some(Err(end));
        }
        if interim {
            return None;
        }
        let from = body::on(self.link, self.response.body);
        let down = Half::new(from, delivery.framing, None, false);
        self.state.down = Some((down, delivery));
        Some(Ok(()))
    }

    /// True if another endpoint may be asked as well, should the answer be late.
    pub(super) fn may_be_late(&self) -> bool {
        let request = self.cx.request;
        !self.state.stamps.is_answered()
            && self.state.is_sent()
            && !request.upgrade
            && request.method.is_idempotent()
            && self.up.can_replay()
    }

    /// Lets the upstream know how the endpoint does.
    fn judge(&mut self) {
        let status = self.response.status;
        let fields = &self.response.fields;
        let is = |name: &[u8], value: &[u8]| fields.named(name) == Some(value);
        // A call of gRPC that failed at once says so in its head: 14 is UNAVAILABLE.
        let unavailable = matches!(status, 502..=504)
            || (is(b"grpc-status", b"14") && grpc::is_call(self.cx.request));
        self.lease
            .answered(unavailable, self.state.stamps.first_byte());
        if matches!(status, 429 | 503)
            && let Some(after) = fields.named(b"retry-after")
            && let Some(wait) = rest::retry_after(after, unix_now())
        {
            self.lease.rest(wait);
        }
    }

    /// True if the request is to be tried at another endpoint: this answer is as good as none, nothing of
    /// an answer has gone to the client, and to send it twice does no harm.
    fn is_retried(&self) -> bool {
        let retry = &self.lease.share().upstream().model.retry;
        retry.statuses.contains(&self.response.status)
            && self.cx.request.method.is_idempotent()
            && self.state.interim == 0
            && self.up.can_replay()
            && (self.may_retry)()
    }

    /// Puts the head of an answer up for writing, or sends it on the client's stream.
    fn deliver(&mut self, delivery: Delivery) -> Result<(), End> {
        let Some(stream) = self.client.io_mut().stream_mut() else {
            let out = &mut self.down_out.lead;
            return head::response(&self.cx, self.response, delivery, out).map_err(|_| {
                let detail = "Connection names too many fields";
                failed(Reason::UpstreamMalformed, detail)
            });
        };
        let head = head2::response_out(&self.cx, self.response, delivery)
            .map_err(|(reason, detail)| failed(reason, detail))?;
        let sent = if self.response.status < 200 {
            stream.inform(head)
        } else {
            let end = delivery.framing.is_empty() && !self.state.switching;
            self.state.headed = true;
            stream.respond(head, end)
        };
        sent.map_err(|error| failed(Reason::ClientGone, error.to_string()))
    }

    /// The endpoint agrees to another protocol: only to one that the client has asked for. Between
    /// versions the handshake is translated (RFC 8441 section 5).
    fn switch(&mut self) -> Result<(), End> {
        let request = self.cx.request;
        let asked = |protocol: &[u8]| {
            let mut all = request.fields.all(FieldId::Upgrade);
            request.upgrade && all.any(|asked| asked.eq_ignore_ascii_case(protocol))
        };
        let connect = request.method == Method::Connect;
        let on_stream = self.awaited.is_some();
        let agreed = match self.response.fields.first(FieldId::Upgrade) {
            _ if connect => self.response.status != 101,
            _ if on_stream => true,
            Some(protocol) => asked(protocol),
            None => false,
        };
        if !agreed {
            let detail = "101 to a protocol that was not asked for";
            return Err(failed(Reason::UpstreamMalformed, detail));
        }
        let to_stream = self.client.io().stream().is_some();
        if request.upgrade && (on_stream || to_stream) {
            self.translate(on_stream, to_stream)?;
        }
        self.state.switching = true;
        let delivery = Delivery {
            framing: Framing::None,
            keep_alive: true,
        };
        self.deliver(delivery)
    }

    /// Makes the answer to a handshake of WebSocket one in the client's version.
    fn translate(&mut self, on_stream: bool, to_stream: bool) -> Result<(), End> {
        const ACCEPT: &[u8] = b"sec-websocket-accept";
        let key = self.cx.request.fields.first(FieldId::SecWebSocketKey);
        let accept = key.map(websocket::accept).unwrap_or_default();
        let fields = &mut self.response.fields;
        if !on_stream && fields.named(ACCEPT) != Some(accept.as_bytes()) {
            let detail = "Sec-WebSocket-Accept is not that of the key";
            return Err(failed(Reason::UpstreamMalformed, detail));
        }
        fields.retain(|_, name, _| !name.eq_ignore_ascii_case(ACCEPT));
        if to_stream {
            self.response.status = 200;
        } else {
            self.response.status = 101;
            self.response.phrase = fields.store(b"Switching Protocols");
            fields.push(b"Upgrade", websocket::PROTOCOL);
            fields.push(b"Sec-WebSocket-Accept", accept.as_bytes());
        }
        Ok(())
    }
}

/// Reads ahead from a client, for that is how it is known that one has left, with what detail.
pub(super) fn watch_client(client: &mut Conn, cx: &mut Context<'_>) -> Result<(), String> {
    while !client.is_full() {
        match client.poll_fill(cx) {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => return Err(String::new()),
            // The rest of a body, or the next request.
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// Why there is no more of a client's stream.
pub(super) fn reset_by_client(reset: Reset) -> (Reason, String) {
    match reset {
        Reset::Peer(why) => (Reason::ClientGone, why),
        Reset::Broken(why) => (Reason::RequestBodyMalformed, why),
    }
}

/// Why a stream ended without an answer; the library's own errors are about what it could not read. What the endpoint says it has not looked at can be sent
/// again, whatever it is (RFC 9113 section 8.7).
fn stream_failed(error: &h2::Error, id: u32, watch: &Watch) -> (Reason, String) {
    let unseen = watch.last_stream().is_some_and(|last| id > last);
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let detail = error.to_string();
    let reason = match error {
        _ if refused || unseen => Reason::UpstreamRefusedStream,
        error if error.is_library() => match watch.ended().as_deref() {
            Some(words) if words.starts_with(b"head") || words.starts_with(b"too_many_cont") => {
                Reason::UpstreamHeadTooLarge
            }
            _ => Reason::UpstreamMalformed,
        },
        error if error.is_reset() => Reason::UpstreamReset,
        _ => Reason::UpstreamClosed,
    };
    (reason, detail)
}

fn failed(reason: Reason, detail: impl Into<String>) -> End {
    End::Failed(reason, detail.into())
}

fn malformed_answer(malformed: Malformed) -> End {
    failed(malformed.upstream_reason(), malformed.what())
}

/// What stopped the request's direction on the client's side.
fn client_failed(stop: Stop) -> End {
    match stop {
        Stop::Malformed(malformed) => failed(malformed.reason(), malformed.what()),
        Stop::TooLarge => failed(
            Reason::RequestBodyTooLarge,
            "the body is larger than allowed",
        ),
        Stop::Cut(error) | Stop::Refused(error) if error.kind() == ErrorKind::UnexpectedEof => {
            failed(Reason::RequestBodyCut, "")
        }
        Stop::Cut(error) | Stop::Refused(error) => {
            failed(Reason::RequestBodyCut, error.to_string())
        }
    }
}
