//! Peak EWMA beside others when a tenth of the endpoints turns ten times slower, and when it is quick again.

use std::ops::Range;

use super::world::{Change, Dice, Run, SECOND, Server, build};

const SERVERS: usize = 20;
/// The last two of twenty turn slow.
const SLOW: Range<usize> = 18..20;
/// Microseconds.
const MEAN: f64 = 20_000.0;

fn slow_down(servers: &mut [Server]) {
    for server in &mut servers[SLOW] {
        server.mean = 10.0 * MEAN;
    }
}

fn recover(servers: &mut [Server]) {
    for server in &mut servers[SLOW] {
        server.mean = MEAN;
    }
}

/// 4,000 requests per second: half of what they can serve if each serves eight at a time.
fn run(word: &str, width: usize, end: u64, changes: &[Change]) -> Run {
    let servers = vec![Server::new(width, MEAN); SERVERS];
    let balancer = build(word, &[1; SERVERS]);
    Run::new(&*balancer, servers, (4_000.0, end), changes, Dice::of(word))
}

fn seconds(range: Range<u64>) -> Range<u64> {
    range.start * SECOND..range.end * SECOND
}

/// The 99th percentile from the change on, in milliseconds.
fn p99(word: &str, width: usize) -> f64 {
    let run = run(word, width, 20 * SECOND, &[(5 * SECOND, slow_down)]);
    let time = seconds(5..20);
    let slow: f64 = run.shares(time.clone())[SLOW].iter().sum();
    let quantile = |share| run.quantile(share, time.clone());
    let (p50, p99, p999) = (quantile(0.5), quantile(0.99), quantile(0.999));
    println!(
        "{word}, {width} at a time: p50 {p50:.0} ms, p99 {p99:.0} ms, p99.9 {p999:.0} ms; \
         a slow one gets {:.3} of a fair share",
        slow / SLOW.len() as f64
    );
    p99
}

#[test]
fn the_slow_are_avoided() {
    // Any number at a time: they are slow, but not overrun.
    let ewma = p99("peak_ewma", 1_000);
    assert!(ewma * 4.0 < p99("round_robin", 1_000));
    assert!(ewma * 1.5 < p99("least_connections", 1_000));
    assert!(ewma * 2.0 < p99("random_of_two", 1_000));
}

#[test]
fn the_slow_are_not_overrun() {
    // Eight at a time: an equal share is five times what a slow one can serve.
    let ewma = p99("peak_ewma", 8);
    assert!(ewma < 100.0);
    assert!(ewma * 100.0 < p99("round_robin", 8));
    assert!(ewma * 1.5 < p99("least_connections", 8));
}

#[test]
fn shares_follow_within_seconds_and_do_not_swing() {
    let changes: [Change; 2] = [(10 * SECOND, slow_down), (30 * SECOND, recover)];
    let run = run("peak_ewma", 8, 90 * SECOND, &changes);
    let slowest = |second| {
        let shares = run.shares(seconds(second..second + 1));
        shares[SLOW].iter().copied().fold(f64::MAX, f64::min)
    };
    let busiest = |second| {
        let shares = run.shares(seconds(second..second + 1));
        shares[SLOW].iter().copied().fold(0.0, f64::max)
    };
    // One second after the change they have next to nothing, and as long as they are slow.
    let most = (11..30).map(busiest).fold(0.0, f64::max);
    println!("while slow: at most {most:.2} of a share in any second");
    assert!(most < 0.15);
    let back = |part: f64| (30..90).find(|second| slowest(*second) >= part).unwrap() - 30;
    println!(
        "quick again: half a share after {} s, 0.9 after {} s",
        back(0.5),
        back(0.9)
    );
    assert!(back(0.5) <= 20 && back(0.9) <= 30);
    // Nobody gets much more or much less than the others, in any second, once all are known to be equal. (A share is 200
    // requests, so a seventh of it is chance in one of twenty cases.)
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for second in (0..10).chain(60..90) {
        for share in run.shares(seconds(second..second + 1)) {
            (least, most) = (least.min(share), most.max(share));
        }
    }
    println!("when all are equal: {least:.2} to {most:.2} of a share in any second");
    assert!(least > 0.4 && most < 1.6);
    // While two are slow, the others share what those leave.
    for second in 11..30 {
        for share in &run.shares(seconds(second..second + 1))[..SLOW.start] {
            assert!(*share > 0.4 && *share < 1.8, "{share} in second {second}");
        }
    }
}

#[test]
fn failing_quickly_wins_nothing() {
    // Also where good answers take far longer than the least that a failure counts as.
    for (mean, per_second, end) in [(MEAN, 4_000.0, 20), (5_000_000.0, 40.0, 120)] {
        let part = |word: &str| {
            let mut servers = vec![Server::new(64, mean); SERVERS];
            servers[0].fails = true;
            let balancer = build(word, &[1; SERVERS]);
            let dice = Dice::of(word);
            let run = Run::new(&*balancer, servers, (per_second, end * SECOND), &[], dice);
            let part = run.shares(seconds(end / 4..end))[0] / SERVERS as f64;
            println!(
                "{word}: {part:.4} of requests to one of {SERVERS} that fails, others take {} ms",
                mean / 1e3
            );
            part
        };
        // One in twenty would be fair. Who only looks at what is in flight sends more.
        assert!(part("least_connections") > 0.05);
        assert!(part("peak_ewma") < 0.005);
    }
}
