//! The files that the configuration is made of, watched: what changes is read again by itself.
//!
//! Events only say when to look. What counts is whether a file is another than when it was read last, so nothing is
//! missed for good if events are, and nothing is read twice because of them.
//!
//! Looking at a directory of certificates takes time in proportion to what is in it. Therefore the time between two
//! looks grows with what the last one took.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use umay_core::config::Purpose;

use crate::discover::watch::FileWatch;
use crate::stamp::{Stamp, stamp};
use crate::tls;

/// Files are looked at as often as this if nothing is heard of them.
const LOOK: Duration = Duration::from_secs(5);

/// If looking takes long they are not looked at as often: at most for this part of the time if nothing is heard of
/// them, and for that part if something is heard without an end.
const UNHEARD_PART: u32 = 500;
const HEARD_PART: u32 = 20;

/// However long it takes, they are looked at as often as this.
const SELDOM: Duration = Duration::from_secs(60);

/// So long nothing more must change before they are read: one change can be of several files.
const SETTLE: Duration = Duration::from_millis(100);

/// Files that change without an end are read all the same after so many times [`SETTLE`].
const SETTLES: u32 = 20;

/// What could not be used may be half written: it is read again after this, so many times in all, before it is told.
const AGAIN: Duration = Duration::from_millis(400);
const TRIES: u32 = 5;

/// How a file is, or all that count in a directory of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    File(Stamp),
    Directory(u64),
}

/// How they all are, the subdirectories of directories of certificates, and how long it took to find out.
struct Look {
    states: Vec<State>,
    subdirectories: Vec<PathBuf>,
    took: Duration,
}

/// Watches files; those of nobody until it is told which.
#[derive(Default)]
pub(super) struct ConfigWatch {
    watch: Option<FileWatch>,
    files: Vec<(PathBuf, Purpose, State)>,
    /// Times that what is there now could not be used.
    failed: u32,
}

impl ConfigWatch {
    /// Watches these from now on; none ends it. Those that it knew already are held against how they were when they
    /// were noted.
    pub(super) fn follow(&mut self, files: &[(PathBuf, Purpose)]) {
        let known = |path: &Path| self.files.iter().find(|(have, ..)| have == path);
        let noted = |(path, purpose): &(PathBuf, Purpose)| match known(path) {
            Some(file) => file.clone(),
            None => {
                let (state, _) = state(path, *purpose);
                (path.clone(), *purpose, state)
            }
        };
        self.files = files.iter().map(noted).collect();
        self.failed = 0;
        let paths: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
        match &mut self.watch {
            _ if files.is_empty() => self.watch = None,
            Some(watch) => watch.set_paths(&paths),
            none => *none = Some(FileWatch::new(&paths)),
        }
    }

    /// Notes how the files are; to be called before they are read.
    pub(super) fn note(&mut self) {
        for (path, purpose, then) in &mut self.files {
            (*then, _) = state(path, *purpose);
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
        let then: Vec<State> = self.files.iter().map(|(.., then)| *then).collect();
        let mut last = look(&self.files);
        while last.states == then {
            if watch.set_directories(&directories(&self.files, &last)) {
                // What has changed there before nobody has heard.
                last = look(&self.files);
                continue;
            }
            sleep((last.took * HEARD_PART).min(LOOK)).await;
            watch
                .changed((last.took * UNHEARD_PART).clamp(LOOK, SELDOM))
                .await;
            last = look(&self.files);
        }
        for _ in 0..SETTLES {
            sleep(SETTLE.max(last.took)).await;
            let before = std::mem::replace(&mut last, look(&self.files));
            if before.states == last.states {
                break;
            }
        }
    }
}

fn state(path: &Path, purpose: Purpose) -> (State, Vec<PathBuf>) {
    if purpose == Purpose::Certificate && path.is_dir() {
        let (state, subdirectories) = tls::state_of_directory(path);
        return (State::Directory(state), subdirectories);
    }
    (State::File(stamp(path)), Vec::new())
}

fn look(files: &[(PathBuf, Purpose, State)]) -> Look {
    let started = Instant::now();
    let mut subdirectories = Vec::new();
    let states = files.iter().map(|(path, purpose, _)| {
        let (state, more) = state(path, *purpose);
        subdirectories.extend(more);
        state
    });
    Look {
        states: states.collect(),
        subdirectories,
        took: started.elapsed(),
    }
}

/// The directories in which everything counts.
fn directories(files: &[(PathBuf, Purpose, State)], look: &Look) -> Vec<PathBuf> {
    let all = files.iter().zip(&look.states);
    let directories = all.filter(|(_, state)| matches!(state, State::Directory(_)));
    let directories = directories.map(|((path, ..), _)| path.clone());
    directories
        .chain(look.subdirectories.iter().cloned())
        .collect()
}
