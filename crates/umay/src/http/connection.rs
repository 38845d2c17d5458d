//! A client's HTTP/1 connection: wait, read a head, answer it, and again.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use umay_core::headers::Policy;
use umay_core::message::{FieldId, Framing, Method, Request};
use umay_core::model::Action;
use umay_core::reason::Reason;
use umay_core::route::{HttpQuery, has_dot_segments, split_authority};
use umay_h1::{self as h1, Scan};

use super::Http;
use super::answer;
use super::head::Context;
use super::record::Record;
use super::scratch::Scratch;
use crate::conn::{Conn, Deadline};
use crate::drain::Phase;
use crate::site::{Client, Route};

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It waits for another.
    Again,
    /// It is closed in order.
    Close,
    /// It is closed in order although the client may still send.
    Linger,
    /// It is dropped in the middle of an answer whose length tells that it is cut.
    Cut,
    /// It is reset, for an end in order would make a cut answer look complete.
    Reset,
}

/// A client's connection.
pub struct Connection {
    pub(super) http: Rc<Http>,
    pub(super) client: Client,
    pub(super) conn: Conn,
    pub(super) deadline: Deadline,
}

/// What came of the attempt to read a head.
enum Head {
    Whole,
    /// The client left, or was asked to leave, without having asked for anything.
    Nothing,
    /// The client left in the middle of a head.
    Gone,
    Refused(Reason, &'static str),
}

impl Connection {
    /// Serves requests until the connection is to end, and ends it.
    pub async fn serve(&mut self) {
        let next = loop {
            if self.conn.unread().is_empty() && !self.wait().await {
                break Next::Close;
            }
            let mut scratch = self.http.scratches.take();
            // Boxed: an exchange needs ten times what waiting for the next one does, and most
            // connections wait. The box costs less than a hundredth of the exchange.
            let next = Box::pin(self.exchange(&mut scratch)).await;
            self.http.scratches.give_back(scratch);
            if next != Next::Again {
                break next;
            }
        };
        match next {
            Next::Again | Next::Close => self.conn.close(&self.deadline).await,
            Next::Linger => self.conn.linger(&self.deadline).await,
            Next::Reset => self.conn.reset(),
            Next::Cut => {}
        }
    }

    /// Waits for the first byte of a request, holding nothing. False if the connection is to end.
    async fn wait(&mut self) -> bool {
        let worker = &self.http.worker;
        self.deadline.set_idle(worker.timeouts.keep_alive);
        let came = poll_fn(|cx| {
            if let Poll::Ready(filled) = self.conn.poll_fill(cx) {
                return Poll::Ready(filled.is_ok_and(|count| count > 0));
            }
            if self.deadline.is_shed() || worker.drain.phase() >= Phase::Draining {
                return Poll::Ready(false);
            }
            self.deadline.poll(cx).map(|()| false)
        })
        .await;
        self.deadline.set_busy();
        came
    }

    /// One request and its answer.
    async fn exchange(&mut self, scratch: &mut Scratch) -> Next {
        let mut record = Record::new();
        let head = self.read_head(scratch).await;
        if matches!(head, Head::Nothing) {
            return Next::Close;
        }
        let worker = Rc::clone(&self.http.worker);
        let _in_flight = worker.metrics.http.in_flight.hold();
        if !matches!(head, Head::Whole) {
            scratch.request.clear();
        }
        self.identify(scratch, &mut record);
        let site = std::sync::Arc::clone(&self.client.site);
        let mut route = None;
        let next = match head {
            Head::Whole => match self.admit(&mut scratch.request) {
                Ok(idx) => {
                    route = site.route(idx);
                    self.act(scratch, &mut record, route).await
                }
                Err((reason, detail)) => {
                    let read = scratch.request.body.is_empty();
                    self.refuse(scratch, &mut record, None, reason, detail, read)
                        .await
                }
            },
            Head::Refused(reason, detail) => {
                self.refuse(scratch, &mut record, None, reason, detail, false)
                    .await
            }
            Head::Gone | Head::Nothing => {
                record.because(
                    Reason::ClientGone,
                    "the client left in the middle of a head",
                );
                Next::Cut
            }
        };
        record.finish(&worker, &self.client, route, &scratch.request);
        next
    }

    async fn read_head(&mut self, scratch: &mut Scratch) -> Head {
        let worker = &self.http.worker;
        let limits = h1::Limits {
            head: worker.limits.head,
            fields: worker.limits.fields,
            target: worker.limits.target,
        };
        let mut scan = Scan::default();
        self.deadline.set(worker.timeouts.header);
        let head = poll_fn(|cx| {
            loop {
                let unread = self.conn.unread();
                match h1::parse_request(unread, &mut scan, &limits, &mut scratch.request) {
                    Ok(Some(length)) => {
                        self.conn.consume(length);
                        return Poll::Ready(Head::Whole);
                    }
                    Ok(None) => {}
                    Err(malformed) => {
                        return Poll::Ready(Head::Refused(malformed.reason(), malformed.what()));
                    }
                }
                if self.conn.is_full() {
                    self.conn.compact();
                }
                match self.conn.poll_fill(cx) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    // An empty line and no more is no request.
                    Poll::Ready(_) if self.conn.unread().trim_ascii().is_empty() => {
                        return Poll::Ready(Head::Nothing);
                    }
                    Poll::Ready(_) => return Poll::Ready(Head::Gone),
                    Poll::Pending => break,
                }
            }
            if worker.drain.phase() == Phase::Cutting {
                return Poll::Ready(Head::Refused(Reason::Draining, ""));
            }
            let late = || Head::Refused(Reason::RequestTimeout, "the head took too long");
            self.deadline.poll(cx).map(|()| late())
        })
        .await;
        self.deadline.set_busy();
        head
    }

    /// Finds out who the client is.
    fn identify(&self, scratch: &Scratch, record: &mut Record) {
        let worker = &self.http.worker;
        let listener = &self.client.site.listener;
        let policy = Policy {
            trusted: &listener.trusted_proxies,
            forwarded: listener.forwarded,
        };
        let random = u128::from(worker.random()) << 64 | u128::from(worker.random());
        let secure = self.client.tls.is_some();
        record.forwarded = Some(policy.decide(self.client.peer, secure, &scratch.request, random));
    }

    /// Finds the request's route, or why it cannot have one.
    fn admit(&self, request: &mut Request) -> Result<usize, (Reason, &'static str)> {
        request.upgrade &= can_be_tunnelled(request);
        if has_dot_segments(request.path_bytes()) {
            let detail = "the path has dot segments";
            return Err((Reason::RequestMalformed, detail));
        }
        if request.upgrade && !request.body.is_empty() {
            let detail = "a request that asks for another protocol cannot have a body";
            return Err((Reason::UpgradeRefused, detail));
        }
        let (host, _) = split_authority(request.authority_bytes());
        let tls = self.client.tls.as_deref();
        if let (Some(facts), Some(tls)) = (tls, &self.client.site.tls)
            && !tls.covers(facts.sni.as_deref(), &String::from_utf8_lossy(host))
        {
            return Err((Reason::Misdirected, ""));
        }
        let query = HttpQuery {
            host,
            path: request.path_bytes(),
            method: request.method_bytes(),
            fields: &request.fields,
            sni: self.client.sni(),
            client_cert: tls.and_then(|tls| tls.client_cert.as_ref()),
            secure: tls.is_some(),
        };
        let table = &self.client.site.table;
        table.match_http(&query).ok_or((Reason::NoRoute, ""))
    }

    /// Does what the route says.
    async fn act(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        route: Option<&Route>,
    ) -> Next {
        let Some(route) = route else {
            return self
                .refuse(scratch, record, None, Reason::Internal, "", false)
                .await;
        };
        let request = &scratch.request;
        let no_body = request.body.is_empty();
        let limit = route.model.max_body.or(self.http.worker.limits.body);
        let refused = match request.body {
            _ if request.method == Method::Connect && !route.model.allow_connect => {
                Some((Reason::ConnectMethodRefused, ""))
            }
            Framing::Length(length) if limit.is_some_and(|limit| length > limit) => Some((
                Reason::RequestBodyTooLarge,
                "Content-Length is above the limit",
            )),
            _ => None,
        };
        if let Some((reason, detail)) = refused {
            return self
                .refuse(scratch, record, Some(route), reason, detail, no_body)
                .await;
        }
        match &route.model.action {
            Action::Forward(_) => {
                let http = Rc::clone(&self.http);
                match route.upstream.and_then(|place| http.upstreams.get(place)) {
                    Some(share) => self.forward(scratch, record, route, share).await,
                    None => {
                        let reason = Reason::Internal;
                        self.refuse(scratch, record, Some(route), reason, "", no_body)
                            .await
                    }
                }
            }
            Action::Respond(respond) => {
                record.status = respond.status;
                let write = |cx: &Context<'_>, keep, out: &mut Vec<u8>| {
                    Some(answer::respond(cx, respond, keep, out))
                };
                self.answer(scratch, record, Some(route), no_body, write)
                    .await
            }
            Action::Redirect(redirect) => {
                record.status = redirect.status;
                let write = |cx: &Context<'_>, keep, out: &mut Vec<u8>| {
                    answer::redirect(cx, redirect, keep, out).then_some(0)
                };
                self.answer(scratch, record, Some(route), no_body, write)
                    .await
            }
        }
    }

    /// Tells the client why not. `read` says that no byte of the request's body is left to read.
    pub(super) async fn refuse(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        route: Option<&Route>,
        reason: Reason,
        detail: &str,
        read: bool,
    ) -> Next {
        record.because(reason, detail.to_owned());
        record.status = reason.status();
        let write = |cx: &Context<'_>, keep, out: &mut Vec<u8>| {
            Some(answer::refuse(cx, reason, detail, keep, out))
        };
        self.answer(scratch, record, route, read, write).await
    }

    /// Sends an answer of Umay's own.
    async fn answer(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        route: Option<&Route>,
        read: bool,
        write: impl Fn(&Context<'_>, bool, &mut Vec<u8>) -> Option<usize>,
    ) -> Next {
        let worker = &self.http.worker;
        let Some(forwarded) = &record.forwarded else {
            return Next::Close;
        };
        let keep = read && scratch.request.keep_alive && worker.drain.phase() == Phase::Open;
        scratch.down.clear();
        let cx = Context {
            client: &self.client,
            request: &scratch.request,
            forwarded,
            route,
        };
        let out = &mut scratch.down.lead;
        let length = if let Some(length) = write(&cx, keep, out) {
            length
        } else {
            let (reason, detail) = (Reason::RequestMalformed, "a redirect needs a Host");
            let length = answer::refuse(&cx, reason, detail, keep, out);
            record.status = reason.status();
            record.because(reason, detail);
            length
        };
        record.bytes_out = length as u64;
        let wait = worker.timeouts.send;
        if let Err(error) = self.conn.write_all(out, &self.deadline, wait).await {
            record.because(Reason::ClientGone, error.to_string());
            return Next::Cut;
        }
        match (keep, read) {
            (true, _) => Next::Again,
            (false, true) => Next::Close,
            (false, false) => Next::Linger,
        }
    }
}

/// False for upgrades to what could not be a tunnel: other versions of HTTP, whose requests would
/// pass unchecked, and TLS. They are not passed on, which makes the request an ordinary one
/// (RFC 9110 section 7.8).
fn can_be_tunnelled(request: &Request) -> bool {
    let protocols = request.fields.all(FieldId::Upgrade);
    let mut protocols = protocols.flat_map(|value| value.split(|b| *b == b','));
    protocols.all(|protocol| {
        let name = protocol.trim_ascii().to_ascii_lowercase();
        let name = name.split(|b| *b == b'/').next().unwrap_or_default();
        !matches!(name, b"" | b"h2c" | b"h2" | b"h3" | b"http" | b"tls")
    })
}
