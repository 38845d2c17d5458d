//! What holds for every kind, and what each promises.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

/// Endpoints as a test wants them.
#[derive(Clone, Debug, Default)]
struct Fake {
    loads: Vec<u64>,
    out: Vec<usize>,
    /// In milliseconds; where there is none, nothing is known.
    latencies: Vec<f64>,
    /// Where there is none: 1.
    ramps: Vec<f64>,
    looked: Cell<usize>,
}

impl Fake {
    fn with_loads(loads: &[u64]) -> Self {
        Self {
            loads: loads.to_vec(),
            ..Self::default()
        }
    }

    fn out(mut self, out: &[usize]) -> Self {
        self.out = out.to_vec();
        self
    }

    fn latencies(mut self, latencies: &[f64]) -> Self {
        self.latencies = latencies.to_vec();
        self
    }

    fn ramps(mut self, ramps: &[f64]) -> Self {
        self.ramps = ramps.to_vec();
        self
    }
}

impl Field for Fake {
    fn is_out(&self, index: usize) -> bool {
        self.looked.set(self.looked.get() + 1);
        self.out.contains(&index)
    }
    fn in_flight(&self, index: usize) -> u64 {
        self.loads[index]
    }
    fn latency(&self, index: usize) -> f64 {
        self.latencies.get(index).map_or(0.0, |ms| ms * 1e3)
    }
    fn ramp(&self, index: usize) -> f64 {
        self.ramps.get(index).copied().unwrap_or(1.0)
    }
}

fn candidates(weights: &[u32]) -> Vec<Candidate> {
    let ids = (0..).map(mix);
    let each = weights.iter().zip(ids);
    each.map(|(weight, id)| Candidate {
        id,
        weight: *weight,
    })
    .collect()
}

fn build(word: &str, weights: &[u32]) -> Box<dyn Balancer> {
    let balance = Balance::named(word).unwrap();
    balance.build(&candidates(weights), Load::Requests)
}

/// How often each endpoint is picked in so many turns.
fn histogram(word: &str, weights: &[u32], field: &Fake, picks: usize) -> Vec<usize> {
    let balancer = build(word, weights);
    let mut counts = vec![0; weights.len()];
    let mut random = 42;
    for turn in 0..picks {
        random = mix(random);
        let chance = Chance {
            turn,
            random,
            key: Some(turn as u64),
        };
        counts[balancer.pick(field, chance).unwrap()] += 1;
    }
    counts
}

/// The same with equal weights.
fn even(word: &str, field: &Fake, picks: usize) -> Vec<usize> {
    histogram(word, &vec![1; field.loads.len()], field, picks)
}

/// Asserts that the counts are these, give or take a tenth.
#[track_caller]
fn assert_about(counts: &[usize], expected: &[usize]) {
    let fits = |(count, expected): (&usize, &usize)| count.abs_diff(*expected) * 10 <= *expected;
    let all = counts.len() == expected.len() && counts.iter().zip(expected).all(fits);
    assert!(all, "{counts:?} instead of about {expected:?}");
}

const WORDS: [&str; 7] = [
    "auto",
    "peak_ewma",
    "random_of_two",
    "least_connections",
    "round_robin",
    "random",
    "consistent_hash",
];

#[test]
fn kinds_have_words_and_the_first_is_the_default() {
    let words: Vec<_> = Balance::all().map(Balance::as_str).collect();
    assert_eq!(words, WORDS);
    assert_eq!(Balance::default().as_str(), "auto");
    assert_eq!(Balance::named("best"), None);
}

#[test]
fn a_share_grows_from_a_tenth_to_the_whole() {
    let seconds = Duration::from_secs;
    let at = |age| ramp(seconds(age), seconds(100));
    assert_eq!(
        (at(0), at(10), at(50), at(99), at(100)),
        (0.1, 0.1, 0.5, 0.99, 1.0)
    );
    assert_eq!(at(u64::MAX), 1.0);
    assert_eq!(ramp(Duration::ZERO, Duration::ZERO), 1.0);
}

#[test]
fn auto_suits_the_load() {
    let built = |load| Balance::default().build(&candidates(&[1, 1]), load);
    assert!(format!("{:?}", built(Load::Requests)).contains("PeakEwma"));
    assert!(format!("{:?}", built(Load::Streams)).contains("OfTwo"));
}

#[test]
fn what_is_left_out_is_looked_for_only_where_the_choice_falls() {
    for weights in [vec![1; 1_000], (1..=1_000).collect::<Vec<_>>()] {
        for word in WORDS.into_iter().filter(|w| *w != "least_connections") {
            let field = Fake::with_loads(&[0; 1_000]);
            let balancer = build(word, &weights);
            let chance = Chance {
                turn: 7,
                random: 42,
                key: Some(1),
            };
            balancer.pick(&field, chance).unwrap();
            let looked = field.looked.get();
            assert!(looked <= 2, "{word} looked at {looked}");
        }
    }
}

#[test]
fn round_robin_is_fair_around_exclusions() {
    let counts = even(
        "round_robin",
        &Fake::with_loads(&[9, 0, 0, 0]).out(&[2]),
        300,
    );
    assert_eq!(counts, [100, 100, 0, 100]);
}

#[test]
fn round_robin_is_fair_around_a_pattern_of_exclusions() {
    let counts = even(
        "round_robin",
        &Fake::with_loads(&[0; 6]).out(&[1, 3, 5]),
        360,
    );
    assert_eq!(counts, [120, 0, 120, 0, 120, 0]);
    let counts = even("round_robin", &Fake::with_loads(&[0; 4]).out(&[1, 3]), 400);
    assert_eq!(counts, [200, 0, 200, 0]);
}

#[test]
fn round_robin_is_fair_around_exclusions_within_a_round() {
    // Half of two hundred are out: their turns must not all go to one.
    let out: Vec<_> = (0..200).step_by(2).collect();
    let counts = even("round_robin", &Fake::with_loads(&[0; 200]).out(&out), 200);
    assert_eq!(counts.iter().max(), Some(&2));
}

#[test]
fn round_robin_is_exact_with_weights() {
    let field = Fake::with_loads(&[0; 4]);
    let counts = histogram("round_robin", &[1, 2, 3, 4], &field, 100);
    assert_eq!(counts, [10, 20, 30, 40]);
    // One is out: its turns go to the others by their weight. 4 left over in each of 10, 6 to give them to.
    let counts = histogram("round_robin", &[1, 2, 3, 4], &field.out(&[3]), 600);
    assert_eq!(counts, [100, 200, 300, 0]);
}

#[test]
fn round_robin_survives_the_wrap_of_its_counter() {
    let chance = Chance {
        turn: usize::MAX,
        random: 0,
        key: None,
    };
    let picked = build("round_robin", &[1; 3]).pick(&Fake::with_loads(&[0; 3]), chance);
    assert_eq!(picked, Some(usize::MAX % 3));
}

#[test]
fn least_connections_spreads_ties_evenly() {
    let field = Fake::with_loads(&[5, 1, 1, 0, 1]).out(&[3]);
    let counts = even("least_connections", &field, 3000);
    assert_about(&counts, &[0, 1000, 1000, 0, 1000]);
}

#[test]
fn random_of_two_never_takes_the_busiest_and_spreads_equals() {
    let pick = |field: Fake| even("random_of_two", &field, 4000);
    let counts = pick(Fake::with_loads(&[3, 9, 3]));
    assert_about(&counts, &[2000, 0, 2000]);
    let counts = pick(Fake::with_loads(&[0; 5]).out(&[4]));
    assert_about(&counts, &[1000, 1000, 1000, 1000, 0]);
    let counts = pick(Fake::with_loads(&[0; 6]).out(&[1, 2]));
    assert_about(&counts, &[1000, 0, 0, 1000, 1000, 1000]);
}

#[test]
fn idle_endpoints_share_by_weight() {
    for word in WORDS.into_iter().filter(|w| *w != "consistent_hash") {
        let known = Fake::with_loads(&[0; 3]).latencies(&[20.0; 3]);
        let counts = histogram(word, &[1, 3, 6], &known, 20_000);
        assert_about(&counts, &[2_000, 6_000, 12_000]);
        let counts = histogram(word, &[1, 3, 6], &known.out(&[2]), 20_000);
        assert_about(&counts, &[5_000, 15_000, 0]);
    }
}

#[test]
fn a_canary_gets_its_part_whatever_the_others_have_to_do() {
    for word in ["peak_ewma", "random_of_two", "least_connections"] {
        for load in [0, 50] {
            let field = Fake::with_loads(&[load, 0]).latencies(&[20.0; 2]);
            let counts = histogram(word, &[99, 1], &field, 100_000);
            assert_about(&counts, &[99_000, 1_000]);
        }
        let busy = Fake::with_loads(&[50, 2]).latencies(&[20.0; 2]);
        assert_eq!(histogram(word, &[99, 1], &busy, 1_000), [1_000, 0]);
    }
}

#[test]
fn load_counts_by_weight() {
    for word in ["peak_ewma", "random_of_two", "least_connections"] {
        let pick = |loads: &[u64]| {
            let field = Fake::with_loads(loads).latencies(&[20.0; 2]);
            histogram(word, &[3, 1], &field, 10_000)
        };
        assert_about(&pick(&[3, 1]), &[7_500, 2_500]);
        assert_eq!(pick(&[2, 1]), [10_000, 0], "{word}");
        assert_eq!(pick(&[7, 1]), [0, 10_000], "{word}");
    }
}

#[test]
fn peak_ewma_takes_the_sooner() {
    let pick = |loads: &[u64], latencies: &[f64]| {
        even(
            "peak_ewma",
            &Fake::with_loads(loads).latencies(latencies),
            1_000,
        )
    };
    assert_eq!(pick(&[0, 0], &[30.0, 29.0]), [0, 1_000]);
    assert_eq!(pick(&[3, 0], &[10.0, 39.0]), [0, 1_000]);
    assert_eq!(pick(&[3, 0], &[10.0, 41.0]), [1_000, 0]);
    assert_about(&pick(&[1, 0], &[10.0, 20.0]), &[500, 500]);
}

#[test]
fn peak_ewma_asks_the_unknown_one_request_at_a_time() {
    let pick = |loads: &[u64]| {
        let field = Fake::with_loads(loads).latencies(&[1.0, 0.0]);
        even("peak_ewma", &field, 1_000)
    };
    assert_eq!(pick(&[0, 0]), [0, 1_000]);
    assert_eq!(pick(&[5, 1]), [1_000, 0]);
}

#[test]
fn a_new_endpoint_gets_the_part_that_it_may_have() {
    for word in [
        "auto",
        "random_of_two",
        "least_connections",
        "random",
        "round_robin",
    ] {
        let field = Fake::with_loads(&[0; 5])
            .latencies(&[20.0; 5])
            .ramps(&[1.0, 1.0, 1.0, 1.0, 0.25]);
        let counts = even(word, &field, 40_000);
        // A quarter of what the others have.
        let new = 2_353;
        assert_about(&counts[4..], &[new]);
    }
    // Of its keys, as many as the ring gives it: about a quarter of 8,000.
    let field = Fake::with_loads(&[0; 5]);
    let all = even("consistent_hash", &field, 40_000)[4];
    let field = field.ramps(&[1.0, 1.0, 1.0, 1.0, 0.25]);
    assert_about(&even("consistent_hash", &field, 40_000)[4..], &[all / 4]);
}

#[test]
fn a_key_stays_where_it_is() {
    let balancer = build("consistent_hash", &[1; 20]);
    let at = |field: &Fake, key| {
        let chance = |random| Chance {
            turn: random as usize,
            random: mix(random),
            key: Some(key),
        };
        let picked = balancer.pick(field, chance(1));
        assert_eq!(picked, balancer.pick(field, chance(2)));
        picked.unwrap()
    };
    let free = Fake::with_loads(&[0; 20]);
    let one_out = free.clone().out(&[7]);
    let ten_busy = Fake::with_loads(&[vec![10; 10], vec![0; 10]].concat());
    for key in 0..2_000 {
        let home = at(&free, key);
        let moved = at(&one_out, key);
        assert!(if home == 7 { moved != 7 } else { moved == home });
        // The fair share is 5 then, and the bound 7.
        let moved = at(&ten_busy, key);
        assert!(if home < 10 {
            moved >= 10
        } else {
            moved == home
        });
    }
}

#[test]
fn a_ring_is_not_too_large() {
    let points = |count: usize, weight| {
        let debug = format!("{:?}", build("consistent_hash", &vec![weight; count]));
        let (_, points) = debug.split_once(" points: ").unwrap();
        points.split_once(',').unwrap().0.parse::<usize>().unwrap()
    };
    assert_eq!(points(1, 1), 160);
    assert_eq!(points(10, 10), 2_000);
    assert_eq!(points(10, 1_000), 1_560);
    assert_eq!(points(819, 1), 131_040);
    assert_eq!(points(820, 1), 65_600);
    assert_eq!(points(200_000, 1), 200_000);
}

fn fields() -> impl Strategy<Value = (Vec<u32>, Fake)> {
    let ramp = prop_oneof![3 => Just(1.0), 1 => 0.0..1.0, 1 => Just(0.0), 1 => Just(f64::NAN)];
    let one = (
        1..=1_000_u32,
        any::<bool>(),
        0..4_u64,
        0.0..100.0,
        ramp,
        any::<bool>(),
    );
    prop::collection::vec(one, 0..12).prop_map(|each| {
        let same = each.first().is_some_and(|one| one.5);
        let field = Fake {
            loads: each.iter().map(|one| one.2).collect(),
            out: (0..each.len()).filter(|i| each[*i].1).collect(),
            latencies: each.iter().map(|one| one.3).collect(),
            ramps: each.iter().map(|one| one.4).collect(),
            looked: Cell::new(0),
        };
        let weights = each.iter().map(|one| if same { 3 } else { one.0 });
        (weights.collect(), field)
    })
}

proptest! {
    #[test]
    fn picks_one_that_is_open_if_there_is_one(
        (weights, field) in fields(),
        turn in any::<usize>(),
        random in any::<u64>(),
        key in any::<Option<u64>>(),
    ) {
        for balance in Balance::all() {
            for load in [Load::Requests, Load::Streams] {
                let balancer = balance.build(&candidates(&weights), load);
                let picked = balancer.pick(&field, Chance { turn, random, key });
                prop_assert_eq!(picked.is_some(), field.out.len() < weights.len());
                prop_assert!(picked.is_none_or(|i| i < weights.len() && !field.out.contains(&i)));
            }
        }
    }

    #[test]
    fn least_connections_takes_a_least(
        loads in prop::collection::vec(0..4_u64, 1..12),
        random in any::<u64>(),
    ) {
        let balancer = build("least_connections", &vec![1; loads.len()]);
        let chance = Chance { turn: 0, random, key: None };
        let picked = balancer.pick(&Fake::with_loads(&loads), chance);
        prop_assert_eq!(picked.map(|i| loads[i]), loads.iter().copied().min());
    }

    #[test]
    fn a_round_gives_each_its_weight(
        weights in prop::collection::vec(1..=100_u32, 1..12),
        start in 0..10_000_usize,
    ) {
        let balancer = build("round_robin", &weights);
        let field = Fake::with_loads(&vec![0; weights.len()]);
        let mut counts = vec![0; weights.len()];
        let sum: u32 = weights.iter().sum();
        for turn in start..start + sum as usize {
            let picked = balancer.pick(&field, Chance { turn, random: 0, key: None });
            counts[picked.unwrap()] += 1;
        }
        prop_assert_eq!(counts, weights);
    }

    #[test]
    fn the_same_set_is_the_same_ring_in_any_order(
        weights in prop::collection::vec(1..=10_u32, 1..10),
        key in any::<u64>(),
    ) {
        let forth = candidates(&weights);
        let mut back = forth.clone();
        back.reverse();
        let field = Fake::with_loads(&vec![0; weights.len()]);
        let id = |candidates: &[Candidate]| {
            let balancer = Balance::named("consistent_hash").unwrap().build(candidates, Load::Requests);
            let chance = Chance { turn: 0, random: 0, key: Some(key) };
            balancer.pick(&field, chance).map(|i| candidates[i].id)
        };
        prop_assert_eq!(id(&forth), id(&back));
    }
}
