//! Probes: when a row of good or bad ones is long enough to believe it.
//!
//! Nothing is known before the first probe, so that one decides alone (as HAProxy and Envoy do).

/// What an endpoint is held to be, and what speaks for the contrary.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    rise: u32,
    fall: u32,
    /// Nothing is known before the first probe, so that one decides alone.
    well: Option<bool>,
    /// Probes in a row that say the contrary.
    against: u32,
}

/// A turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is well now.
    Rose,
    /// It is ill now.
    Fell,
}

impl Row {
    /// So many good ones make well, so many bad ones ill; none is as one.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise,
            fall,
            well: None,
            against: 0,
        }
    }

    /// Takes the outcome of a probe.
    pub fn record(&mut self, ok: bool) -> Option<Change> {
        if self.well == Some(ok) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if ok { self.rise } else { self.fall };
        if self.well.is_some() && self.against < needed {
            return None;
        }
        (self.well, self.against) = (Some(ok), 0);
        Some(if ok { Change::Rose } else { Change::Fell })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` and `-` are probes; behind one that changes something stands what it is then.
    fn check(rise: u32, fall: u32, story: &str) {
        let mut row = Row::new(rise, fall);
        let mut told = String::new();
        for probe in story.chars().filter(|c| "+-".contains(*c)) {
            told.push(probe);
            match row.record(probe == '+') {
                Some(Change::Rose) => told.push('W'),
                Some(Change::Fell) => told.push('I'),
                None => {}
            }
        }
        assert_eq!(told, story);
    }

    #[test]
    fn rows_decide() {
        check(2, 3, "+W++--+---I+-++W+");
        check(2, 3, "-I-+-++W--+");
        check(1, 1, "+W-I+W-I");
        check(0, 0, "-I+W");
    }
}
