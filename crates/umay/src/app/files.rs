//! The files that the configuration is made of, watched: what changes is read again by itself.
//!
//! Events only say when to look. What counts is whether a file is another than when it was read last, so nothing is
//! missed for good if events are, and nothing is read twice because of them.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::discover::watch::{FileWatch, Stamp, stamp};

/// Files are looked at as often as this if nothing is heard of them.
const LOOK: Duration = Duration::from_secs(5);

/// So long nothing more must change before they are read: one change can be of several files.
const SETTLE: Duration = Duration::from_millis(100);

/// Files that change without an end are read all the same after so many times [`SETTLE`].
const SETTLES: u32 = 20;

/// What could not be used may be half written: it is read again after this, so many times in all, before it is told.
const AGAIN: Duration = Duration::from_millis(400);
const TRIES: u32 = 3;

/// Watches files; those of nobody until it is told which.
#[derive(Default)]
pub(super) struct ConfigWatch {
    watch: Option<FileWatch>,
    files: Vec<(PathBuf, Stamp)>,
    /// Times that what is there now could not be used.
    failed: u32,
}

impl ConfigWatch {
    /// Watches these from now on; none ends it. Those that it knew already are held against how they were when they
    /// were noted.
    pub(super) fn follow(&mut self, files: &[PathBuf]) {
        let known = |path: &PathBuf| self.files.iter().find(|(have, _)| have == path);
        let stamped = |path: &PathBuf| match known(path) {
            Some(file) => file.clone(),
            None => (path.clone(), stamp(path)),
        };
        self.files = files.iter().map(stamped).collect();
        self.failed = 0;
        match &mut self.watch {
            _ if files.is_empty() => self.watch = None,
            Some(watch) => watch.set_paths(files),
            none => *none = Some(FileWatch::new(files)),
        }
    }

    /// Notes how the files are; to be called before they are read.
    pub(super) fn note(&mut self) {
        for (path, then) in &mut self.files {
            *then = stamp(path);
        }
    }

    /// They could not be used. True if they are to be read again before that is told.
    pub(super) fn is_to_try_again(&mut self) -> bool {
        self.failed = (self.failed + 1) % TRIES;
        self.failed > 0
    }

    /// Returns when the files are to be read again. To be dropped and called again as one likes.
    pub(super) async fn changed(&mut self) {
        if self.failed > 0 {
            return sleep(AGAIN).await;
        }
        let Some(watch) = &mut self.watch else {
            return std::future::pending().await;
        };
        let now = |files: &[(PathBuf, Stamp)]| -> Vec<Stamp> {
            files.iter().map(|(path, _)| stamp(path)).collect()
        };
        let then: Vec<Stamp> = self.files.iter().map(|(_, then)| *then).collect();
        let mut last = now(&self.files);
        while last == then {
            watch.changed(LOOK).await;
            last = now(&self.files);
        }
        for _ in 0..SETTLES {
            sleep(SETTLE).await;
            let before = std::mem::replace(&mut last, now(&self.files));
            if before == last {
                break;
            }
        }
    }
}
