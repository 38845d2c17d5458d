//! Endpoints that serve, requests that arrive, and a clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use umay_core::balance::{Balance, Balancer, Candidate, Chance, Field, Load, mix, ramp, unit};
use umay_core::latency::Latency;

/// Microseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000;

/// Chance, from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice for a test, whose seed is printed: it shows if the test fails.
    pub(crate) fn of(test: &str) -> Self {
        let set = std::env::var("UMAY_SEED").ok();
        let seed = set.and_then(|seed| seed.parse().ok()).unwrap_or(42);
        println!("{test}: UMAY_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = mix(self.0);
        self.0
    }

    /// 0 up to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        unit(self.roll())
    }

    /// A time between two events that come at random, in units of their mean.
    pub(crate) fn wait(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// Events in the order of their time; those at the same time in the order they were put in.
pub(crate) struct Events<E> {
    heap: BinaryHeap<Reverse<(u64, u64, E)>>,
    count: u64,
}

impl<E: Ord> Events<E> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            count: 0,
        }
    }

    pub(crate) fn put(&mut self, at: u64, event: E) {
        self.count += 1;
        self.heap.push(Reverse((at, self.count, event)));
    }

    pub(crate) fn next(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}

/// An endpoint: so many requests at a time, the others wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pub(crate) width: usize,
    /// Mean time to serve one, in microseconds.
    pub(crate) mean: f64,
    /// It fails all requests, after a millisecond.
    pub(crate) fails: bool,
    pub(crate) in_flight: u64,
    pub(crate) latency: Latency,
    /// When it is added, and how long it is new.
    pub(crate) added: (u64, Duration),
    /// Requests that it is serving.
    busy: usize,
    /// When those that wait arrived.
    queue: VecDeque<u64>,
}

impl Server {
    pub(crate) fn new(width: usize, mean: f64) -> Self {
        Self {
            width,
            mean,
            ..Self::default()
        }
    }

    /// Half of the time is the same for all, the other half is chance.
    pub(crate) fn time(&self, dice: &mut Dice) -> u64 {
        let mean = if self.fails { 1_000.0 } else { self.mean };
        (mean * (0.5 + 0.5 * dice.wait())) as u64
    }

    /// A request arrives, and waits.
    pub(crate) fn arrive(&mut self, now: u64) {
        self.in_flight += 1;
        self.queue.push_back(now);
    }

    /// Begins to serve the next one that waits, if there is room; returns when it had arrived.
    pub(crate) fn start(&mut self) -> Option<u64> {
        if self.busy >= self.width {
            return None;
        }
        let next = self.queue.pop_front()?;
        self.busy += 1;
        Some(next)
    }

    /// A request is done.
    pub(crate) fn finish(&mut self) {
        self.in_flight -= 1;
        self.busy -= 1;
    }
}

/// What a balancer sees of servers.
pub(crate) struct Seen<'a> {
    pub(crate) servers: &'a [Server],
    pub(crate) now: u64,
}

impl Field for Seen<'_> {
    fn is_out(&self, index: usize) -> bool {
        self.now < self.servers[index].added.0
    }
    fn in_flight(&self, index: usize) -> u64 {
        self.servers[index].in_flight
    }
    fn latency(&self, index: usize) -> f64 {
        self.servers[index].latency.at((self.now / 1_000) as u32)
    }
    fn ramp(&self, index: usize) -> f64 {
        let (at, slow_start) = self.servers[index].added;
        ramp(
            Duration::from_micros(self.now.saturating_sub(at)),
            slow_start,
        )
    }
}

/// A kind of balancer for so many endpoints of equal weight.
pub(crate) fn build(word: &str, weights: &[u32]) -> Box<dyn Balancer> {
    let candidates = weights.iter().zip(0..).map(|(weight, id)| Candidate {
        id: mix(id),
        weight: *weight,
    });
    let candidates: Vec<_> = candidates.collect();
    Balance::named(word)
        .unwrap()
        .build(&candidates, Load::Requests)
}

/// What happens in a [`Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    /// At this server, of a request that arrived then.
    Done(usize, u64),
    /// The change with this place.
    Change(usize),
}

/// Something that befalls the servers at a time.
pub(crate) type Change = (u64, fn(&mut [Server]));

/// Requests through a balancer.
pub(crate) struct Run {
    pub(crate) servers: Vec<Server>,
    /// For each request: when it arrived, where it went, how long it took; in the order they ended.
    pub(crate) done: Vec<(u64, usize, u64)>,
    /// For each request: when it arrived and where it went.
    pub(crate) picked: Vec<(u64, usize)>,
}

impl Run {
    /// Requests at random times, so many per second, until `end`; then all are served to the end.
    pub(crate) fn new(
        balancer: &dyn Balancer,
        servers: Vec<Server>,
        (per_second, end): (f64, u64),
        changes: &[Change],
        mut dice: Dice,
    ) -> Self {
        let mut run = Self {
            servers,
            done: Vec::new(),
            picked: Vec::new(),
        };
        let mut events = Events::new();
        events.put(0, Event::Arrival);
        for (place, (at, _)) in changes.iter().enumerate() {
            events.put(*at, Event::Change(place));
        }
        while let Some((now, event)) = events.next() {
            match event {
                Event::Change(place) => (changes[place].1)(&mut run.servers),
                Event::Arrival if now >= end => {}
                Event::Arrival => {
                    let wait = SECOND as f64 / per_second * dice.wait();
                    events.put(now + wait as u64, Event::Arrival);
                    let at = run.pick(balancer, now, &mut dice);
                    run.servers[at].arrive(now);
                    run.serve(now, at, &mut events, &mut dice);
                }
                Event::Done(at, arrived) => {
                    run.end(now, at, arrived);
                    run.serve(now, at, &mut events, &mut dice);
                }
            }
        }
        run
    }

    fn pick(&mut self, balancer: &dyn Balancer, now: u64, dice: &mut Dice) -> usize {
        let chance = Chance {
            turn: self.picked.len(),
            random: dice.roll(),
            key: None,
        };
        let servers = &self.servers;
        let at = balancer.pick(&Seen { servers, now }, chance).unwrap();
        self.picked.push((now, at));
        at
    }

    fn serve(&mut self, now: u64, at: usize, events: &mut Events<Event>, dice: &mut Dice) {
        while let Some(arrived) = self.servers[at].start() {
            let time = self.servers[at].time(dice);
            events.put(now + time, Event::Done(at, arrived));
        }
    }

    fn end(&mut self, now: u64, at: usize, arrived: u64) {
        let took = now - arrived;
        let server = &mut self.servers[at];
        server.finish();
        let sample = Duration::from_micros(took);
        let now = (now / 1_000) as u32;
        server.latency = if server.fails {
            server.latency.with_failure(sample, now)
        } else {
            server.latency.with(sample, now)
        };
        self.done.push((arrived, at, took));
    }

    /// What this share of the requests that arrived in this time took at most, in milliseconds.
    pub(crate) fn quantile(&self, share: f64, time: std::ops::Range<u64>) -> f64 {
        let among = self.done.iter().filter(|(at, ..)| time.contains(at));
        let mut times: Vec<_> = among.map(|(.., took)| *took).collect();
        times.sort_unstable();
        times[((times.len() - 1) as f64 * share) as usize] as f64 / 1e3
    }

    /// The part of requests in this time that each server got, in parts of an equal share.
    pub(crate) fn shares(&self, time: std::ops::Range<u64>) -> Vec<f64> {
        let mut counts = vec![0.0; self.servers.len()];
        let among = self.picked.iter().filter(|(at, _)| time.contains(at));
        let mut all = 0.0;
        for (_, at) in among {
            counts[*at] += 1.0;
            all += 1.0;
        }
        let fair = all / counts.len() as f64;
        counts.iter().map(|count| count / fair).collect()
    }
}
