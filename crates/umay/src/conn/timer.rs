//! Deadlines: one table per worker, looked through by a tick.
//!
//! Setting a deadline is a store into a slot, for it happens several times per request; the price
//! is that a deadline fires up to two ticks late, never early. The table is also how a worker finds
//! its connections again: to tell all of them of a drain, or to close those that are idle longest.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time between two looks at the table.
pub const TICK: Duration = Duration::from_millis(50);

/// Milliseconds since [`START`].
pub type Millis = u64;

/// No deadline.
pub const NEVER: Millis = Millis::MAX;

/// When time begins: the same for all workers, so that what one has noted another can read.
pub static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since [`START`], exactly.
pub fn now() -> Millis {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(NEVER - 1)
}

/// Now, as Unix time in seconds.
pub fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The deadlines of one worker.
#[derive(Debug)]
pub struct Timers {
    now: Cell<Millis>,
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    list: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    at: Millis,
    waker: Option<Waker>,
    /// The task does nothing but wait for a client that may never come back.
    idle: bool,
    /// The task is asked to end, to make room.
    shed: bool,
}

const FRESH: Slot = Slot {
    at: NEVER,
    waker: None,
    idle: false,
    shed: false,
};

/// A task's deadline; there is none until it is set.
#[derive(Debug)]
pub struct Deadline {
    timers: Rc<Timers>,
    slot: usize,
}

impl Timers {
    /// An empty table.
    pub fn new() -> Rc<Self> {
        let timers = Rc::new(Self {
            now: Cell::new(0),
            slots: RefCell::default(),
        });
        timers.tick();
        timers
    }

    /// A slot in the table, given back when dropped.
    pub fn deadline(self: &Rc<Self>) -> Deadline {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.list.push(FRESH);
            slots.list.len() - 1
        });
        Deadline {
            timers: Rc::clone(self),
            slot,
        }
    }

    /// The time, as of the last tick.
    pub fn now(&self) -> Millis {
        self.now.get()
    }

    /// When a wait that starts now has to end.
    pub fn after(&self, wait: Duration) -> Millis {
        Self::since(self.now.get(), wait)
    }

    /// When a wait that started then has to end.
    pub fn since(then: Millis, wait: Duration) -> Millis {
        let wait = u64::try_from((wait + TICK).as_millis()).unwrap_or(NEVER);
        then.saturating_add(wait)
    }

    /// True if that time has come.
    pub fn is_past(&self, at: Millis) -> bool {
        at <= self.now.get()
    }

    /// Moves the time on and wakes those whose deadline has come.
    pub fn tick(&self) {
        let now = now();
        self.now.set(now);
        self.wake(|slot| slot.at <= now);
    }

    /// Wakes all tasks, for them to look at what has changed around them.
    pub fn wake_all(&self) {
        self.wake(|_| true);
    }

    /// Asks up to `count` idle tasks to end, those first that have been idle longest. Returns how
    /// many were asked.
    pub fn shed(&self, count: usize) -> usize {
        let mut slots = self.slots.borrow_mut();
        let mut idle: Vec<_> = slots
            .list
            .iter_mut()
            .filter(|slot| slot.idle && !slot.shed)
            .collect();
        if count < idle.len() {
            idle.select_nth_unstable_by_key(count, |slot| slot.at);
            idle.truncate(count);
        }
        for slot in &mut idle {
            slot.shed = true;
        }
        let shed = idle.len();
        drop(slots);
        self.wake(|slot| slot.shed);
        shed
    }

    fn wake(&self, which: impl Fn(&Slot) -> bool) {
        let mut wakers = Vec::new();
        for slot in &mut self.slots.borrow_mut().list {
            if slot.waker.is_some() && which(slot) {
                wakers.extend(slot.waker.take());
            }
        }
        // Not while the table is borrowed: waking may drop a task, which gives its slot back.
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Deadline {
    /// Sets the deadline so long from now, whatever it was.
    pub fn set(&self, wait: Duration) {
        self.set_at(self.timers.after(wait));
    }

    /// Sets the deadline to a time from [`Timers::after`], or to [`NEVER`].
    pub fn set_at(&self, at: Millis) {
        self.with(|slot| slot.at = at);
    }

    /// The same, while the task is idle: it may be asked to end (see [`Self::is_shed`]).
    pub fn set_idle(&self, wait: Duration) {
        let at = self.timers.after(wait);
        self.with(|slot| (slot.at, slot.idle) = (at, true));
    }

    /// The task is not idle any more, and has no deadline.
    pub fn set_busy(&self) {
        self.with(|slot| (slot.at, slot.idle, slot.shed) = (NEVER, false, false));
    }

    /// True if the task was asked to end while it was idle.
    pub fn is_shed(&self) -> bool {
        let slots = self.timers.slots.borrow();
        slots.list.get(self.slot).is_some_and(|slot| slot.shed)
    }

    /// The table.
    pub fn timers(&self) -> &Rc<Timers> {
        &self.timers
    }

    /// Ready when the deadline has come. Also registers the task to be woken for [`Timers::wake_all`]
    /// and [`Timers::shed`].
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut slots = self.timers.slots.borrow_mut();
        let Some(slot) = slots.list.get_mut(self.slot) else {
            return Poll::Pending;
        };
        if slot.at <= self.timers.now.get() {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn with(&self, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.timers.slots.borrow_mut().list.get_mut(self.slot) {
            change(slot);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut slots = self.timers.slots.borrow_mut();
        if let Some(slot) = slots.list.get_mut(self.slot) {
            *slot = FRESH;
        }
        slots.free.push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn fires_after_its_time_and_not_before() {
        let timers = Timers::new();
        let deadline = timers.deadline();
        let (count, waker) = task();
        let cx = Context::from_waker(&waker);
        deadline.set(Duration::ZERO);
        assert!(deadline.poll(&cx).is_pending());
        timers.tick();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        std::thread::sleep(TICK);
        timers.tick();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(deadline.poll(&cx).is_ready());
        deadline.set_at(NEVER);
        assert!(deadline.poll(&cx).is_pending());
    }

    #[test]
    fn sheds_the_longest_idle() {
        let timers = Timers::new();
        let deadlines: Vec<_> = (0..4).map(|_| timers.deadline()).collect();
        let (count, waker) = task();
        for (i, deadline) in deadlines.iter().enumerate() {
            deadline.set_idle(Duration::from_secs(10 - i as u64));
            assert!(deadline.poll(&Context::from_waker(&waker)).is_pending());
        }
        deadlines[3].set_busy();
        assert_eq!(timers.shed(2), 2);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        let shed: Vec<_> = deadlines.iter().map(Deadline::is_shed).collect();
        assert_eq!(shed, [false, true, true, false]);
        assert_eq!(timers.shed(9), 1);
    }

    #[test]
    fn slots_are_reused() {
        let timers = Timers::new();
        let first = timers.deadline();
        first.set(Duration::ZERO);
        drop(first);
        let second = timers.deadline();
        assert_eq!(second.slot, 0);
        let (_, waker) = task();
        timers.now.set(1_000);
        assert!(second.poll(&Context::from_waker(&waker)).is_pending());
    }
}
