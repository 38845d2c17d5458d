//! A request on its way to an endpoint: picked, connected, sent, and tried elsewhere if that is safe.

use std::future::poll_fn;
use std::rc::Rc;

use umay_core::message::Framing;
use umay_core::model::Scheme;
use umay_core::reason::Reason;

use super::body::Half;
use super::connection::{Connection, Next};
use super::duplex::{Duplex, End, State};
use super::head;
use super::record::Record;
use super::scratch::Scratch;
use crate::site::Route;
use crate::tunnel;
use crate::upstream::{Attempts, Lease, Link, Share};

impl Connection {
    /// Sends the request to an endpoint of `share` and the answer to the client.
    pub(super) async fn forward(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        route: &Route,
        share: &Rc<Share>,
    ) -> Next {
        let Some(forwarded) = record.forwarded.take() else {
            return self
                .refuse(scratch, record, Some(route), Reason::Internal, "", false)
                .await;
        };
        scratch.up.clear();
        scratch.down.clear();
        let built = head::request(
            &head::Context {
                client: &self.client,
                request: &scratch.request,
                forwarded: &forwarded,
                route: Some(route),
            },
            &mut scratch.up.lead,
        );
        record.forwarded = Some(forwarded);
        if built.is_err() {
            let detail = "Connection names too many fields";
            let reason = Reason::RequestMalformed;
            return self
                .refuse(scratch, record, Some(route), reason, detail, false)
                .await;
        }
        let limit = route.model.max_body.or(self.http.worker.limits.body);
        let body = scratch.request.body;
        let mut up = Half::new(body, body, limit, true);
        let mut attempts = Attempts::new(false);
        let replayable = scratch.request.method.is_idempotent();
        loop {
            let opened = share
                .open(
                    Scheme::serves_http,
                    replayable,
                    &mut attempts,
                    &self.deadline,
                )
                .await;
            record.attempts = attempts.count;
            record.endpoint = attempts.place.map(|place| (Rc::clone(share), place));
            let link = match opened {
                Ok(link) => link,
                Err(failure) => {
                    up.release(&mut self.conn);
                    let (reason, detail, read) = (failure.reason, &failure.detail, up.is_read());
                    return self
                        .refuse(scratch, record, Some(route), reason, detail, read)
                        .await;
                }
            };
            (record.reused, record.connect) = (link.0.reused, link.0.connect);
            match self.attempt(scratch, record, route, &mut up, link).await {
                Attempt::Over(next) => return next,
                Attempt::Again => {
                    attempts.fresh = true;
                    up.replay(&mut scratch.up);
                }
            }
        }
    }

    /// One attempt on one connection.
    async fn attempt(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        route: &Route,
        up: &mut Half,
        (mut link, lease): (Link, Lease),
    ) -> Attempt {
        let Some(forwarded) = &record.forwarded else {
            return Attempt::Over(Next::Close);
        };
        let mut duplex = Duplex {
            worker: &self.http.worker,
            deadline: &self.deadline,
            cx: head::Context {
                client: &self.client,
                request: &scratch.request,
                forwarded,
                route: Some(route),
            },
            client: &mut self.conn,
            link: &mut link.conn,
            response: &mut scratch.response,
            up,
            up_out: &mut scratch.up,
            down_out: &mut scratch.down,
            state: State::new(),
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
        match end {
            End::Complete => Attempt::Over(self.completed(scratch, record, up, link, &state)),
            End::Switch => {
                up.release(&mut self.conn);
                Attempt::Over(self.tunnel(scratch, record, link).await)
            }
            End::Failed(reason, detail) => {
                let harmless = scratch.request.method.is_idempotent() || !up.started;
                let stale = reason == Reason::UpstreamClosed && link.reused && !state.answered;
                drop(link);
                lease.fail(reason);
                if stale && harmless && up.can_replay() {
                    return Attempt::Again;
                }
                up.release(&mut self.conn);
                let next = failed(scratch, record, &state, reason, &detail);
                Attempt::Over(match next {
                    Some(next) => next,
                    None => {
                        let read = up.is_read();
                        self.refuse(scratch, record, Some(route), reason, &detail, read)
                            .await
                    }
                })
            }
        }
    }

    /// The answer went to the client whole.
    fn completed(
        &mut self,
        scratch: &Scratch,
        record: &mut Record,
        up: &mut Half,
        link: Link,
        state: &State,
    ) -> Next {
        up.release(&mut self.conn);
        let Some((down, delivery)) = &state.down else {
            return Next::Close;
        };
        record.status = scratch.response.status;
        record.bytes_out = down.bytes;
        if state.is_sent() && scratch.response.keep_alive && link.conn.unread().is_empty() {
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
        let head = std::mem::take(&mut scratch.down.lead);
        let sent = self
            .conn
            .write_all(&head, &self.deadline, worker.timeouts.send)
            .await;
        scratch.down.lead = head;
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

enum Attempt {
    Over(Next),
    Again,
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
