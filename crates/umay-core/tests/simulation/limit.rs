//! The adaptive limit in front of a server of fixed capacity.

use std::time::Duration;

use umay_core::concurrency::{Adaptive, Window};

use super::world::{Dice, Events, SECOND, Server};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Done(u64),
    WindowEnds,
}

/// One window as it turned out.
#[derive(Clone, Copy, Debug)]
struct Second {
    limit: u32,
    /// Milliseconds.
    p50: f64,
    served: u64,
    refused: u64,
}

/// Half a second per window; each entry is one window. `stage(second)` says how wide the server is, how slow (mean
/// microseconds), and how many requests come per second.
fn run(test: &str, seconds: u64, stage: fn(u64) -> (usize, f64, f64)) -> Vec<Second> {
    let mut dice = Dice::of(test);
    let mut events = Events::new();
    let mut adaptive = Adaptive::new(Some(5_000));
    let mut server = Server::new(1, 1.0);
    let mut history = Vec::new();
    let (mut latencies, mut refused, mut most) = (Vec::new(), 0, 0);
    events.put(0, Event::Arrival);
    events.put(SECOND / 2, Event::WindowEnds);
    while let Some((now, event)) = events.next() {
        if now >= seconds * SECOND {
            break;
        }
        let (width, mean, per_second) = stage(now / SECOND);
        (server.width, server.mean) = (width, mean);
        match event {
            Event::Arrival => {
                let wait = SECOND as f64 / per_second * dice.wait();
                events.put(now + wait as u64, Event::Arrival);
                if server.in_flight >= u64::from(adaptive.limit()) {
                    refused += 1;
                } else {
                    server.arrive(now);
                }
                most = most.max(server.in_flight);
            }
            Event::Done(arrived) => {
                latencies.push(now - arrived);
                server.finish();
            }
            Event::WindowEnds => {
                latencies.sort_unstable();
                let p50 = latencies.get(latencies.len() / 2).copied().unwrap_or(0);
                let window = Window {
                    latency: Duration::from_micros(p50),
                    count: latencies.len() as u64,
                    in_flight: most,
                    dropped: 0,
                };
                history.push(Second {
                    limit: adaptive.limit(),
                    p50: p50 as f64 / 1e3,
                    served: latencies.len() as u64,
                    refused,
                });
                adaptive.feed(window, dice.roll());
                (latencies, refused, most) = (Vec::new(), 0, server.in_flight);
                events.put(now + SECOND / 2, Event::WindowEnds);
            }
        }
        while let Some(arrived) = server.start() {
            events.put(now + server.time(&mut dice), Event::Done(arrived));
        }
    }
    history
}

/// Means over the windows of some seconds: limit, median latency in milliseconds, requests served per second.
fn means(history: &[Second], seconds: std::ops::Range<usize>) -> (f64, f64, f64) {
    let windows = &history[seconds.start * 2..seconds.end * 2];
    let mean = |of: fn(&Second) -> f64| windows.iter().map(of).sum::<f64>() / windows.len() as f64;
    let means = (
        mean(|window| f64::from(window.limit)),
        mean(|window| window.p50),
        mean(|window| window.served as f64) * 2.0,
    );
    let (limit, p50, served) = means;
    println!("  {seconds:?} s: limit {limit:.0}, p50 {p50:.0} ms, served {served:.0}/s");
    means
}

/// After which second of these the limit stays within the bounds.
fn settled(
    history: &[Second],
    seconds: std::ops::Range<usize>,
    bounds: std::ops::Range<u32>,
) -> usize {
    let windows = &history[seconds.start * 2..seconds.end * 2 - 1];
    // A measurement lowers the limit for two windows, so of three in a row the highest is what it was set to.
    let last = windows.windows(3).rposition(|three| {
        let limit = three.iter().map(|window| window.limit).max();
        !limit.is_some_and(|limit| bounds.contains(&limit))
    });
    let after = last.map_or(0, |place| place / 2 + 1);
    println!("  {seconds:?} s: settled after {after} s");
    after
}

/// 50 at a time for 20 ms each (the median is 17): 2,500 per second can be served.
const USUAL: (usize, f64, f64) = (50, 20_000.0, 5_000.0);

#[test]
fn converges_under_twice_what_can_be_served() {
    let history = run("overload", 60, |_| USUAL);
    assert!(settled(&history, 0..59, 60..110) <= 6);
    let (limit, p50, served) = means(&history, 10..59);
    assert!(limit > 50.0 && limit < 100.0);
    // Without a limit the wait would grow by a second with each second.
    assert!(p50 < 2.0 * 17.0);
    assert!(served > 0.95 * 2_500.0);
    let refused: u64 = history[20..].iter().map(|window| window.refused).sum();
    assert!(refused > 40_000);
}

#[test]
fn stays_out_of_the_way_when_there_is_room() {
    let history = run("half load", 60, |_| (50, 20_000.0, 1_250.0));
    let (_, p50, served) = means(&history, 5..59);
    assert!(p50 < 1.1 * 17.0 && served > 0.97 * 1_250.0);
    let refused: u64 = history.iter().map(|window| window.refused).sum();
    println!("  refused {refused} of 75,000");
    assert!(refused < 750);
}

#[test]
fn follows_a_server_that_loses_half_and_gets_it_back() {
    let history = run("half the width", 120, |second| match second {
        40..80 => (25, 20_000.0, 5_000.0),
        _ => USUAL,
    });
    assert!(settled(&history, 40..80, 30..60) <= 15);
    let (_, p50, served) = means(&history, 55..80);
    assert!(p50 < 3.0 * 17.0 && served > 0.95 * 1_250.0);
    assert!(settled(&history, 80..119, 60..130) <= 15);
    let (_, p50, served) = means(&history, 95..119);
    assert!(p50 < 2.2 * 17.0 && served > 0.95 * 2_500.0);
}

#[test]
fn follows_a_server_that_turns_slow_and_recovers() {
    let history = run("three times slower", 120, |second| match second {
        40..80 => (50, 60_000.0, 5_000.0),
        _ => USUAL,
    });
    let (limit, _, served) = means(&history, 50..80);
    // What is slower by nature is not mistaken for a queue.
    assert!(limit > 50.0 && served > 0.9 * 833.0);
    let (_, p50, served) = means(&history, 90..119);
    assert!(p50 < 2.2 * 17.0 && served > 0.95 * 2_500.0);
    means(&history, 40..50);
    means(&history, 80..90);
}
