//! The memory of one exchange, lent by the worker and used again: an idle connection has none.

use std::cell::RefCell;

use umay_core::message::{Request, Response};

use super::body::Outgoing;

/// Heads and what is to be written.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) request: Request,
    pub(super) response: Response,
    pub(super) up: Outgoing,
    pub(super) down: Outgoing,
}

impl Scratch {
    /// Forgets what was to be written.
    pub(super) fn clear(&mut self) {
        self.up.clear();
        self.down.clear();
    }
}

/// What is free.
#[derive(Debug, Default)]
#[expect(
    clippy::vec_box,
    reason = "moved in and out whole; the box is what is reused"
)]
pub(super) struct Scratches(RefCell<Vec<Box<Scratch>>>);

impl Scratches {
    /// Kept for reuse, at most.
    const KEPT: usize = 256;

    pub(super) fn take(&self) -> Box<Scratch> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, mut scratch: Box<Scratch>) {
        let mut free = self.0.borrow_mut();
        if free.len() < Self::KEPT {
            scratch.request.clear();
            scratch.response.clear();
            scratch.clear();
            free.push(scratch);
        }
    }
}
