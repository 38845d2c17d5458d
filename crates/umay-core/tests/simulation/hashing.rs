//! A consistent hash when endpoints leave and join, and when some keys are hot.

use std::collections::VecDeque;

use umay_core::balance::{Balance, Balancer, Candidate, Chance, Field, Load, mix};

use super::world::Dice;

const KEYS: u64 = 20_000;

struct Loads(Vec<u64>, u64);

impl Field for Loads {
    fn is_out(&self, _: usize) -> bool {
        false
    }
    fn in_flight(&self, index: usize) -> u64 {
        self.0[index]
    }
    fn latency(&self, _: usize) -> f64 {
        0.0
    }
    fn ramp(&self, _: usize) -> f64 {
        1.0
    }
    fn all_in_flight(&self) -> Option<u64> {
        Some(self.1)
    }
}

fn candidates(count: u64) -> Vec<Candidate> {
    (0..count)
        .map(|id| Candidate {
            id: mix(id),
            weight: 1 + (id % 3) as u32,
        })
        .collect()
}

fn build(candidates: &[Candidate]) -> Box<dyn Balancer> {
    let kind = Balance::named("consistent_hash").unwrap();
    kind.build(candidates, Load::Requests)
}

fn chance(key: u64) -> Chance {
    Chance {
        turn: 0,
        random: key,
        key: Some(key),
    }
}

/// The id of the owner of each key when nobody is busy.
fn owners(candidates: &[Candidate]) -> Vec<u64> {
    let balancer = build(candidates);
    let field = Loads(vec![0; candidates.len()], 0);
    (0..KEYS)
        .map(|key| candidates[balancer.pick(&field, chance(key)).unwrap()].id)
        .collect()
}

#[test]
fn keys_move_only_from_who_leaves_and_only_to_who_joins() {
    let mut dice = Dice::of("hashing");
    let all = candidates(60);
    let before = owners(&all);
    let weights: u32 = all.iter().map(|candidate| candidate.weight).sum();
    let mut worst = 0.0_f64;
    for _ in 0..12 {
        let mut fewer = all.clone();
        let gone = fewer.swap_remove((dice.roll() % 60) as usize);
        // The rest stands in another order, too.
        fewer.reverse();
        let after = owners(&fewer);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after);
        // Leaving and joining are the same from both sides: only what was or is that endpoint's moves.
        assert!(moved.clone().all(|(before, _)| *before == gone.id));
        let part = moved.count() as f64 / KEYS as f64;
        let fair = f64::from(gone.weight) / f64::from(weights);
        worst = worst.max(part / fair);
    }
    println!(
        "one of 60 leaves or joins: at most {worst:.2} times its fair share of the keys moves"
    );
    // How much that is depends on how evenly 80 to 240 points fall: one standard deviation is 6 to 11 %.
    assert!(worst < 1.4);
}

#[test]
fn keys_are_spread_by_weight() {
    let all = candidates(60);
    let weights: u32 = all.iter().map(|candidate| candidate.weight).sum();
    let owners = owners(&all);
    let part = |candidate: &Candidate| {
        let own = owners.iter().filter(|owner| **owner == candidate.id);
        own.count() as f64 / KEYS as f64 * f64::from(weights) / f64::from(candidate.weight)
    };
    let parts: Vec<_> = all.iter().map(part).collect();
    let least = parts.iter().copied().fold(f64::MAX, f64::min);
    let most = parts.iter().copied().fold(0.0, f64::max);
    println!("keys by weight: {least:.2} to {most:.2} of a fair share");
    assert!(least > 0.6 && most < 1.5);
}

#[test]
fn nobody_bears_more_than_a_quarter_above_the_fair_share() {
    let mut dice = Dice::of("bounded load");
    let all = candidates(40);
    let weights: u32 = all.iter().map(|candidate| candidate.weight).sum();
    let balancer = build(&all);
    let mut field = Loads(vec![0; all.len()], 0);
    let mut open = VecDeque::new();
    let (mut at_home, mut worst, picks) = (0, 0.0_f64, 60_000);
    let home = owners(&all);
    for _ in 0..picks {
        // Few keys are most of it: the first gets a quarter of all requests.
        let key = (dice.unit().powi(-1) * dice.unit().powi(-1)) as u64 % KEYS;
        let at = balancer.pick(&field, chance(key)).unwrap();
        let fair = (field.1 + 1) as f64 * f64::from(all[at].weight) / f64::from(weights);
        assert!(field.0[at] < (fair * 1.25).ceil() as u64);
        if field.1 > 700 {
            worst = worst.max((field.0[at] + 1) as f64 / fair);
        }
        at_home += usize::from(all[at].id == home[key as usize]);
        field.0[at] += 1;
        field.1 += 1;
        open.push_back(at);
        // About 800 are in flight, and end in any order.
        if open.len() > 800 {
            let ended = open.swap_remove_back((dice.roll() % 800) as usize).unwrap();
            field.0[ended] -= 1;
            field.1 -= 1;
        }
    }
    let home = f64::from(at_home as u32) / f64::from(picks);
    println!(
        "hot keys: at most {worst:.2} of the fair share in flight, {home:.2} of requests at the key's own endpoint"
    );
    assert!(worst <= 1.4, "rounded up from 1.25");
    assert!(home > 0.2);
}
