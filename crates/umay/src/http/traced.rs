//! A request's part in a trace while it lasts: the context that each attempt is sent with, and what is
//! told of all at the end.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use umay_core::grpc;
use umay_core::message::{FieldId, Fields, Request};
use umay_core::reason::Reason;
use umay_core::route::split_authority;
use umay_core::trace::{Outgoing, Received, Trace, some_id};

use super::attempt::Tried;
use super::duplex::End;
use super::record::Record;
use super::scratch::Scratch;
use crate::site::{Client, Route};
use crate::telemetry::spans::{Asked, AttemptSpan, RequestSpan};
use crate::upstream::{Attempts, Local};
use crate::worker::Worker;

/// A request that is traced.
#[derive(Debug)]
pub(super) struct Traced {
    /// Which trace it belongs to.
    trace: Trace,
    /// The span of the attempt that is being made.
    current: u64,
    /// The attempts so far, if they are recorded.
    steps: Vec<Step>,
}

/// An attempt.
#[derive(Debug)]
struct Step {
    span_id: u64,
    local: Rc<Local>,
    started: Instant,
    /// `None` while it goes on.
    ended: Option<Instant>,
    came: Came,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Came {
    /// 0 if there was no answer.
    status: u16,
    reason: Option<Reason>,
    /// Another was answered first.
    overtaken: bool,
    /// The status of a call.
    call_status: Option<u32>,
}

impl Came {
    /// It failed.
    pub(super) fn failed(reason: Reason) -> Self {
        Self {
            reason: Some(reason),
            ..Self::default()
        }
    }

    /// Another was answered first.
    pub(super) fn overtaken() -> Self {
        Self {
            overtaken: true,
            ..Self::default()
        }
    }

    fn of(end: &End, tried: &Tried, scratch: &Scratch) -> Self {
        let status = scratch.response.status;
        let down = tried.state.down.as_ref();
        match end {
            End::Late | End::Overtaken => Self::overtaken(),
            End::Failed(reason, _) => Self {
                status: down.map_or(0, |_| status),
                ..Self::failed(*reason)
            },
            End::Complete | End::Switch | End::Retry => {
                let trailers = down.and_then(|(down, _)| down.trailers(&tried.link.conn));
                let told = trailers.and_then(call_status);
                Self {
                    status,
                    call_status: told.or_else(|| call_status(&scratch.response.fields)),
                    ..Self::default()
                }
            }
        }
    }
}

fn call_status(fields: &Fields) -> Option<u32> {
    let digits = std::str::from_utf8(fields.named(b"grpc-status")?).ok()?;
    digits.parse().ok()
}

impl Record {
    /// Finds out which trace the request belongs to, if anything is traced.
    pub(super) fn trace(&mut self, worker: &Worker, request: &Request) {
        let trusted = self.forwarded.as_ref().is_some_and(|f| f.is_trusted());
        let trace = worker
            .tracer
            .begin(&request.fields, trusted, || worker.random());
        self.traced = trace.map(|trace| Traced {
            trace,
            current: trace.span_id,
            steps: Vec::new(),
        });
    }

    /// True if the request is told to a collector.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorded().is_some()
    }

    /// The trace, if the request is told to a collector.
    pub(super) fn recorded(&self) -> Option<u128> {
        let traced = self.traced.as_ref().filter(|traced| traced.trace.sampled);
        traced.map(|traced| traced.trace.trace_id)
    }

    /// The trace, and the request's own span if that is recorded.
    pub(super) fn ids(&self, request: &Request) -> (Option<u128>, Option<u64>) {
        match &self.traced {
            Some(Traced { trace, .. }) => {
                (Some(trace.trace_id), trace.sampled.then_some(trace.span_id))
            }
            None => (Received::trace_id(&request.fields), None),
        }
    }

    /// What the endpoint is told.
    pub(super) fn outgoing(&self) -> Option<Outgoing<'_>> {
        self.traced.as_ref().map(|traced| Outgoing {
            trace: &traced.trace,
            span_id: traced.current,
        })
    }

    /// Takes over which endpoints could not be reached.
    pub(super) fn unreached(&mut self, worker: &Worker, attempts: &mut Attempts) {
        let (Some(traced), Some(trail)) = (&mut self.traced, &mut attempts.trail) else {
            return;
        };
        for unreached in trail.unreached.drain(..) {
            traced.steps.push(Step {
                span_id: some_id(worker.random()),
                local: unreached.local,
                started: unreached.began,
                ended: Some(unreached.ended),
                came: Came::failed(unreached.reason),
            });
        }
    }

    /// An attempt begins; the result is its place among all.
    pub(super) fn attempt_begins(
        &mut self,
        worker: &Worker,
        attempts: &Attempts,
        local: &Rc<Local>,
    ) -> usize {
        let Some(traced) = &mut self.traced else {
            return 0;
        };
        traced.current = some_id(worker.random());
        if traced.trace.sampled {
            let began = attempts.trail.as_ref().and_then(|trail| trail.began);
            traced.steps.push(Step {
                span_id: traced.current,
                local: Rc::clone(local),
                started: began.unwrap_or_else(Instant::now),
                ended: None,
                came: Came::default(),
            });
        }
        traced.steps.len().saturating_sub(1)
    }

    /// An attempt is over.
    pub(super) fn attempt_came(&mut self, place: usize, came: Came) {
        let steps = self.traced.as_mut().map(|traced| &mut traced.steps);
        if let Some(step) = steps.and_then(|steps| steps.get_mut(place)) {
            step.ended = Some(Instant::now());
            step.came = came;
        }
    }

    /// The same, by how it ended, unless it goes on in some way.
    pub(super) fn attempt_ended(&mut self, tried: &Tried, end: &End, scratch: &Scratch) {
        if !self.is_recorded() || matches!(end, End::Late) {
            return;
        }
        self.attempt_came(tried.span, Came::of(end, tried, scratch));
    }

    /// Tells of the request and of all its attempts, if they are recorded.
    pub(super) fn tell_spans(
        &self,
        worker: &Worker,
        client: &Client,
        route: Option<&Route>,
        request: &Request,
        ended: Instant,
    ) {
        let Some(traced) = self.traced.as_ref().filter(|traced| traced.trace.sampled) else {
            return;
        };
        let state = traced.state(request);
        let peer = client.peer.ip().to_canonical();
        let upstream = self.endpoint.as_ref().map(|(share, _)| share.upstream());
        let span = RequestSpan {
            trace: &traced.trace,
            state: &state,
            started: self.started,
            ended,
            now: SystemTime::now(),
            asked: asked(request, self.scheme(client)),
            client: self.forwarded.as_ref().map_or(peer, |f| f.client_ip),
            peer: client.peer,
            user_agent: request.fields.first(FieldId::UserAgent),
            listener: &client.site.listener.name,
            route: route.map(|route| (&*route.model.name, &*route.pattern)),
            upstream: upstream.map(|upstream| &*upstream.name),
            status: self.status,
            reason: self.reason,
            call_status: self.call_status(traced),
        };
        worker.tracer.request(&span);
        for (place, step) in traced.steps.iter().enumerate() {
            let address = &step.local.endpoint.address;
            let attempt = AttemptSpan {
                span_id: step.span_id,
                started: step.started,
                ended: step.ended.unwrap_or(ended),
                host: &address.host,
                port: address.port,
                secure: address.scheme.is_tls(),
                resend: u32::try_from(place).unwrap_or(u32::MAX),
                status: step.came.status,
                reason: step.came.reason,
                overtaken: step.came.overtaken,
                call_status: step.came.call_status,
            };
            worker.tracer.attempt(&span, &attempt);
        }
    }

    /// What a call was told: by Umay, or by the endpoint whose answer it got.
    fn call_status(&self, traced: &Traced) -> Option<u32> {
        match self.reason {
            Some(reason) => Some(grpc::status(reason).into()),
            None => traced
                .steps
                .iter()
                .rev()
                .find_map(|step| step.came.call_status),
        }
    }
}

impl Traced {
    /// The `tracestate` of a trace that goes on.
    fn state<'r>(&self, request: &'r Request) -> Cow<'r, [u8]> {
        if !self.trace.keeps_state() {
            return Cow::Borrowed(b"");
        }
        let named = |(_, name, value): (FieldId, &'r [u8], &'r [u8])| {
            name.eq_ignore_ascii_case(b"tracestate").then_some(value)
        };
        let mut values = request.fields.iter().filter_map(named);
        let first = values.next().unwrap_or_default();
        values.fold(Cow::Borrowed(first), |all, value| {
            Cow::Owned([&all, value].join(&b","[..]))
        })
    }
}

fn asked<'a>(request: &'a Request, scheme: &'static str) -> Asked<'a> {
    let (host, port) = split_authority(request.authority_bytes());
    let usual = if scheme == "https" { 443 } else { 80 };
    Asked {
        method: request.method,
        token: request.method_bytes(),
        version: request.version,
        scheme,
        host,
        port: (!host.is_empty()).then(|| port.unwrap_or(usual)),
        path: request.path_bytes(),
        query: request.query_bytes(),
        call: grpc::is_call(request),
    }
}
