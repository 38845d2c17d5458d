//! Trace context: which trace a request belongs to, read from its fields and written for the next hop.
//!
//! W3C Trace Context (`traceparent`, `tracestate`), W3C Baggage, and B3 in one field or several. What
//! is malformed never does more than begin a trace anew: it came from outside, and a request is worth
//! more than its trace. Who may decide that a trace is recorded is told in [`Sampler::decide`].

mod b3;
mod sampler;
mod w3c;

#[cfg(test)]
mod tests;

pub use sampler::{Sampler, Trace, some_id};
pub use w3c::{MOST_BAGGAGE, MOST_BAGGAGE_MEMBERS, MOST_STATE, MOST_STATE_MEMBERS};

use crate::message::{FieldId, Fields};

/// The trace and the span that a sender was in. Neither id is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace: 128 bits, or 64 if B3 had no more.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
}

/// The formats that a context can be in, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// `traceparent` and `tracestate` (W3C Trace Context, levels 1 and 2).
    pub w3c: bool,
    /// `b3`.
    pub b3: bool,
    /// `X-B3-TraceId` and so on.
    pub b3_multi: bool,
}

/// What is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagators {
    /// Formats that are read. Those of them that came are answered in kind; the fields of others are
    /// passed on as any field is.
    pub formats: Formats,
    /// What is written if none of them came; at most one.
    pub first: Formats,
    /// `baggage` is looked at: dropped if it is malformed or beyond its caps.
    pub baggage: bool,
}

/// What a request brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The formats that came, well formed or not.
    pub came: Formats,
    /// The first of W3C, `b3` and `X-B3-*` that is well formed counts.
    pub parent: Option<Parent>,
    /// The sender's word on whether the trace is recorded.
    pub sampled: Option<bool>,
    /// B3's debug flag: recorded whatever others say.
    pub debug: bool,
    /// The trace's id is random (W3C Trace Context level 2).
    pub random: bool,
    /// `tracestate` may be passed on.
    pub keeps_state: bool,
    /// `baggage` may be passed on.
    pub keeps_baggage: bool,
}

/// A field that belongs to a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Parent,
    State,
    Baggage,
    B3,
    Multi(b3::Part),
}

impl Part {
    #[inline]
    fn of(id: FieldId, name: &[u8]) -> Option<Self> {
        match id {
            FieldId::Traceparent => Some(Self::Parent),
            FieldId::Other => Self::by_name(name),
            _ => None,
        }
    }

    fn by_name(name: &[u8]) -> Option<Self> {
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"b3") => Some(Self::B3),
            7 if name.eq_ignore_ascii_case(b"baggage") => Some(Self::Baggage),
            10 if name.eq_ignore_ascii_case(b"tracestate") => Some(Self::State),
            10..=17 => b3::Part::of(name).map(Self::Multi),
            _ => None,
        }
    }
}

impl Received {
    /// Reads the fields of a request.
    pub fn of(fields: &Fields, propagators: &Propagators) -> Self {
        let is_part = |(id, name, _): (FieldId, &[u8], &[u8])| Part::of(id, name).is_some();
        if fields.iter().any(is_part) {
            return Self::read(fields, propagators);
        }
        // Most requests bring nothing.
        Self {
            keeps_baggage: true,
            ..Self::default()
        }
    }

    fn read(fields: &Fields, propagators: &Propagators) -> Self {
        let mut w3c = w3c::Reader::default();
        let mut single = b3::Single::default();
        let mut multi = b3::Multi::default();
        for (id, name, value) in fields.iter() {
            match Part::of(id, name) {
                None => {}
                Some(Part::Parent) => w3c.parent(value),
                Some(Part::State) => w3c.state(value),
                Some(Part::Baggage) => w3c.baggage(value),
                Some(Part::B3) => single.read(value),
                Some(Part::Multi(part)) => multi.read(part, value),
            }
        }
        let read = propagators.formats;
        let mut received = Self {
            came: Formats {
                w3c: read.w3c && w3c.came(),
                b3: read.b3 && single.came,
                b3_multi: read.b3_multi && multi.came,
            },
            keeps_baggage: w3c.is_baggage_good(),
            ..Self::default()
        };
        if read.w3c
            && let Some((parent, sampled, random)) = w3c.context()
        {
            received.parent = Some(parent);
            received.sampled = Some(sampled);
            received.random = random;
            received.keeps_state = w3c.is_state_good();
            return received;
        }
        let others = [
            (read.b3, single.context()),
            (read.b3_multi, multi.context()),
        ];
        for (_, found) in others.into_iter().filter(|(read, _)| *read) {
            let b3::Context {
                parent,
                sampled,
                debug,
            } = found;
            if parent.is_some() || sampled.is_some() {
                (received.parent, received.sampled, received.debug) = (parent, sampled, debug);
                return received;
            }
        }
        received
    }

    /// The trace's id of `traceparent`, if that is all that is asked for.
    pub fn trace_id(fields: &Fields) -> Option<u128> {
        let mut values = fields.all(FieldId::Traceparent);
        let parent = w3c::parent(values.next()?)?.0;
        values.next().is_none().then_some(parent.trace_id)
    }
}

/// A context for the next hop.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// The span that the next hop is asked in.
    pub span_id: u64,
}

impl Outgoing<'_> {
    /// True if a received field must not be passed on as it is: [`Self::write`] writes it anew, or it
    /// belongs to a trace that is not continued.
    pub fn replaces(&self, id: FieldId, name: &[u8]) -> bool {
        let trace = self.trace;
        match Part::of(id, name) {
            None => false,
            Some(Part::Parent) => trace.propagators.formats.w3c,
            Some(Part::State) => trace.propagators.formats.w3c && !trace.keeps_state,
            Some(Part::Baggage) => trace.propagators.baggage && !trace.keeps_baggage,
            Some(Part::B3) => trace.propagators.formats.b3,
            Some(Part::Multi(_)) => trace.propagators.formats.b3_multi,
        }
    }

    /// Hands out the fields that tell the next hop, as name and value.
    pub fn write(&self, put: &mut impl FnMut(&[u8], &[u8])) {
        let formats = self.trace.formats;
        if formats.w3c {
            put(b"traceparent", &w3c::written(self));
        }
        if formats.b3 {
            b3::write_single(self, put);
        }
        if formats.b3_multi {
            b3::write_multi(self, put);
        }
    }
}

/// The digits of an id, in lower case: 32 for a trace, 16 for a span.
pub fn digits<const N: usize>(id: u128) -> [u8; N] {
    let mut out = [b'0'; N];
    let mut rest = id;
    for place in out.rchunks_mut(8) {
        let eight = eight_digits(rest as u32);
        rest >>= 32;
        match <&mut [u8; 8]>::try_from(&mut *place) {
            Ok(place) => *place = eight,
            Err(_) => place.copy_from_slice(eight.get(8 - place.len()..).unwrap_or_default()),
        }
    }
    out
}

/// The digits of 32 bits, all at once, for each request that is traced has its ids written.
fn eight_digits(value: u32) -> [u8; 8] {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // Four bits into each byte.
    let mut nibbles = u64::from(value);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & (ONES * 0x0f);
    // 10 to 15 carry when 6 is added.
    let letters = (nibbles + ONES * 6) >> 4 & ONES;
    let letter_offset = u64::from(b'a' - b'9' - 1);
    (nibbles + ONES * u64::from(b'0') + letters * letter_offset).to_be_bytes()
}

/// Reads an id of exactly so many digits in lower case; zero is no id.
fn id(text: &[u8], length: usize) -> Option<u128> {
    if text.len() != length {
        return None;
    }
    let digits = text.iter().try_fold(0_u128, |id, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(id << 4 | u128::from(nibble))
    });
    digits.filter(|id| *id != 0)
}

fn span_id(text: &[u8]) -> Option<u64> {
    id(text, 16).and_then(|id| u64::try_from(id).ok())
}
