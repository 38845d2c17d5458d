//! Read buffers: a free list per worker, so that a connection holds one only while bytes wait in it.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// Size of a buffer unless heads may be larger: 32 KiB. With 16 KiB, an answer of 16 KiB takes two
/// calls; see the measurements in `docs/decisions/0001`.
pub const DEFAULT_SIZE: usize = 32 * 1024;

/// Buffers that are kept for reuse, at most: 8 MiB per worker.
const KEPT: usize = 256;

/// The free buffers of one worker.
#[derive(Debug)]
pub struct Buffers {
    size: usize,
    free: RefCell<Vec<Box<[u8]>>>,
}

impl Buffers {
    /// Buffers of `size` bytes.
    pub fn new(size: usize) -> Rc<Self> {
        Rc::new(Self {
            size,
            free: RefCell::default(),
        })
    }

    /// An empty buffer.
    pub fn take(self: &Rc<Self>) -> Buffer {
        let bytes = self.free.borrow_mut().pop();
        Buffer {
            bytes: bytes.unwrap_or_else(|| vec![0; self.size].into_boxed_slice()),
            start: 0,
            end: 0,
            home: Rc::clone(self),
        }
    }
}

/// Bytes that were read and not used yet. Goes back to its worker's free list when dropped.
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    home: Rc<Buffers>,
}

impl Buffer {
    /// The bytes that wait.
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The same, to be changed in place.
    pub fn unread_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Bytes by their place in [`Self::unread`].
    pub fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.unread().get(range.clone()).unwrap_or_default()
    }

    /// Room behind them.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// True if there is no room behind them.
    pub fn is_full(&self) -> bool {
        self.end == self.bytes.len()
    }

    /// Adds bytes that were written to the room behind.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Takes bytes off the front.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves what waits to the front, so that there is room behind it.
    pub fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.home.free.borrow_mut();
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.end - self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_and_go() {
        let buffers = Buffers::new(8);
        let mut buffer = buffers.take();
        buffer.spare_mut()[..5].copy_from_slice(b"hello");
        buffer.filled(5);
        assert_eq!(buffer.unread(), b"hello");
        buffer.consume(2);
        assert_eq!(buffer.slice(&(1..3)), b"lo");
        buffer.filled(99);
        assert!(buffer.is_full());
        buffer.compact();
        assert_eq!((buffer.unread().len(), buffer.spare_mut().len()), (6, 2));
        buffer.consume(99);
        assert_eq!(buffer.spare_mut().len(), 8);
        drop(buffer);
        assert_eq!(buffers.free.borrow().len(), 1);
        drop(buffers.take());
        assert_eq!(buffers.free.borrow().len(), 1);
    }
}
