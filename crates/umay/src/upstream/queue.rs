//! The queue of those who wait for room, in the order of coming.
//!
//! Whatever ends calls the first who was not called yet. Who is called looks, and if there is nothing for it (it
//! was at that endpoint already, or cannot use that connection) calls the next, and keeps its place. Who comes
//! does not look while somebody who was called has not: so nobody is passed by those who come again at once.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use umay_core::model::UpstreamLimits;
use umay_core::reason::Reason;

use super::endpoint::take;
use super::{Failure, Share};

/// Who was not called looks as often as this: connections that another worker keeps idle are given up without a
/// call.
const AGAIN: Duration = Duration::from_millis(250);

/// So many are called at most, one after the other, for one thing that has ended.
const CALLS: u8 = 8;

/// How a request waits for room.
#[derive(Default)]
pub(super) struct Wait {
    /// Not beyond this; set when it begins.
    pub(super) until: Option<Instant>,
    /// There seemed to be room, and somebody else took it.
    pub(super) beaten: bool,
    /// How long it was.
    pub(super) took: Option<Duration>,
}

/// Those who wait.
#[derive(Debug)]
pub(super) struct Queue {
    most: u32,
    wait: Duration,
    /// How many they are, to be looked at without a lock.
    waiting: AtomicU32,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// The number of who comes next.
    next: u64,
    /// By their numbers.
    waiters: BTreeMap<u64, Waiter>,
    /// How many of them are called and have not looked.
    called: usize,
}

#[derive(Debug, Default)]
struct Waiter {
    /// The worker that it waits on.
    worker: usize,
    /// It was called, and may pass that on so often.
    calls: Option<u8>,
    waker: Option<Waker>,
}

impl Queue {
    pub(super) fn new(limits: &UpstreamLimits) -> Self {
        Self {
            most: limits.queue,
            wait: limits.queue_timeout,
            waiting: AtomicU32::default(),
            line: Mutex::default(),
        }
    }

    /// True if somebody waits.
    pub(super) fn waited_for(&self) -> bool {
        // Looked at after room was given back, as that is looked at after this was set.
        self.waiting.load(SeqCst) > 0
    }

    /// True if whoever is next cannot use what this worker keeps.
    pub(super) fn is_for_others(&self, worker: usize) -> bool {
        self.waited_for() && {
            let line = self.line();
            let mut waiters = line.waiters.values();
            let next = waiters.find(|waiter| waiter.calls.is_none());
            next.is_some_and(|waiter| waiter.worker != worker)
        }
    }

    /// There is room for so many more.
    pub(super) fn call(&self, count: usize) {
        if self.waited_for() {
            let mut line = self.line();
            for _ in 0..count.min(line.waiters.len()) {
                line.call(0, CALLS);
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Calls the first from this number on who was not called.
    fn call(&mut self, from: u64, calls: u8) {
        let mut waiters = self.waiters.range_mut(from..);
        if let Some((_, waiter)) = waiters.find(|(_, waiter)| waiter.calls.is_none()) {
            waiter.calls = Some(calls);
            self.called += 1;
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }

    /// Who was called answers. Gives how often that may be passed on.
    fn answer(&mut self, number: u64) -> Option<u8> {
        let calls = self.waiters.get_mut(&number)?.calls.take()?;
        self.called -= 1;
        Some(calls)
    }

    fn pass_on(&mut self, number: u64, calls: Option<u8>) {
        if let Some(left) = calls.and_then(|calls| calls.checked_sub(1)) {
            self.call(number + 1, left);
        }
    }
}

/// One place in the queue.
struct Place<'a> {
    share: &'a Share,
    number: u64,
}

impl<'a> Place<'a> {
    /// The last place, if there is one.
    fn take(share: &'a Share) -> Option<Self> {
        let upstream = &share.upstream;
        let queue = &upstream.room.queue;
        if !take(&queue.waiting, queue.most) {
            return None;
        }
        let healing = &upstream.metrics.healing;
        healing.queued.add(1);
        healing.waiting.fetch_add(1, Relaxed);
        let mut line = queue.line();
        let number = line.next;
        line.next += 1;
        let waiter = Waiter {
            worker: share.worker.index,
            ..Waiter::default()
        };
        line.waiters.insert(number, waiter);
        drop(line);
        Some(Self { share, number })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.share.upstream.room.queue.line()
    }

    /// Looks, and calls the next if that was for nothing.
    fn look<T>(&self, pick: &mut impl FnMut() -> Option<T>) -> Option<T> {
        let calls = self.line().answer(self.number);
        let picked = pick();
        if picked.is_none() {
            self.line().pass_on(self.number, calls);
        }
        picked
    }

    fn poll_called(&self, cx: &Context<'_>) -> Poll<()> {
        match self.line().waiters.get_mut(&self.number) {
            Some(waiter) if waiter.calls.is_none() => {
                waiter.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let upstream = &self.share.upstream;
        upstream.metrics.healing.waiting.fetch_sub(1, Relaxed);
        let mut line = self.line();
        // Who was called and leaves has not used it.
        let calls = line.answer(self.number);
        line.waiters.remove(&self.number);
        line.pass_on(self.number, calls);
        drop(line);
        upstream.room.queue.waiting.fetch_sub(1, SeqCst);
    }
}

impl Share {
    /// Waits until `pick` finds room, in the queue if that has a place, and not beyond `until`. `looked` says that
    /// there is none now.
    pub(super) async fn queue<T>(
        &self,
        until: &mut Option<Instant>,
        looked: bool,
        mut pick: impl FnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let room = &self.upstream.room;
        let queue = &room.queue;
        let until = *until.get_or_insert_with(|| Instant::now() + queue.wait);
        let Some(place) = Place::take(self) else {
            room.drop_one();
            let detail = format!("{} wait already", queue.most);
            return Err(Failure::new(Reason::QueueFull, detail));
        };
        // After the place was taken, so that nothing that ends after it is missed.
        let is_next = !looked && place.line().called == 0;
        if is_next && let Some(picked) = place.look(&mut pick) {
            return Ok(picked);
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let called = poll_fn(|cx| place.poll_called(cx));
            let called = tokio::time::timeout(AGAIN.min(left), called).await;
            if let Some(picked) = place.look(&mut pick) {
                return Ok(picked);
            }
            if called.is_err() && left <= AGAIN {
                room.drop_one();
                let detail = format!("no room in {:?}", queue.wait);
                return Err(Failure::new(Reason::QueueTimeout, detail));
            }
        }
    }
}
