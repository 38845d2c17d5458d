//! Which traces are recorded, and who may say so.

use super::{Formats, Propagators, Received};

impl Trace {
    /// `tracestate` goes on as it came.
    pub fn keeps_state(&self) -> bool {
        self.keeps_state
    }
}

/// How it is decided whether a request is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// What part of the traces that begin here is recorded: 0 to 1.
    pub ratio: f64,
    /// What a trusted sender has decided is followed; if not, all is decided here.
    pub follow: bool,
    /// A trace of a sender who is not trusted is gone on with; if not, another begins.
    pub continues: bool,
    /// What is read and written.
    pub propagators: Propagators,
}

/// A request's part in a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trace {
    /// The trace.
    pub trace_id: u128,
    /// The span of the request, as Umay serves it.
    pub span_id: u64,
    /// The span that it was asked in; 0 if the trace begins here.
    pub parent_id: u64,
    /// It is recorded.
    pub sampled: bool,
    /// B3's debug flag, from a trusted sender.
    pub debug: bool,
    /// The trace's id is random (W3C Trace Context level 2).
    pub random: bool,
    /// What is written for the next hop.
    pub(super) formats: Formats,
    pub(super) propagators: Propagators,
    pub(super) keeps_state: bool,
    pub(super) keeps_baggage: bool,
}

impl Sampler {
    /// Decides what becomes of a request; `trusted` says that its sender's word counts, `random` is 256
    /// fresh random bits.
    ///
    /// A sender who is not trusted has no say in whether the request is recorded, neither by a flag nor
    /// by the choice of a trace id: the ratio is applied to our own chance, never to an id from outside.
    pub fn decide(&self, received: &Received, trusted: bool, random: [u64; 4]) -> Trace {
        let [high, low, span, chance] = random;
        let parent = received.parent.filter(|_| trusted || self.continues);
        let told = received.sampled.filter(|_| trusted && self.follow);
        let came = received.came;
        let none = came == Formats::default();
        let own = (u128::from(high) << 64 | u128::from(low)).max(1);
        Trace {
            trace_id: parent.map_or(own, |parent| parent.trace_id),
            span_id: some_id(span),
            parent_id: parent.map_or(0, |parent| parent.span_id),
            sampled: told.unwrap_or_else(|| self.draws(chance)),
            debug: received.debug && told == Some(true),
            random: parent.is_none() || received.random,
            formats: if none { self.propagators.first } else { came },
            propagators: self.propagators,
            keeps_state: parent.is_some() && received.keeps_state,
            keeps_baggage: received.keeps_baggage,
        }
    }

    /// True for the part of all chances that the ratio is.
    fn draws(&self, chance: u64) -> bool {
        // 53 bits are what a fraction has.
        let chance = (chance >> 11) as f64 / (1_u64 << 53) as f64;
        chance < self.ratio
    }
}

/// An id of a span from random bits: zero is none.
pub fn some_id(random: u64) -> u64 {
    random.max(1)
}
