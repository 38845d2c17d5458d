//! The end of a worker's life, in order, and the count of what it still has to finish.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// How far the end has come. Every phase includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Work is welcome.
    #[default]
    Open,
    /// Readiness is off, connections are still accepted; answers say `Connection: close`.
    Leaving,
    /// Another process accepts in place of this one. What is open may go on; HTTP ends with its next answer, or when
    /// it has been idle for as long as it may, so that no request meets a connection that is being closed.
    Succeeded,
    /// No connection is accepted, idle ones are closed, the others may finish.
    Draining,
    /// What is left is cut.
    Cutting,
}

/// A worker's view of the end.
#[derive(Debug, Default)]
pub struct Drain {
    phase: Cell<Phase>,
    open: Cell<usize>,
    empty: Notify,
}

impl Drain {
    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters a phase; there is no way back.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase.max(self.phase.get()));
    }

    /// Counts a connection until the guard is dropped.
    pub fn hold(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(Rc::clone(self))
    }

    /// Waits until no connection is open.
    pub async fn emptied(&self) {
        while self.open.get() > 0 {
            self.empty.notified().await;
        }
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Open(Rc<Drain>);

impl Drop for Open {
    fn drop(&mut self) {
        let open = self.0.open.get() - 1;
        self.0.open.set(open);
        if open == 0 {
            self.0.empty.notify_one();
        }
    }
}
