//! Balancing: which endpoint of an upstream is next.
//!
//! The caller keeps the state (counters, exclusions, randomness) and lends it to [`pick`], which
//! allocates nothing.

use crate::model::Balance;

/// Picks one of `endpoints` endpoints by its index, or `None` if all of them are excluded.
///
/// - `excluded` says which must not be picked: ejected ones, or those that were tried already.
/// - `in_flight` is the number of requests or connections that an endpoint has now.
/// - `turn` goes up by one with each pick of this upstream, and may wrap. Only round robin uses it.
/// - `random` is 64 fresh random bits.
pub fn pick(
    balance: Balance,
    endpoints: usize,
    excluded: impl Fn(usize) -> bool,
    in_flight: impl Fn(usize) -> u64,
    turn: usize,
    random: u64,
) -> Option<usize> {
    let free = |i: &usize| !excluded(*i);
    // The first was chosen at random, so a tie needs no more chance.
    let less_busy = |a, b| if in_flight(b) < in_flight(a) { b } else { a };
    // Mostly nothing is excluded, and then how many endpoints there are makes no difference.
    let (turn, random) = match balance {
        Balance::RoundRobin => {
            let picked = turn.checked_rem(endpoints).filter(free);
            if picked.is_some() {
                return picked;
            }
            // The turns of an excluded one go round among those left, so that its neighbour gets
            // no double share.
            (turn.checked_div(endpoints)?, random)
        }
        Balance::RandomOfTwo if endpoints > 1 => {
            let (a, b) = two_of(endpoints, random);
            if free(&a) && free(&b) {
                return Some(less_busy(a, b));
            }
            (turn, mix(mix(random)))
        }
        _ => (turn, random),
    };
    let open = || (0..endpoints).filter(free);
    let count = open().count();
    if count <= 1 {
        return open().next();
    }
    match balance {
        Balance::RoundRobin => open().nth(turn % count),
        Balance::LeastConnections => least(open(), in_flight, random),
        Balance::RandomOfTwo => {
            let (first, second) = two_of(count, random);
            Some(less_busy(open().nth(first)?, open().nth(second)?))
        }
    }
}

/// The least busy; among several each is as likely.
fn least(
    open: impl Iterator<Item = usize>,
    in_flight: impl Fn(usize) -> u64,
    random: u64,
) -> Option<usize> {
    let mut best = None;
    let mut ties = 0;
    let mut state = random;
    for i in open {
        let load = in_flight(i);
        match best {
            Some((_, least)) if load > least => {}
            Some((_, least)) if load == least => {
                ties += 1;
                state = mix(state);
                // The n-th of n equals takes over with a chance of one in n.
                if below(state, ties) == 0 {
                    best = Some((i, load));
                }
            }
            _ => {
                ties = 1;
                best = Some((i, load));
            }
        }
    }
    best.map(|(i, _)| i)
}

/// Two distinct numbers below `count`, which is 2 at least.
fn two_of(count: usize, random: u64) -> (usize, usize) {
    let first = below(random, count);
    let second = below(mix(random), count - 1);
    (first, if second < first { second } else { second + 1 })
}

/// Maps 64 random bits evenly to `0..count`.
fn below(random: u64, count: usize) -> usize {
    // Below `count`, so the cast cannot truncate.
    ((u128::from(random) * count as u128) >> 64) as usize
}

/// The next of a row of random numbers (SplitMix64).
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Balance; 3] = [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::RandomOfTwo,
    ];

    /// How often each of `loads.len()` endpoints is picked in `picks` turns.
    fn histogram(balance: Balance, loads: &[u64], out: &[usize], picks: usize) -> Vec<usize> {
        let mut counts = vec![0; loads.len()];
        let mut random = 42;
        for turn in 0..picks {
            random = mix(random);
            let excluded = |i| out.contains(&i);
            let picked = pick(balance, loads.len(), excluded, |i| loads[i], turn, random);
            counts[picked.unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_fair_around_exclusions() {
        let counts = histogram(Balance::RoundRobin, &[9, 0, 0, 0], &[2], 300);
        assert_eq!(counts, [100, 100, 0, 100]);
    }

    #[test]
    fn round_robin_is_fair_around_a_pattern_of_exclusions() {
        let counts = histogram(Balance::RoundRobin, &[0; 6], &[1, 3, 5], 360);
        assert_eq!(counts, [120, 0, 120, 0, 120, 0]);
        let counts = histogram(Balance::RoundRobin, &[0; 4], &[1, 3], 400);
        assert_eq!(counts, [200, 0, 200, 0]);
    }

    #[test]
    fn what_is_left_out_is_looked_for_only_where_the_choice_falls() {
        for balance in [Balance::RoundRobin, Balance::RandomOfTwo] {
            let looked = std::cell::Cell::new(0);
            let excluded = |_| {
                looked.set(looked.get() + 1);
                false
            };
            pick(balance, 1_000, excluded, |_| 0, 7, 42).unwrap();
            assert!(looked.get() <= 2, "{balance:?} looked at {}", looked.get());
        }
    }

    #[test]
    fn round_robin_survives_the_wrap_of_its_counter() {
        let picked = pick(Balance::RoundRobin, 3, |_| false, |_| 0, usize::MAX, 0);
        assert_eq!(picked, Some(usize::MAX % 3));
    }

    #[test]
    fn least_connections_spreads_ties_evenly() {
        let counts = histogram(Balance::LeastConnections, &[5, 1, 1, 0, 1], &[3], 3000);
        assert_eq!((counts[0], counts[3]), (0, 0));
        for i in [1, 2, 4] {
            assert!((900..1100).contains(&counts[i]), "{counts:?}");
        }
    }

    #[test]
    fn random_of_two_never_takes_the_busiest_and_spreads_equals() {
        let counts = histogram(Balance::RandomOfTwo, &[3, 9, 3], &[], 3000);
        assert_eq!(counts[1], 0);
        assert!((1400..1600).contains(&counts[0]), "{counts:?}");
        let counts = histogram(Balance::RandomOfTwo, &[0; 5], &[4], 4000);
        for count in &counts[..4] {
            assert!((900..1100).contains(count), "{counts:?}");
        }
        let counts = histogram(Balance::RandomOfTwo, &[0; 6], &[1, 2], 4000);
        for i in [0, 3, 4, 5] {
            assert!((900..1100).contains(&counts[i]), "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn picks_one_that_is_open_if_there_is_one(
            endpoints in prop::collection::vec((any::<bool>(), 0..4_u64), 0..12),
            turn in any::<usize>(),
            random in any::<u64>(),
        ) {
            let some = endpoints.iter().any(|(out, _)| !out);
            for balance in ALL {
                let excluded = |i: usize| endpoints[i].0;
                let in_flight = |i: usize| endpoints[i].1;
                let picked = pick(balance, endpoints.len(), excluded, in_flight, turn, random);
                prop_assert_eq!(picked.is_some(), some);
                prop_assert!(picked.is_none_or(|i| !endpoints[i].0));
            }
        }

        #[test]
        fn least_connections_takes_a_least(
            loads in prop::collection::vec(0..4_u64, 1..12),
            random in any::<u64>(),
        ) {
            let least = Balance::LeastConnections;
            let picked = pick(least, loads.len(), |_| false, |i| loads[i], 0, random);
            prop_assert_eq!(picked.map(|i| loads[i]), loads.iter().copied().min());
        }

        #[test]
        fn two_are_distinct(count in 2..20_usize, random in any::<u64>()) {
            let (a, b) = two_of(count, random);
            prop_assert!(a != b && a < count && b < count);
        }
    }
}
