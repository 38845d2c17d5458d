//! What is remembered of a request until it is over: for the access log and the metrics.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use umay_core::headers::Forwarded;
use umay_core::message::{FieldId, Request};
use umay_core::reason::Reason;

use super::head::scheme;
use super::stamps::Own;
use super::traced::Traced;
use crate::site::{Client, Route};
use crate::telemetry::access::{self, Attempts, HttpEntry};
use crate::telemetry::metrics::Exchange;
use crate::upstream::{Local, Share, Took};
use crate::worker::Worker;

/// One request's story.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) started: Instant,
    /// 0 as long as nothing was answered.
    pub(super) status: u16,
    pub(super) reason: Option<Reason>,
    pub(super) detail: Cow<'static, str>,
    /// Bytes of the bodies.
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// What it became, if that is a tunnel.
    pub(super) tunnel: Option<Tunnelled>,
    /// How long the head took to come, if it did not come at once.
    pub(super) header: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
    /// When the first byte of the answer came.
    pub(super) answered: Option<Instant>,
    /// What Umay took for itself in the last attempt.
    pub(super) own: Option<Own>,
    /// How long the wait for room was, if there was one.
    pub(super) queued: Option<Duration>,
    pub(super) connect: Option<Took>,
    pub(super) attempts: u32,
    pub(super) reused: bool,
    /// The upstream and the last endpoint.
    pub(super) endpoint: Option<(Rc<Share>, Rc<Local>)>,
    pub(super) forwarded: Option<Forwarded>,
    /// Its part in a trace, if anything is traced.
    pub(super) traced: Option<Traced>,
}

/// A tunnel that began with the answer to a request. Its bytes and its life count as those of tunnels, not as those of
/// the request.
#[derive(Debug)]
pub(super) struct Tunnelled {
    pub(super) began: Instant,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Record {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            status: 0,
            reason: None,
            detail: Cow::Borrowed(""),
            bytes_in: 0,
            bytes_out: 0,
            tunnel: None,
            header: None,
            first_byte: None,
            answered: None,
            own: None,
            queued: None,
            connect: None,
            attempts: 0,
            reused: false,
            endpoint: None,
            forwarded: None,
            traced: None,
        }
    }

    /// Remembers why; the first reason counts.
    pub(super) fn because(&mut self, reason: Reason, detail: impl Into<Cow<'static, str>>) {
        if self.reason.is_none() {
            self.reason = Some(reason);
            self.detail = detail.into();
        }
    }

    /// Counts and logs the request.
    pub(super) fn finish(
        &self,
        worker: &Worker,
        client: &Client,
        route: Option<&Route>,
        request: &Request,
    ) {
        // A client that left before it was answered is logged as nginx does.
        let status = if self.status == 0 { 499 } else { self.status };
        let now = Instant::now();
        let answered = self.tunnel.as_ref().map_or(now, |tunnel| tunnel.began);
        let duration = answered.saturating_duration_since(self.started);
        worker.metrics.http.responses.count(status);
        if let Some(reason) = self.reason {
            worker.metrics.refusals.count(Some(reason));
        }
        // Attempts that came to nothing are not what a proxy adds.
        let overhead = self.overhead(answered).filter(|_| self.attempts == 1);
        if let Some(overhead) = overhead {
            let metrics = &client.site.metrics;
            metrics.added(worker.index, overhead, self.recorded());
        }
        if let Some(route) = route {
            let exchange = Exchange {
                method: request.method,
                status,
                duration,
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
                trace_id: self.recorded(),
            };
            route.metrics.count(worker.index, &exchange);
        }
        self.tell_spans(worker, client, route, request, now);
        if worker.access.is_on() {
            let entry = self.entry(client, route, request, status, now);
            worker.access.http(&entry);
        }
    }

    /// The time that Umay itself took until it had passed on what had come of the request, and attempts that came
    /// to nothing; `None` if no endpoint answered.
    fn before(&self) -> Option<Duration> {
        let own = self.own.filter(|_| self.answered.is_some())?;
        let connect = self.connect.map(|took| took.whole);
        let others = [self.header, self.queued, connect];
        let before = own.gave.saturating_duration_since(self.started);
        Some(before.saturating_sub(others.into_iter().flatten().sum()))
    }

    /// The same, and the time until it had passed on what had come of the answer.
    fn overhead(&self, ended: Instant) -> Option<Duration> {
        let passed = self.own?.passed.unwrap_or(ended);
        Some(self.before()? + passed.saturating_duration_since(self.answered?))
    }

    /// The scheme that the client itself used, as far as is known.
    pub(super) fn scheme(&self, client: &Client) -> &'static str {
        match &self.forwarded {
            Some(forwarded) => scheme(forwarded),
            None if client.tls.is_some() => "https",
            None => "http",
        }
    }

    fn entry<'a>(
        &'a self,
        client: &'a Client,
        route: Option<&'a Route>,
        request: &'a Request,
        status: u16,
        now: Instant,
    ) -> HttpEntry<'a> {
        let forwarded = self.forwarded.as_ref();
        let ip = forwarded.map_or_else(
            || client.peer.ip().to_canonical(),
            |forwarded| forwarded.client_ip,
        );
        let (trace_id, span_id) = self.ids(request);
        let tunnel = self.tunnel.as_ref();
        let (more_in, more_out) = tunnel.map_or((0, 0), |t| (t.bytes_in, t.bytes_out));
        let upstream = self.endpoint.as_ref().map(|(share, _)| share.upstream());
        let local = self.endpoint.as_ref().map(|(_, local)| local);
        HttpEntry {
            trace: trace_id.map(|trace_id| access::Traced { trace_id, span_id }),
            wanted: route.is_none_or(|route| route.model.log),
            request_id: forwarded.map_or(b"", |f| f.request_id.as_bytes()),
            downstream: client.downstream(ip),
            proto: request.version.as_str(),
            method: request.method_bytes(),
            scheme: self.scheme(client),
            host: request.authority_bytes(),
            path: request.path_bytes(),
            query: request.query_bytes(),
            route: route.map(|route| &*route.model.name),
            status,
            reason: self.reason,
            detail: &self.detail,
            bytes_in: self.bytes_in + more_in,
            bytes_out: self.bytes_out + more_out,
            ended: now,
            duration: now.saturating_duration_since(self.started),
            header: self.header,
            first_byte: self.first_byte,
            body: self
                .answered
                .map(|answered| now.saturating_duration_since(answered)),
            upload: self.own.and_then(|own| own.upload),
            overhead: self.before(),
            attempts: Attempts {
                count: self.attempts,
                upstream: upstream.map(|upstream| &*upstream.name),
                endpoint: local.map(|local| &*local.endpoint.label),
                members: local.map_or(&[], |local| &local.told),
                reused: self.reused,
                queue: self.queued,
                connect: self.connect.map(|took| took.whole),
                tls: self.connect.and_then(|took| took.tls),
            },
            user_agent: request.fields.first(FieldId::UserAgent),
            referer: request.fields.first(FieldId::Referer),
        }
    }
}
