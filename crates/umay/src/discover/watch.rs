//! Files: read with a cap, and watched through their directories.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
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

/// What tells that a file is another than before: the time of its last change, its size, and which file
/// it is. `None` if there is none.
pub(crate) type Stamp = Option<(i64, i64, u64, u64)>;

/// A file's stamp now.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    // Not the time of modification, which can be set.
    Some((found.ctime(), found.ctime_nsec(), found.len(), found.ino()))
}

/// The file names that events are listened to for; shared with the watcher's thread.
type Names = Arc<Mutex<BTreeSet<OsString>>>;

/// Watches the directories that files are in, and those that they lead to if they are links: a watch on a
/// file itself goes deaf when another takes its place, as in a volume of a Kubernetes ConfigMap.
pub(crate) struct FileWatch {
    paths: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    dirs: BTreeSet<PathBuf>,
    /// The files' own, and those of the ones that they lead to.
    names: Names,
    heard: mpsc::Receiver<()>,
}

impl FileWatch {
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let (tell, heard) = mpsc::channel(1);
        let names = Names::default();
        let heard_of = Arc::clone(&names);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event, &heard_of)) {
                // If it is full, a change waits to be looked at already.
                let _ = tell.try_send(());
            }
        });
        let mut watch = Self {
            paths: paths.to_vec(),
            watcher: None,
            dirs: BTreeSet::new(),
            names,
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

    /// Watches the directories where the files are now.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
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
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) =
            all.iter().filter_map(name).collect();
        let dirs: BTreeSet<PathBuf> = all.iter().filter_map(|path| parent(path)).collect();
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
        self.dirs = dirs.difference(&failed).cloned().collect();
    }
}

/// Whether an event is about the file: by its name, or about a link of Kubernetes' own (`..data`), or
/// about we do not know what. Reading the file makes events too, which must not lead to reading.
fn concerns(event: &Event, names: &Names) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
    let about = |path: &PathBuf| {
        let name = path.file_name();
        name.is_none_or(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."))
    };
    event.paths.is_empty() || event.paths.iter().any(about)
}
