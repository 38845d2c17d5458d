//! W3C Trace Context (levels 1 and 2) and W3C Baggage.

use super::{Outgoing, Parent, digits, id, span_id};

/// Members of a `tracestate` that is passed on (W3C Trace Context section 3.3.1.1).
pub const MOST_STATE_MEMBERS: usize = 32;
/// Bytes of a `tracestate` that is passed on, all its fields together. The standard asks for 512 at least.
pub const MOST_STATE: usize = 2048;
/// Members of a `baggage` that is passed on (W3C Baggage section 3.3.2).
pub const MOST_BAGGAGE_MEMBERS: usize = 64;
/// Bytes of a `baggage` that is passed on, all its fields together (the same).
pub const MOST_BAGGAGE: usize = 8192;

const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// What is gathered while fields are looked through.
#[derive(Default)]
pub(super) struct Reader {
    parents: usize,
    context: Option<(Parent, bool, bool)>,
    state: List,
    baggage: List,
}

/// A list over several fields.
#[derive(Default)]
struct List {
    bytes: usize,
    members: usize,
    wrong: bool,
}

impl List {
    fn read(&mut self, value: &[u8], is_member: fn(&[u8]) -> bool, most: (usize, usize)) {
        self.bytes += value.len() + 1;
        if self.bytes > most.1 + 1 {
            self.wrong = true;
        }
        if self.wrong {
            return;
        }
        let members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for member in members.filter(|member| !member.is_empty()) {
            self.members += 1;
            if self.members > most.0 || !is_member(member) {
                self.wrong = true;
                return;
            }
        }
    }
}

impl Reader {
    pub(super) fn parent(&mut self, value: &[u8]) {
        self.parents += 1;
        self.context = parent(value);
    }

    pub(super) fn state(&mut self, value: &[u8]) {
        let most = (MOST_STATE_MEMBERS, MOST_STATE);
        self.state.read(value, is_state_member, most);
    }

    pub(super) fn baggage(&mut self, value: &[u8]) {
        let most = (MOST_BAGGAGE_MEMBERS, MOST_BAGGAGE);
        self.baggage.read(value, is_baggage_member, most);
    }

    pub(super) fn came(&self) -> bool {
        self.parents > 0
    }

    /// The parent, whether it is sampled, and whether its id is random. Two of them contradict each
    /// other, so none counts.
    pub(super) fn context(&self) -> Option<(Parent, bool, bool)> {
        self.context.filter(|_| self.parents == 1)
    }

    pub(super) fn is_state_good(&self) -> bool {
        !self.state.wrong
    }

    pub(super) fn is_baggage_good(&self) -> bool {
        !self.baggage.wrong
    }
}

/// Reads a `traceparent` (W3C Trace Context section 3.2). Of a version that is not known yet the part
/// is read that all versions have.
pub(super) fn parent(value: &[u8]) -> Option<(Parent, bool, bool)> {
    let (known, rest) = value.split_at_checked(55)?;
    let mut parts = known.split(|byte| *byte == b'-');
    let version = two_digits(parts.next()?)?;
    let trace_id = id(parts.next()?, 32)?;
    let span_id = span_id(parts.next()?)?;
    let flags = two_digits(parts.next()?)?;
    let ends_well = match version {
        0xff => false,
        0 => rest.is_empty(),
        _ => matches!(rest, [] | [b'-', ..]),
    };
    let parent = Parent { trace_id, span_id };
    let context = (parent, flags & SAMPLED != 0, flags & RANDOM != 0);
    (ends_well && parts.next().is_none()).then_some(context)
}

fn two_digits(text: &[u8]) -> Option<u8> {
    match text {
        b"00" => Some(0),
        text => id(text, 2).and_then(|id| u8::try_from(id).ok()),
    }
}

/// True for `key=value` of a `tracestate` (W3C Trace Context section 3.3.1.3).
fn is_state_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (key, value) = member.split_at(equals);
    let value = value.get(1..).unwrap_or_default();
    let legal = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'=';
    is_state_key(key) && matches!(value.len(), 1..=256) && value.iter().all(legal)
}

fn is_state_key(key: &[u8]) -> bool {
    let rest = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let mut parts = key.splitn(2, |byte| *byte == b'@');
    match (parts.next(), parts.next()) {
        (Some([first, others @ ..]), None) => {
            first.is_ascii_lowercase() && others.len() <= 255 && others.iter().all(rest)
        }
        (Some([tenant, tenants @ ..]), Some([system, systems @ ..])) => {
            (tenant.is_ascii_lowercase() || tenant.is_ascii_digit())
                && tenants.len() <= 240
                && tenants.iter().all(rest)
                && system.is_ascii_lowercase()
                && systems.len() <= 13
                && systems.iter().all(rest)
        }
        _ => false,
    }
}

/// True for `key=value` with properties of a `baggage` (W3C Baggage section 3.2.1). Names have to be
/// tokens, all else only visible: who reads it checks what it means.
fn is_baggage_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (key, rest) = member.split_at(equals);
    let key = key.trim_ascii_end();
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~') && *byte != b'"';
    !key.is_empty() && key.iter().all(token) && rest.iter().all(visible)
}

/// The `traceparent` of a context.
pub(super) fn written(context: &Outgoing<'_>) -> [u8; 55] {
    let trace = context.trace;
    let flags = (u8::from(trace.sampled) * SAMPLED) | (u8::from(trace.random) * RANDOM);
    let mut out = [b'-'; 55];
    put(&mut out, 0, *b"00");
    put(&mut out, 3, digits::<32>(trace.trace_id));
    put(&mut out, 36, digits::<16>(context.span_id.into()));
    put(&mut out, 53, digits::<2>(flags.into()));
    out
}

/// Puts a part in its place.
fn put<const N: usize>(out: &mut [u8; 55], at: usize, part: [u8; N]) {
    if let Some(place) = out.get_mut(at..at + N) {
        place.copy_from_slice(&part);
    }
}
