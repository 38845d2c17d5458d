//! Files: read with a cap, and watched through their directories.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// So long nothing more must happen to a file before it is read: one change is several events.
const SETTLE: Duration = Duration::from_millis(50);

/// A file that changes without an end is read all the same after so many times [`SETTLE`].
const SETTLES: u32 = 10;

/// Reads a regular file of at most `most` bytes.
pub(super) fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    let read = File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= most) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("has more than {most} bytes")))
    }
}

/// What events are listened to for; shared with the watcher's thread.
#[derive(Default)]
struct Wanted {
    /// Names of files.
    names: BTreeSet<OsString>,
    /// Directories in which each file counts.
    whole: BTreeSet<PathBuf>,
}

/// So many directories are watched as a whole; the kernel gives a user only so many watches.
const MOST_WHOLE: usize = 1000;

/// Watches the directories that files are in, and those that they lead to if they are links: a watch on a
/// file itself goes deaf when another takes its place, as in a volume of a Kubernetes ConfigMap.
pub(crate) struct FileWatch {
    paths: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    /// Directories in which each file counts.
    whole: BTreeSet<PathBuf>,
    dirs: BTreeSet<PathBuf>,
    /// The files' names, and those of the ones that they lead to.
    wanted: Arc<Mutex<Wanted>>,
    heard: mpsc::Receiver<()>,
}

impl FileWatch {
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let (tell, heard) = mpsc::channel(1);
        let wanted = Arc::<Mutex<Wanted>>::default();
        let heard_of = Arc::clone(&wanted);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event, &heard_of)) {
                // If it is full, a change waits to be looked at already.
                let _ = tell.try_send(());
            }
        });
        let mut watch = Self {
            paths: paths.to_vec(),
            watcher: None,
            whole: BTreeSet::new(),
            dirs: BTreeSet::new(),
            wanted,
            heard,
        };
        match watcher {
            Ok(watcher) => watch.watcher = Some(watcher),
            // The kernel gives a user only so many of them.
            Err(error) => tracing::info!(%error, "files are looked at now and then, not watched"),
        }
        watch
    }

    /// Watches these instead.
    pub(crate) fn set_paths(&mut self, paths: &[PathBuf]) {
        self.paths = paths.to_vec();
        self.follow();
    }

    /// Also watches these directories from now on, whatever is in them, and no others; the first thousand of them.
    /// True if something is watched that was not before.
    pub(crate) fn set_directories(&mut self, directories: &[PathBuf]) -> bool {
        let real = directories.iter().take(MOST_WHOLE);
        self.whole = real.filter_map(|dir| dir.canonicalize().ok()).collect();
        self.follow()
    }

    /// Waits until something has happened to the files and is over, or until `most` has passed; tells
    /// whether something was heard.
    pub(crate) async fn changed(&mut self, most: Duration) -> bool {
        self.follow();
        if self.watcher.is_none() {
            sleep(most).await;
            return false;
        }
        if timeout(most, self.heard.recv()).await.is_err() {
            return false;
        }
        for _ in 0..SETTLES {
            if timeout(SETTLE, self.heard.recv()).await.is_err() {
                break;
            }
        }
        true
    }

    /// Watches the directories where the files are now. True if one is new.
    fn follow(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let parent = |path: &Path| {
            let parent = path.parent()?;
            // A bare name is in the directory that the process is in.
            let here = parent.as_os_str().is_empty();
            Some(if here { ".".into() } else { parent.to_owned() })
        };
        let real = self.paths.iter().flat_map(|path| path.canonicalize());
        let all: Vec<PathBuf> = self.paths.iter().cloned().chain(real).collect();
        let name = |path: &PathBuf| path.file_name().map(OsStr::to_owned);
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Wanted {
            names: all.iter().filter_map(name).collect(),
            whole: self.whole.clone(),
        };
        let dirs = all.iter().filter_map(|path| parent(path));
        let dirs: BTreeSet<PathBuf> = dirs.chain(self.whole.iter().cloned()).collect();
        for gone in self.dirs.difference(&dirs) {
            // It may be removed already, and the watch with it.
            let _ = watcher.unwatch(gone);
        }
        let new: Vec<&PathBuf> = dirs.difference(&self.dirs).collect();
        let failed: BTreeSet<PathBuf> = new
            .into_iter()
            .filter(|dir| watcher.watch(dir, RecursiveMode::NonRecursive).is_err())
            .cloned()
            .collect();
        // Those that are not there yet are tried again when the file is looked at next.
        let dirs: BTreeSet<PathBuf> = dirs.difference(&failed).cloned().collect();
        let is_new = dirs.difference(&self.dirs).next().is_some();
        self.dirs = dirs;
        is_new
    }
}

/// Whether an event is about the file: by its name, or about a link of Kubernetes' own (`..data`), or
/// about we do not know what. Reading the file makes events too, which must not lead to reading.
fn concerns(event: &Event, wanted: &Mutex<Wanted>) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    let wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
    let about = |path: &PathBuf| {
        let is_inside = path.parent().is_some_and(|dir| wanted.whole.contains(dir));
        let is_wanted = |name: &OsStr| {
            wanted.names.contains(name) || name.as_encoded_bytes().starts_with(b"..")
        };
        is_inside || path.file_name().is_none_or(is_wanted)
    };
    event.paths.is_empty() || event.paths.iter().any(about)
}
