//! What is remembered of a raw stream, or of a connection that never became one, until it is over:
//! for the access log and the metrics.

use std::time::{Duration, SystemTime};

use umay_core::reason::Reason;
use umay_core::trace::Trace;

use crate::site::{Client, Route};
use crate::telemetry::access;
use crate::telemetry::spans::StreamSpan;
use crate::tunnel::Ended;
use crate::worker::Worker;

/// One stream's story.
#[derive(Debug, Default)]
pub struct Story<'a> {
    proto: &'static str,
    /// Its route, if it has found one.
    route: Option<&'a Route>,
    /// How it went.
    pub ended: Ended,
    /// What was tried to reach an endpoint.
    pub attempts: access::Attempts<'a>,
}

impl<'a> Story<'a> {
    /// The story of a stream that speaks this, as far as is known.
    pub fn of(proto: &'static str) -> Self {
        Self {
            proto,
            ..Self::default()
        }
    }

    /// The same, on a route.
    pub fn on(self, route: &'a Route) -> Self {
        Self {
            route: Some(route),
            ..self
        }
    }

    /// Counts and logs a stream that was refused.
    pub fn tell(mut self, worker: &Worker, client: &Client, reason: Reason, detail: &str) {
        self.ended.reason = Some(reason);
        detail.clone_into(&mut self.ended.detail);
        self.log(worker, client);
    }

    /// Counts and logs it. What has no route never was a stream, and only counts as refused.
    pub fn log(&self, worker: &Worker, client: &Client) {
        let reason = self.ended.reason;
        let duration = client.accepted.elapsed();
        if self.route.is_some() {
            worker.metrics.tcp.closed(reason, duration);
        }
        if reason.is_some() {
            worker.metrics.refusals.count(reason);
        }
        let trace = self.trace(worker, client, duration);
        if !worker.access.is_on() {
            return;
        }
        worker.access.tcp(&access::TcpEntry {
            conn_id: client.id,
            wanted: self.route.is_none_or(|route| route.model.log),
            trace: trace.map(|trace| access::Traced {
                trace_id: trace.trace_id,
                span_id: Some(trace.span_id),
            }),
            downstream: client.downstream(client.peer.ip().to_canonical()),
            proto: self.proto,
            alpn: client.tls.as_ref().and_then(|tls| tls.alpn.as_deref()),
            route: self.route.map(|route| &*route.model.name),
            reason,
            detail: &self.ended.detail,
            bytes_in: self.ended.bytes_in,
            bytes_out: self.ended.bytes_out,
            duration,
            attempts: self.attempts,
        });
    }

    /// Tells of a stream that has found a route, if streams are traced and this one is.
    fn trace(&self, worker: &Worker, client: &Client, duration: Duration) -> Option<Trace> {
        let route = self.route?;
        let trace = worker.tracer.begin_stream(|| worker.random())?;
        worker.tracer.stream(&StreamSpan {
            trace: &trace,
            duration,
            now: SystemTime::now(),
            proto: self.proto,
            peer: client.peer,
            listener: &client.site.listener.name,
            sni: client.sni(),
            route: Some(&route.model.name),
            upstream: self.attempts.upstream,
            endpoint: self.attempts.endpoint,
            reason: self.ended.reason,
        });
        Some(trace)
    }
}
