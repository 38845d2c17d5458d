//! Who gets how much: turns, weights, and endpoints that are new.

use std::time::Duration;

use super::world::{Dice, Run, SECOND, Server, build};

/// How often each server is picked in so many requests.
fn counts(word: &str, weights: &[u32], requests: usize) -> Vec<usize> {
    let servers = vec![Server::new(1_000, 1_000.0); weights.len()];
    let balancer = build(word, weights);
    let per_second = 1_000.0;
    // More than are wanted; the first ones count.
    let end = (requests as u64 + requests as u64 / 4 + 1_000) * SECOND / 1_000;
    let run = Run::new(&*balancer, servers, (per_second, end), &[], Dice::of(word));
    let mut counts = vec![0; weights.len()];
    for (_, at) in run.picked.iter().take(requests) {
        counts[*at] += 1;
    }
    counts
}

#[test]
fn turns_are_exact() {
    assert_eq!(counts("round_robin", &[1; 2_000], 20_000), vec![10; 2_000]);
    // 100 each of weights 1, 2, 3 and 4: a round of 1,000 turns.
    let weights: Vec<_> = (0..400).map(|i| i % 4 + 1).collect();
    let counts = counts("round_robin", &weights, 20_000);
    for (count, weight) in counts.iter().zip(&weights) {
        assert_eq!(*count, 20 * *weight as usize);
    }
}

#[test]
fn weights_are_kept_by_all() {
    for word in ["auto", "random_of_two", "least_connections", "random"] {
        let counts = counts(word, &[1, 9, 30, 60], 50_000);
        println!("{word}: {counts:?} of 500, 4500, 15000, 30000");
        for (count, weight) in counts.iter().zip([1, 9, 30, 60]) {
            let expected = 500.0 * f64::from(weight);
            let part = *count as f64 / expected;
            // Who happens to have been slower lately gets less, which is what latency is asked for.
            let least = if word == "auto" { 0.6 } else { 0.8 };
            assert!((least..1.25).contains(&part), "{word}: {counts:?}");
        }
    }
}

#[test]
fn the_new_begin_slowly() {
    for word in [
        "auto",
        "random_of_two",
        "least_connections",
        "random",
        "round_robin",
    ] {
        let mut servers = vec![Server::new(64, 20_000.0); 10];
        servers[9].added = (5 * SECOND, Duration::from_secs(20));
        let balancer = build(word, &[1; 10]);
        let run = Run::new(
            &*balancer,
            servers,
            (2_000.0, 40 * SECOND),
            &[],
            Dice::of(word),
        );
        let share = |second: u64| {
            let shares = run.shares(second * SECOND..(second + 1) * SECOND);
            // Beside those of the others.
            shares[9] * 9.0 / shares[..9].iter().sum::<f64>()
        };
        let shares: Vec<_> = (0..40).map(share).collect();
        println!(
            "{word}: {:.2} in the first second, {:.2} after 5 s, {:.2} after 10 s, {:.2} after 15 s, {:.2} after 30 s",
            shares[5], shares[10], shares[15], shares[20], shares[35]
        );
        assert_eq!(shares[4], 0.0, "it was not there yet");
        for (second, expected) in [(5, 0.1), (10, 0.28), (15, 0.53), (20, 0.78), (35, 1.0)] {
            let share = shares[second];
            // An average of latencies is partly chance, and with it the shares that follow from it.
            let off = if word == "auto" { 0.4 } else { 0.25 };
            assert!(
                (share - expected).abs() < off,
                "{word}: {share} in second {second}"
            );
        }
        assert!(shares[5] < 0.3, "{word}: {}", shares[5]);
    }
}
