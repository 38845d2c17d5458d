//! One request and its answer, whatever version of HTTP the client speaks: who it is, which route it
//! takes, what the route says, and what is remembered of it.

use std::rc::Rc;
use std::sync::Arc;

use umay_core::headers::Policy;
use umay_core::message::{FieldId, Framing, Method, Request};
use umay_core::model::Action;
use umay_core::reason::Reason;
use umay_core::route::{HttpQuery, has_dot_segments, split_authority};

use super::Http;
use super::answer::{self, Answer};
use super::head::Context;
use super::record::Record;
use super::scratch::Scratch;
use crate::conn::{Conn, Deadline};
use crate::drain::Phase;
use crate::site::{Client, Route};

/// What becomes of a connection (or a stream) after a request.
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

/// What requests come from: an HTTP/1 connection, again and again, or a stream of HTTP/2, once.
pub(super) struct Exchange {
    pub(super) http: Rc<Http>,
    pub(super) client: Rc<Client>,
    pub(super) conn: Conn,
    pub(super) deadline: Deadline,
}

/// What came of the attempt to read a head.
pub(super) enum Head {
    Whole,
    /// The client left in the middle of a head.
    Gone,
    Refused(Reason, &'static str),
}

impl Exchange {
    /// Goes over to the configuration as it is now; to be called before a request.
    pub(super) fn renew(&mut self) {
        Self::go_over(&mut self.http, &mut self.client);
    }

    /// The same for whoever has no request yet.
    pub(super) fn go_over(http: &mut Rc<Http>, client: &mut Rc<Client>) {
        if let Some(now) = http.renewed() {
            *http = now;
        }
        if let Some(now) = client.renewed() {
            *client = Rc::new(now);
        }
    }

    /// How far the end has come.
    pub(super) fn phase(&self) -> Phase {
        self.client.phase(self.http.worker.drain.phase())
    }

    /// Answers the request whose head was read into `scratch`, or tells why it cannot.
    pub(super) async fn run(
        &mut self,
        scratch: &mut Scratch,
        head: Head,
        record: &mut Record,
    ) -> Next {
        let worker = Rc::clone(&self.http.worker);
        let _in_flight = worker.metrics.http.in_flight.hold();
        self.identify(scratch, record);
        record.trace(&worker, &scratch.request);
        let site = Arc::clone(&self.client.site);
        let mut route = None;
        let next = match head {
            Head::Whole => match self.admit(&mut scratch.request) {
                Ok(idx) => {
                    route = site.route(idx);
                    self.act(scratch, record, route).await
                }
                Err((reason, detail)) => {
                    let read = scratch.request.body.is_empty();
                    self.refuse(scratch, record, None, reason, detail, read)
                        .await
                }
            },
            Head::Refused(reason, detail) => {
                self.refuse(scratch, record, None, reason, detail, false)
                    .await
            }
            Head::Gone => {
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

    /// Finds out who the client is.
    fn identify(&self, scratch: &Scratch, record: &mut Record) {
        let worker = &self.http.worker;
        let listener = &self.client.site.listener;
        let policy = Policy {
            trusted: &listener.trusted_proxies,
            forwarded: listener.forwarded,
        };
        let random = worker.random_128();
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
                let share = route.upstream.and_then(|place| http.upstreams.get(place));
                let share = share.ok_or((Reason::Internal, ""));
                match self.client.headed(route).and(share) {
                    Ok(share) => self.forward(scratch, record, route, share).await,
                    // Nothing that comes on this connection can go on, so it is closed.
                    Err((reason, detail)) => {
                        self.refuse(scratch, record, Some(route), reason, detail, false)
                            .await
                    }
                }
            }
            Action::Respond(respond) => {
                record.status = respond.status;
                let make = |_: &Context<'_>| answer::respond(respond);
                self.answer(scratch, record, Some(route), no_body, make)
                    .await
            }
            Action::Redirect(redirect) => {
                let Some(forwarded) = &record.forwarded else {
                    return Next::Close;
                };
                if let Some(location) = answer::location(request, forwarded, redirect) {
                    record.status = redirect.status;
                    let make = |_: &Context<'_>| answer::redirect(redirect, &location);
                    return self
                        .answer(scratch, record, Some(route), no_body, make)
                        .await;
                }
                let (reason, detail) = (Reason::RequestMalformed, "a redirect needs a Host");
                self.refuse(scratch, record, Some(route), reason, detail, no_body)
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
        record.status = answer::status(&scratch.request, reason);
        let make = |cx: &Context<'_>| answer::refuse(cx, reason, detail);
        self.answer(scratch, record, route, read, make).await
    }

    /// Sends an answer of Umay's own.
    async fn answer(
        &mut self,
        scratch: &mut Scratch,
        record: &mut Record,
        route: Option<&Route>,
        read: bool,
        make: impl Fn(&Context<'_>) -> Answer,
    ) -> Next {
        let worker = &self.http.worker;
        let Some(forwarded) = &record.forwarded else {
            return Next::Close;
        };
        let keep = read && scratch.request.keep_alive && self.phase() == Phase::Open;
        scratch.down.clear();
        let cx = Context {
            client: &self.client,
            request: &scratch.request,
            forwarded,
            trace: None,
            route,
            sticky: None,
        };
        let answer = make(&cx);
        record.bytes_out = answer.length(&cx) as u64;
        let wait = worker.timeouts.send;
        let sent = if let Some(stream) = self.conn.io_mut().stream_mut() {
            let (head, end) = answer.head2(&cx);
            match stream.respond(head, end) {
                Ok(()) if end => Ok(()),
                Ok(()) => self.conn.send(&answer.body, &self.deadline, wait).await,
                Err(error) => Err(error),
            }
        } else {
            let out = &mut scratch.down.lead;
            answer.write(&cx, keep, out);
            self.conn.send(out, &self.deadline, wait).await
        };
        if let Err(error) = sent {
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
