//! Connections to an endpoint that wait to be used again, those first that were used last: so the
//! fewest are kept warm, and the others grow old and go.

use std::rc::Rc;

use super::room::Berth;
use super::{Awaited, Local, Share, Took};
use crate::conn::{Conn, Millis, Timers};
use crate::worker::Worker;

/// One worker's idle connections to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Vec<Idle>,
    cap: usize,
}

#[derive(Debug)]
struct Idle {
    conn: Conn,
    berth: Option<Berth>,
    until: Millis,
    kept: Kept,
}

/// Counts an idle connection, and its end if nobody takes it.
#[derive(Debug)]
struct Kept {
    worker: Rc<Worker>,
    taken: bool,
}

impl Kept {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.metrics.pool.idle.up();
        Self {
            worker: Rc::clone(worker),
            taken: false,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.worker.metrics.pool.idle.down();
        if !self.taken {
            self.worker.metrics.pool.closed.inc();
        }
    }
}

impl Pool {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            idle: Vec::new(),
            cap,
        }
    }

    pub(super) fn take(&mut self) -> Option<(Conn, Option<Berth>)> {
        self.idle.pop().map(Idle::into_parts)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// Closes the one that has waited longest. False if there is none.
    pub(super) fn forget_one(&mut self) -> bool {
        (!self.idle.is_empty())
            .then(|| self.idle.remove(0))
            .is_some()
    }

    pub(super) fn clear(&mut self) {
        self.idle.clear();
    }

    pub(super) fn sweep(&mut self, timers: &Timers) {
        self.idle
            .retain_mut(|idle| !timers.is_past(idle.until) && idle.conn.is_quiet());
    }
}

impl Idle {
    fn into_parts(mut self) -> (Conn, Option<Berth>) {
        self.kept.taken = true;
        (self.conn, self.berth)
    }
}

/// A connection to an endpoint, in use.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub conn: Conn,
    /// It comes from the pool, so the endpoint may have closed it meanwhile.
    pub reused: bool,
    /// How long it took to open; `None` if it was open.
    pub connect: Option<Took>,
    /// What is waited for, if it is a stream of HTTP/2.
    pub awaited: Option<Awaited>,
    berth: Option<Berth>,
    life: Life,
}

/// Counts the end of a connection that was opened, unless somebody else takes that over: the pool, or who drives a
/// connection of HTTP/2.
#[derive(Debug)]
pub(super) struct Life(Option<(Rc<Share>, Rc<Local>)>);

impl Life {
    pub(super) fn new(share: &Rc<Share>, local: &Rc<Local>) -> Self {
        Self(Some((Rc::clone(share), Rc::clone(local))))
    }

    /// Somebody else counts it.
    pub(super) fn hand_over(mut self) {
        self.0 = None;
    }
}

impl Link {
    pub(super) fn new(conn: Conn, berth: Option<Berth>, life: Life) -> Self {
        Self {
            conn,
            berth,
            reused: false,
            connect: None,
            awaited: None,
            life,
        }
    }

    pub(super) fn on_stream(
        conn: Conn,
        awaited: Awaited,
        reused: bool,
        connect: Option<Took>,
    ) -> Self {
        Self {
            conn,
            berth: None,
            reused,
            connect,
            awaited: Some(awaited),
            life: Life(None),
        }
    }

    /// Puts the connection into the pool. The caller vouches that the last answer on it is complete
    /// and that the endpoint keeps it open.
    pub fn put_back(mut self) {
        let Some((share, local)) = self.life.0.take() else {
            return;
        };
        let worker = &share.worker;
        let mut pool = local.pool.borrow_mut();
        let queue = &share.upstream.room.queue;
        let wanted = self.berth.is_some() && queue.is_for_others(worker.index);
        if local.left.get() || wanted || pool.idle.len() >= pool.cap {
            worker.metrics.pool.closed.inc();
            return;
        }
        pool.idle.push(Idle {
            conn: self.conn,
            berth: self.berth,
            until: worker.timers.after(worker.timeouts.upstream_idle),
            kept: Kept::new(worker),
        });
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some((share, _)) = &self.0 {
            share.worker.metrics.pool.closed.inc();
        }
    }
}
