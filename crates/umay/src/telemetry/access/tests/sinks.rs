//! A writer that is slow, broken or stopped, and files.

use std::sync::atomic::Ordering::Relaxed;

use super::super::writer::{QUEUE, WAITING};
use super::*;

fn start(access: model::AccessLog, dropped: &SharedCounter) -> io::Result<Option<AccessWriter>> {
    let log = Log {
        access,
        ..Log::default()
    };
    AccessWriter::start(&log, &Privacy::default(), None, dropped.clone())
}

/// A sink that waits for permission before each write.
struct Gate {
    open: Receiver<()>,
    arrived: Sender<()>,
    kept: Kept,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.arrived.send(()).unwrap();
        // When the test lets go of its end, the gate stays open.
        let _ = self.open.recv();
        self.kept.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer that holds a batch with one line and waits for `open` to be dropped.
struct Stuck {
    open: Sender<()>,
    kept: Kept,
    dropped: SharedCounter,
    writer: AccessWriter,
    log: AccessLog,
    /// Told of each write.
    _arrivals: Receiver<()>,
}

fn stuck() -> Stuck {
    let (open, gate) = channel();
    let (arrived, arrivals) = channel();
    let kept = Kept::default();
    let dropped = SharedCounter::default();
    let sink = Gate {
        open: gate,
        arrived,
        kept: kept.clone(),
    };
    let writer = writer(sink, &dropped);
    let log = writer.handle();
    log.http(&bare());
    log.flush();
    arrivals.recv_timeout(PATIENCE).unwrap();
    Stuck {
        open,
        kept,
        dropped,
        writer,
        log,
        _arrivals: arrivals,
    }
}

#[test]
fn a_writer_that_is_stuck_costs_lines_not_time() {
    let stuck = stuck();
    // The writer holds one batch; so many wait; all beyond that is lost.
    for _ in 0..QUEUE + 44 {
        stuck.log.http(&bare());
        stuck.log.http(&bare());
        stuck.log.flush();
    }
    assert_eq!(stuck.dropped.get(), 2 * 44);
    assert!(!stuck.writer.reopen());
    drop(stuck.open);
    drop(stuck.log);
    assert!(stuck.writer.stop(PATIENCE));
    assert_eq!(stuck.kept.values().len(), 1 + 2 * QUEUE);
}

#[test]
fn what_waits_is_bounded_by_the_memory_that_it_takes() {
    let stuck = stuck();
    // Full batches, so many that those before the last would not have been too many.
    let path = [b'p'; LONGEST];
    let long = HttpEntry {
        path: &path,
        ..bare()
    };
    let mut lines = 1;
    while stuck.dropped.get() == 0 {
        stuck.log.http(&long);
        lines += 1;
        assert!(lines * LONGEST < 2 * WAITING, "nothing is dropped");
    }
    let lost = usize::try_from(stuck.dropped.get()).unwrap();
    drop(stuck.open);
    drop(stuck.log);
    assert!(stuck.writer.stop(PATIENCE));
    let written = stuck.kept.text();
    assert_eq!(written.lines().count(), lines - lost);
    assert!((WAITING / 2..WAITING).contains(&written.len()));
}

#[test]
fn what_was_written_makes_room() {
    let kept = Kept::default();
    let dropped = SharedCounter::default();
    let writer = writer(kept.clone(), &dropped);
    let log = writer.handle();
    let path = [b'p'; LONGEST];
    let long = HttpEntry {
        path: &path,
        ..bare()
    };
    // Twice as many bytes as may wait, with a pause for the writer before there are too many.
    let rounds = 2 * WAITING / LONGEST;
    for round in 1..=rounds {
        log.http(&long);
        if round % 500 == 0 {
            log.flush();
            let deadline = Instant::now() + PATIENCE;
            while writer.shared.waiting.load(Relaxed) > 0 {
                assert!(Instant::now() < deadline, "nothing is written");
                std::thread::yield_now();
            }
        }
    }
    drop(log);
    assert!(writer.stop(PATIENCE));
    assert_eq!(kept.text().lines().count(), rounds);
    assert_eq!(dropped.get(), 0);
}

#[test]
fn a_stuck_writer_does_not_hold_up_the_end() {
    let (_open, gate) = channel();
    let (arrived, arrivals) = channel();
    let sink = Gate {
        open: gate,
        arrived,
        kept: Kept::default(),
    };
    let writer = writer(sink, &SharedCounter::default());
    let log = writer.handle();
    log.http(&bare());
    log.flush();
    arrivals.recv_timeout(PATIENCE).unwrap();
    assert!(!writer.stop(Duration::from_millis(20)));
    // A handle that outlives the writer is harmless.
    log.http(&bare());
    log.flush();
}

/// A sink whose second write stops in the middle and fails, as on a full disk.
struct Flaky {
    writes: usize,
    kept: Kept,
}

impl Write for Flaky {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        match self.writes {
            2 => self.kept.write(&bytes[..bytes.len() / 2]),
            3 => Err(io::ErrorKind::StorageFull.into()),
            _ => self.kept.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_torn_line_does_not_spoil_the_next() {
    let kept = Kept::default();
    let dropped = SharedCounter::default();
    let sink = Flaky {
        writes: 0,
        kept: kept.clone(),
    };
    let writer = writer(sink, &dropped);
    let log = writer.handle();
    for _ in 0..3 {
        log.http(&bare());
        log.flush();
    }
    drop(log);
    assert!(writer.stop(PATIENCE));
    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    let whole: Vec<bool> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).is_ok())
        .collect();
    assert_eq!(whole, [true, false, true]);
    assert_eq!(dropped.get(), 1);
}

/// A directory of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("umay-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_appended_to_and_opened_anew() {
    let scratch = Scratch::new("access-log");
    let (path, rotated) = (scratch.0.join("access.log"), scratch.0.join("access.log.1"));
    let target = model::AccessLog::File(path.clone());
    let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    for round in 1..=2 {
        let writer = start(target.clone(), &SharedCounter::default())
            .unwrap()
            .unwrap();
        writer.handle().http(&bare());
        assert!(writer.stop(PATIENCE));
        assert_eq!(lines(&path), round);
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);

    let writer = start(target.clone(), &SharedCounter::default())
        .unwrap()
        .unwrap();
    fs::rename(&path, &rotated).unwrap();
    writer.handle().http(&bare());
    assert!(writer.reopen());
    writer.handle().http(&bare());
    assert!(writer.stop(PATIENCE));
    assert_eq!((lines(&rotated), lines(&path)), (3, 1));
}

#[test]
fn off_is_off_and_a_bad_path_is_an_error() {
    let dropped = SharedCounter::default();
    assert!(start(model::AccessLog::Off, &dropped).unwrap().is_none());
    let log = AccessLog::off();
    assert!(!log.is_on());
    log.http(&bare());
    log.flush();
    let nowhere = model::AccessLog::File("/nonexistent/access.log".into());
    assert!(start(nowhere, &dropped).is_err());
}

#[test]
fn steady_state_allocates_no_buffers() {
    let writer = writer(io::sink(), &SharedCounter::default());
    let shared = &writer.shared;
    let buffer = shared.buffer();
    let address = buffer.as_ptr();
    shared.keep(buffer);
    let again = shared.buffer();
    assert_eq!(again.as_ptr(), address);
    // One that a flood of long values has blown up is not kept.
    let blown = Vec::with_capacity(1 << 20);
    shared.keep(blown);
    assert!(shared.buffer().capacity() < 1 << 20);
    // Nor is one that a few lines fitted into.
    shared.keep(Vec::with_capacity(100));
    assert!(shared.buffer().capacity() > BATCH);
}
