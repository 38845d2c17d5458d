//! B3, the context of Zipkin: in one field (`b3`) or in several (`X-B3-*`).

use super::{Outgoing, Parent, digits, id, span_id};

/// One of the several fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    TraceId,
    SpanId,
    ParentSpanId,
    Sampled,
    Flags,
}

impl Part {
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let rest = name.get(5..)?;
        let start = name.get(..5)?;
        if !start.eq_ignore_ascii_case(b"x-b3-") {
            return None;
        }
        let parts: [(&[u8], Self); 5] = [
            (b"traceid", Self::TraceId),
            (b"spanid", Self::SpanId),
            (b"parentspanid", Self::ParentSpanId),
            (b"sampled", Self::Sampled),
            (b"flags", Self::Flags),
        ];
        let mut parts = parts.into_iter();
        parts
            .find(|(name, _)| rest.eq_ignore_ascii_case(name))
            .map(|(_, part)| part)
    }
}

/// What B3 says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    pub(super) parent: Option<Parent>,
    /// `None` leaves it to whoever comes next.
    pub(super) sampled: Option<bool>,
    pub(super) debug: bool,
}

/// `b3`.
#[derive(Default)]
pub(super) struct Single {
    pub(super) came: bool,
    context: Option<Context>,
}

impl Single {
    /// Two of them contradict each other, so none counts.
    pub(super) fn read(&mut self, value: &[u8]) {
        let again = std::mem::replace(&mut self.came, true);
        self.context = single(value).filter(|_| !again);
    }

    pub(super) fn context(&self) -> Context {
        self.context.unwrap_or_default()
    }
}

/// `TRACE-SPAN`, `TRACE-SPAN-SAMPLED`, `TRACE-SPAN-SAMPLED-PARENT`, or `SAMPLED` alone.
fn single(value: &[u8]) -> Option<Context> {
    if let [state] = value {
        let (sampled, debug) = state_of(*state)?;
        return Some(Context {
            parent: None,
            sampled: Some(sampled),
            debug,
        });
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let trace_id = trace_id(parts.next()?)?;
    let span_id = span_id(parts.next()?)?;
    let state = match parts.next() {
        None => None,
        Some([state]) => Some(state_of(*state)?),
        Some(_) => return None,
    };
    if let Some(parent) = parts.next() {
        super::span_id(parent)?;
    }
    if parts.next().is_some() {
        return None;
    }
    Some(Context {
        parent: Some(Parent { trace_id, span_id }),
        sampled: state.map(|(sampled, _)| sampled),
        debug: state.is_some_and(|(_, debug)| debug),
    })
}

fn state_of(state: u8) -> Option<(bool, bool)> {
    match state {
        b'0' => Some((false, false)),
        b'1' => Some((true, false)),
        b'd' => Some((true, true)),
        _ => None,
    }
}

fn trace_id(text: &[u8]) -> Option<u128> {
    id(text, 32).or_else(|| id(text, 16))
}

/// `X-B3-*`.
#[derive(Default)]
pub(super) struct Multi {
    pub(super) came: bool,
    wrong: bool,
    trace_id: Option<u128>,
    span_id: Option<u64>,
    sampled: Option<bool>,
    debug: bool,
    seen: u8,
}

impl Multi {
    pub(super) fn read(&mut self, part: Part, value: &[u8]) {
        self.came = true;
        let bit = 1 << part as u8;
        self.wrong |= self.seen & bit != 0;
        self.seen |= bit;
        let good = match part {
            Part::TraceId => {
                self.trace_id = trace_id(value);
                self.trace_id.is_some()
            }
            Part::SpanId => {
                self.span_id = span_id(value);
                self.span_id.is_some()
            }
            Part::ParentSpanId => span_id(value).is_some(),
            // Old senders write words.
            Part::Sampled => {
                self.sampled = match value {
                    b"1" | b"true" => Some(true),
                    b"0" | b"false" => Some(false),
                    _ => None,
                };
                self.sampled.is_some()
            }
            Part::Flags => {
                self.debug = value == b"1";
                matches!(value, b"0" | b"1")
            }
        };
        self.wrong |= !good;
    }

    pub(super) fn context(&self) -> Context {
        let parent = match (self.trace_id, self.span_id) {
            (Some(trace_id), Some(span_id)) => Some(Parent { trace_id, span_id }),
            (None, None) => None,
            _ => return Context::default(),
        };
        if self.wrong {
            return Context::default();
        }
        Context {
            parent,
            sampled: self.debug.then_some(true).or(self.sampled),
            debug: self.debug,
        }
    }
}

fn put_trace_id(trace_id: u128, put: &mut impl FnMut(&[u8])) {
    // Who counts in 64 bits may not read more.
    match u64::try_from(trace_id) {
        Ok(short) => put(&digits::<16>(short.into())),
        Err(_) => put(&digits::<32>(trace_id)),
    }
}

pub(super) fn write_single(context: &Outgoing<'_>, put: &mut impl FnMut(&[u8], &[u8])) {
    let trace = context.trace;
    let state = match (trace.debug, trace.sampled) {
        (true, _) => b'd',
        (_, true) => b'1',
        (_, false) => b'0',
    };
    put_trace_id(trace.trace_id, &mut |trace_id| {
        let mut out = [b'-'; 51];
        let span_id = digits::<16>(context.span_id.into());
        let length = trace_id.len() + 19;
        let bytes = trace_id.iter().chain(b"-").chain(&span_id).chain(b"-");
        for (to, from) in out.iter_mut().zip(bytes.chain(&[state])) {
            *to = *from;
        }
        put(b"b3", out.get(..length).unwrap_or_default());
    });
}

pub(super) fn write_multi(context: &Outgoing<'_>, put: &mut impl FnMut(&[u8], &[u8])) {
    let trace = context.trace;
    put_trace_id(trace.trace_id, &mut |id| put(b"X-B3-TraceId", id));
    put(b"X-B3-SpanId", &digits::<16>(context.span_id.into()));
    match (trace.debug, trace.sampled) {
        (true, _) => put(b"X-B3-Flags", b"1"),
        (_, true) => put(b"X-B3-Sampled", b"1"),
        (_, false) => put(b"X-B3-Sampled", b"0"),
    }
}
