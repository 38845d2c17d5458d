//! What a row of probes says of an endpoint: rise and fall.
//!
//! As in HAProxy (`init-state up`): an endpoint that was never probed is used, but its first probe decides, so one
//! that was dead at the start is found out by one failure. After that `fall` failures in a row make it ill, `rise`
//! successes in a row well, and the opposite in between starts the row anew.

/// The probes of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    rise: u32,
    fall: u32,
    state: State,
    /// Results in a row that speak against the state.
    against: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Well,
    Ill,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is ill: not used from now on.
    Fell,
    /// It is well again.
    Rose,
}

impl Row {
    /// No probe yet. So many good ones in a row make an ill endpoint well, so many bad ones a well one ill; 0 is
    /// taken as 1.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise,
            fall,
            state: State::Unknown,
            against: 0,
        }
    }

    /// Other settings, as of a reload; the state is kept.
    pub fn set(&mut self, rise: u32, fall: u32) {
        (self.rise, self.fall) = (rise, fall);
    }

    /// True if the endpoint may be used: it is well, or not known.
    pub fn is_usable(&self) -> bool {
        self.state != State::Ill
    }

    /// True if there was a probe.
    pub fn is_known(&self) -> bool {
        self.state != State::Unknown
    }

    /// Takes the result of a probe; says if the endpoint became usable by it, or ceased to be.
    pub fn record(&mut self, is_good: bool) -> Option<Change> {
        let (turned, limit, change) = match (self.state, is_good) {
            (State::Unknown, true) => (State::Well, 1, None),
            (State::Unknown, false) => (State::Ill, 1, Some(Change::Fell)),
            (State::Well, false) => (State::Ill, self.fall, Some(Change::Fell)),
            (State::Ill, true) => (State::Well, self.rise, Some(Change::Rose)),
            (State::Well, true) | (State::Ill, false) => {
                self.against = 0;
                return None;
            }
        };
        self.against = self.against.saturating_add(1);
        if self.against < limit {
            return None;
        }
        (self.state, self.against) = (turned, 0);
        change
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The results of probes, `+` or `-`, and what came of each: `.` nothing, `F` or `R`.
    fn check(rise: u32, fall: u32, probes: &str, changes: &str) {
        let mut row = Row::new(rise, fall);
        let came = probes.chars().map(|probe| match row.record(probe == '+') {
            None => '.',
            Some(Change::Fell) => 'F',
            Some(Change::Rose) => 'R',
        });
        assert_eq!(came.collect::<String>(), changes, "{probes}");
    }

    #[test]
    fn the_first_decides() {
        check(2, 3, "-", "F");
        check(2, 3, "+--", "...");
        assert!(Row::new(2, 3).is_usable() && !Row::new(2, 3).is_known());
    }

    #[test]
    fn rows_decide_after_that() {
        check(2, 3, "+--+---+-++--+---", "......F...R.....F");
        check(1, 1, "+-+-", ".FRF");
        check(0, 0, "+-+-", ".FRF");
    }

    proptest! {
        #[test]
        fn changes_alternate(
            rise in 0..4_u32,
            fall in 0..4_u32,
            probes in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let mut row = Row::new(rise, fall);
            for good in probes {
                let before = row.is_usable();
                let change = row.record(good);
                let expected = match change {
                    None => before,
                    Some(Change::Fell) => { prop_assert!(before && !good); false }
                    Some(Change::Rose) => { prop_assert!(!before && good); true }
                };
                prop_assert_eq!(row.is_usable(), expected);
                prop_assert!(row.is_known());
            }
        }
    }
}
