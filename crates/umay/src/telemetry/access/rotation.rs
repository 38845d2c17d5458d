//! The access log's file: put aside at midnight or when it is large, and deleted when it is old.
//!
//! What is put aside is noted, with its inode, in a list beside it. Only what is in that list is ever deleted, and
//! only while it is still the same file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use umay_core::model::Rotate;
use umay_core::privacy::day_of;

use super::clock::rfc3339;

/// Seconds of a day.
const DAY: u64 = 86_400;
/// How often it is looked whether there is something to delete.
const SWEEP: Duration = Duration::from_secs(60);
/// Files of one day.
const MOST: u32 = 100_000;
/// The first line of the list.
const TITLE: &str = "# Files that Umay has put aside, with their inodes. It deletes no others.\n";

/// The log's file.
pub(super) struct LogFile {
    file: File,
    /// As configured, to be opened anew.
    path: PathBuf,
    rotate: Rotate,
    retention: Option<Duration>,
    /// Bytes in the file.
    size: u64,
    /// The day that its lines are of.
    day: u64,
    swept: Option<SystemTime>,
}

impl LogFile {
    pub(super) fn open(
        path: &Path,
        rotate: Rotate,
        retention: Option<Duration>,
        now: SystemTime,
    ) -> io::Result<Self> {
        let file = open(path)?;
        let is_file = file.metadata()?.is_file();
        if !is_file && (rotate != Rotate::Off || retention.is_some()) {
            tracing::warn!(path = %path.display(), "the access log is no ordinary file: it is not put aside, and nothing is deleted");
        }
        let mut log = Self {
            file,
            path: path.to_owned(),
            rotate: if is_file { rotate } else { Rotate::Off },
            retention: retention.filter(|_| is_file),
            size: 0,
            day: 0,
            swept: None,
        };
        log.measure(now)?;
        Ok(log)
    }

    /// As configured.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds out how much is in the file, and of which day it is.
    fn measure(&mut self, now: SystemTime) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        self.size = metadata.len();
        let written = metadata.modified().ok().filter(|_| self.size > 0);
        self.day = day_of(seconds(written.unwrap_or(now)));
        Ok(())
    }

    /// Opens the file anew. True if that worked.
    pub(super) fn reopen(&mut self, now: SystemTime) -> bool {
        let opened = open(&self.path).and_then(|file| {
            self.file = file;
            self.measure(now)
        });
        if let Err(error) = &opened {
            let path = self.path.display();
            tracing::error!(%error, %path, "the access log cannot be opened anew; the old file stays in use");
        }
        opened.is_ok()
    }

    /// Puts the file aside if it is time, and deletes what is old. Returns how long neither will have to be done;
    /// `None` if they never will.
    pub(super) fn look_after(&mut self, now: SystemTime) -> Option<Duration> {
        if self.rotate == Rotate::Off {
            return None;
        }
        if self.is_due(now) {
            self.turn(now);
        }
        let second = seconds(now);
        let midnight = Duration::from_secs(DAY - second % DAY);
        let Some(retention) = self.retention else {
            return Some(midnight);
        };
        let since = self.swept.and_then(|swept| now.duration_since(swept).ok());
        if since.is_none_or(|since| since >= SWEEP) {
            self.swept = Some(now);
            if let Err(error) = sweep(&self.path, second, retention) {
                let path = self.path.display();
                tracing::error!(%error, %path, "old files of the access log cannot be deleted");
            }
        }
        Some(midnight.min(SWEEP))
    }

    fn is_due(&mut self, now: SystemTime) -> bool {
        let today = day_of(seconds(now));
        if self.size == 0 {
            self.day = today;
        }
        let large = matches!(self.rotate, Rotate::Size(most) if self.size >= most);
        self.day != today || large
    }

    /// Puts the file aside and begins another. If that does not work, the old one goes on until the next time.
    fn turn(&mut self, now: SystemTime) {
        // Somebody else may have put it aside, such as the process that took this one's place.
        let is_there = match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(own)) => (there.dev(), there.ino()) == (own.dev(), own.ino()),
            _ => false,
        };
        if is_there && let Err(error) = put_aside(&self.path, &self.file, self.day) {
            let path = self.path.display();
            tracing::error!(%error, %path, "the access log cannot be put aside; it goes on");
            (self.day, self.size) = (day_of(seconds(now)), 0);
            if self.path.exists() {
                return;
            }
        }
        self.reopen(now);
        self.swept = None;
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}

/// `2026-11-23`.
fn date(day: u64) -> String {
    let mut text = rfc3339(day * DAY);
    text.truncate(10);
    text
}

/// The day of a date, and what comes after it.
fn day_in(text: &str) -> Option<(u64, &str)> {
    let (text, rest) = text.split_at_checked(10)?;
    let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    // Near enough: from there the date is looked for.
    let guess = (year.checked_sub(1970)? * 1461 / 4 + month * 30 + day).saturating_sub(40);
    let found = (guess..guess + 80).find(|day| date(*day) == text)?;
    Some((found, rest))
}

/// The name of a file that was put aside, behind that of the log: `.2026-11-23`, or `.2026-11-23.7`.
fn aside(path: &Path, day: u64, at: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", date(day)));
    if at > 0 {
        name.push(format!(".{at}"));
    }
    name.into()
}

/// Renames the file to a name that nothing has, and notes it. What cannot be noted stays where it is.
fn put_aside(path: &Path, file: &File, day: u64) -> io::Result<()> {
    // A link stays where it is, and what it leads to is what is put aside.
    let path = &fs::canonicalize(path)?;
    let inode = file.metadata()?.ino();
    with_list(path, |list| {
        for at in 0..MOST {
            let to = aside(path, day, at);
            match rename(path, &to) {
                Ok(()) => {
                    let name = to.file_name().unwrap_or_default();
                    let name = name.to_string_lossy().into_owned();
                    list.push(Noted { name, inode });
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    })
}

/// Renames a file, but never over another one.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems cannot; a link cannot replace anything either.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
    }
}

/// A file that was put aside.
struct Noted {
    name: String,
    inode: u64,
}

/// Changes the list of what was put aside, alone.
fn with_list(
    path: &Path,
    change: impl FnOnce(&mut Vec<Noted>) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".aside");
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o640)
        .open(name)?;
    flock(&file, FlockOperation::LockExclusive)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let Some(lines) = text
        .strip_prefix(TITLE)
        .or_else(|| text.is_empty().then_some(""))
    else {
        let why = "the list of what was put aside is somebody else's file";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    };
    let noted = |line: &str| {
        let (name, inode) = line.rsplit_once(' ')?;
        Some(Noted {
            name: name.to_owned(),
            inode: inode.parse().ok()?,
        })
    };
    let mut list: Vec<_> = lines.lines().filter_map(noted).collect();
    change(&mut list)?;
    let rows = list
        .iter()
        .map(|noted| format!("{} {}\n", noted.name, noted.inode));
    let new = TITLE.to_owned() + &rows.collect::<String>();
    if new != text {
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(new.as_bytes())?;
    }
    Ok(())
}

/// Deletes what was put aside before it has lines that are older than `retention`.
fn sweep(path: &Path, now: u64, retention: Duration) -> io::Result<()> {
    let Ok(path) = &fs::canonicalize(path) else {
        return Ok(());
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut failed = None;
    let is_kept = |noted: &Noted| {
        let of_log = noted.name.strip_prefix(&*name);
        let day = of_log.and_then(|rest| day_in(rest.strip_prefix('.')?));
        let plain = |at: &str| !at.is_empty() && at.bytes().all(|byte| byte.is_ascii_digit());
        let Some((day, at)) = day else {
            return false;
        };
        if !at.is_empty() && !at.strip_prefix('.').is_some_and(plain) {
            return false;
        }
        if now < day * DAY + retention.as_secs() {
            return true;
        }
        let file = path.with_file_name(&noted.name);
        let same = fs::symlink_metadata(&file)
            .is_ok_and(|there| there.is_file() && there.ino() == noted.inode);
        // Gone, or another file of that name: nothing of Umay's.
        if !same {
            return false;
        }
        match fs::remove_file(&file) {
            Ok(()) => {
                tracing::info!(file = %file.display(), "deleted: its lines are as old as `privacy.retention` allows");
                false
            }
            Err(error) => {
                failed = Some(error);
                true
            }
        }
    };
    if !path.with_file_name(format!("{name}.aside")).exists() {
        return Ok(());
    }
    with_list(path, |list| {
        list.retain(is_kept);
        Ok(())
    })?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
