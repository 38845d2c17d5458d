//! What is remembered of a request until it is over: for the access log and the metrics.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use umay_core::headers::Forwarded;
use umay_core::message::{FieldId, Request};
use umay_core::reason::Reason;

use super::head::scheme;
use super::stamps::Stamps;
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
    /// The moments of the last attempt.
    pub(super) stamps: Stamps,
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
            stamps: Stamps::default(),
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
        let whole = now.saturating_duration_since(self.started);
        let since = |moment: Instant| now.saturating_duration_since(moment);
        // A tunnel is not the answer, but begins with it.
        let tunnel = self.tunnel.as_ref().map(|tunnel| tunnel.began);
        let duration = tunnel.map_or(whole, |began| whole.saturating_sub(since(began)));
        worker.metrics.http.responses.count(status);
        if let Some(reason) = self.reason {
            worker.metrics.refusals.count(Some(reason));
        }
        // Attempts that came to nothing are not what a proxy adds.
        let own = self.own(whole);
        if let Some(own) = own.filter(|_| self.attempts == 1) {
            let after = self
                .stamps
                .passed()
                .or(tunnel)
                .map_or(Duration::ZERO, since);
            let overhead = own.saturating_sub(after);
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
            let entry = self.entry(client, route, request, status, (now, whole, own));
            worker.access.http(&entry);
        }
    }

    /// What is left of the whole time when all is taken away that others took until the answer came: the time that Umay
    /// itself took, attempts that came to nothing, and what was after that. `None` if no endpoint answered.
    fn own(&self, whole: Duration) -> Option<Duration> {
        // In nanoseconds, of which 64 bits have five centuries: durations are added more slowly.
        let nanos = |part: Duration| u64::try_from(part.as_nanos()).unwrap_or(u64::MAX);
        let connect = self.connect.map(|took| took.whole);
        let others = [self.header, self.queued, connect, self.stamps.upload()];
        let mut left = nanos(whole).saturating_sub(nanos(self.stamps.first_byte()?));
        for part in others.into_iter().flatten() {
            left = left.saturating_sub(nanos(part));
        }
        Some(Duration::from_nanos(left))
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
        (now, duration, own): (Instant, Duration, Option<Duration>),
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
        let since = |answered: Instant| now.saturating_duration_since(answered);
        let body = self.stamps.answered().map(since);
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
            duration,
            header: self.header,
            first_byte: self.stamps.first_byte(),
            body,
            upload: self.stamps.upload(),
            overhead: own.map(|own| own.saturating_sub(body.unwrap_or_default())),
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
