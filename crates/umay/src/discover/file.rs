//! Endpoints from a file: watched, and looked at now and then in case the watch misses something.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use umay_core::model::Scheme;

use super::document::{self, Kind};
use super::entry::Wanted;
use super::pace::Pace;
use super::table::{News, Report};
use super::watch::{FileWatch, read_file};
use crate::stamp::{Stamp, stamp};

/// The bytes that a file may have.
pub(super) const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Reads the file each time that it changes. What cannot be read or understood as a whole changes
/// nothing: a file that is half written is not to take endpoints away.
pub(super) async fn follow(path: PathBuf, scheme: Scheme, pace: Pace, news: mpsc::Sender<News>) {
    let mut watch = FileWatch::new(std::slice::from_ref(&path));
    let mut last: Option<(Stamp, Vec<Wanted>)> = None;
    let mut heard = true;
    loop {
        // Before it is read, so that a change in the meantime is one the next time.
        let stamp = stamp(&path);
        let same = last.take_if(|(then, _)| !heard && *then == stamp && stamp.is_some());
        let answer = match same {
            Some((_, list)) => Ok(list),
            None => read(&path).and_then(|bytes| parse(&path, &bytes, scheme)),
        };
        last = answer.as_ref().ok().map(|list| (stamp, list.clone()));
        let report = Report::of(answer.map(|list| (list, None)));
        if news.send(News::Source(report)).await.is_err() {
            return;
        }
        heard = watch.changed(pace.look).await;
    }
}

/// Why it could not be used now.
pub(super) fn doubt(path: &Path, scheme: Scheme) -> Option<String> {
    if !path.exists() {
        return Some(format!("{} does not exist yet", path.display()));
    }
    let list = read(path).and_then(|bytes| parse(path, &bytes, scheme));
    list.err()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_file(path, MAX_FILE).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(path: &Path, bytes: &[u8], scheme: Scheme) -> Result<Vec<Wanted>, String> {
    let json = path
        .extension()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("json"));
    let kind = if json { Kind::Json } else { Kind::Toml };
    document::read(bytes, kind, scheme).map_err(|problem| problem.at(path))
}
