//! Whether a file is another than before, told without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells that a file is another than before: the time of its last change, its size, and which file
/// it is. `None` if there is none.
pub type Stamp = Option<(i64, i64, u64, u64)>;

/// So many seconds after its last change a file's stamp is good for telling the next one: some systems keep
/// time in steps, and two changes within one of them look alike.
const SETTLED: i64 = 2;

/// A file's stamp now; a link's is that of what it leads to.
pub fn stamp(path: &Path) -> Stamp {
    std::fs::metadata(path).ok().map(|found| of(&found))
}

/// True if a file with this stamp cannot be changed at `now` (Unix time in seconds) without getting another one.
pub fn is_settled(stamp: Stamp, now: u64) -> bool {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    stamp.is_some_and(|(changed, ..)| changed.saturating_add(SETTLED) <= now)
}

fn of(found: &Metadata) -> (i64, i64, u64, u64) {
    // Not the time of modification, which can be set.
    (found.ctime(), found.ctime_nsec(), found.len(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_settles() {
        for (changed, now, settled) in [(10, 12, true), (10, 11, false), (10, 5, false)] {
            assert_eq!(is_settled(Some((changed, 0, 0, 0)), now), settled);
        }
        assert!(!is_settled(None, 10));
        assert_eq!(stamp(Path::new("/nowhere/at/all")), None);
    }
}
