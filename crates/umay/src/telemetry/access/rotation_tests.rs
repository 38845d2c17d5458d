//! Days and sizes at which a file is put aside, and what is deleted and what is not. Time is an argument.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// 2026-11-24T00:00:00Z.
const MIDNIGHT: u64 = 1_795_478_400;

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

/// A directory of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("umay-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self, rotate: Rotate, retention: Option<u64>, now: u64) -> LogFile {
        let retention = retention.map(Duration::from_secs);
        LogFile::open(&self.path(), rotate, retention, at(now)).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.0.join("access.log")
    }

    /// Names behind that of the log, without the list.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter_map(|name| name.strip_prefix("access.log").map(str::to_owned))
            .filter(|name| name != ".aside")
            .collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(format!("access.log{name}"))).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn dates_are_read_as_they_are_written() {
    for day in (0..60_000).step_by(7) {
        let text = date(day);
        assert_eq!(day_in(&text), Some((day, "")), "{text}");
    }
    assert_eq!(day_in("2026-11-24.12"), Some((20_781, ".12")));
    for wrong in [
        "",
        "2026-11-2",
        "2026-13-01",
        "2026-02-30",
        "1969-12-31",
        "aaaa-bb-cc",
    ] {
        assert_eq!(day_in(wrong), None, "{wrong}");
    }
}

#[test]
fn a_file_is_put_aside_at_midnight() {
    let scratch = Scratch::new("midnight");
    let mut log = scratch.log(Rotate::Daily, None, MIDNIGHT - 10);
    log.write_all(b"before\n").unwrap();
    assert_eq!(
        log.look_after(at(MIDNIGHT - 1)),
        Some(Duration::from_secs(1))
    );
    assert_eq!(scratch.names(), [""]);
    assert_eq!(log.look_after(at(MIDNIGHT)), Some(Duration::from_secs(DAY)));
    log.write_all(b"after\n").unwrap();
    assert_eq!(scratch.names(), ["", ".2026-11-23"]);
    assert_eq!(scratch.read(".2026-11-23"), "before\n");
    assert_eq!(scratch.read(""), "after\n");
    let mode = fs::metadata(scratch.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn a_file_without_lines_is_not_put_aside() {
    let scratch = Scratch::new("empty");
    let mut log = scratch.log(Rotate::Daily, None, MIDNIGHT - 10);
    log.look_after(at(MIDNIGHT + 5 * DAY));
    assert_eq!(scratch.names(), [""]);
}

#[test]
fn a_file_is_put_aside_when_it_is_large() {
    let scratch = Scratch::new("size");
    let mut log = scratch.log(Rotate::Size(10), None, MIDNIGHT);
    for line in ["123456789", "0", "1234567890", "1234567890"] {
        log.write_all(line.as_bytes()).unwrap();
        log.look_after(at(MIDNIGHT));
    }
    let names = ["", ".2026-11-24", ".2026-11-24.1", ".2026-11-24.2"];
    assert_eq!(scratch.names(), names);
    assert_eq!(scratch.read(".2026-11-24"), "1234567890");
}

#[test]
fn nothing_is_overwritten() {
    let scratch = Scratch::new("there");
    fs::write(scratch.0.join("access.log.2026-11-23"), "mine").unwrap();
    let mut log = scratch.log(Rotate::Daily, None, MIDNIGHT - 10);
    log.look_after(at(MIDNIGHT - 10));
    log.write_all(b"x").unwrap();
    log.look_after(at(MIDNIGHT));
    assert_eq!(scratch.read(".2026-11-23"), "mine");
    assert_eq!(scratch.read(".2026-11-23.1"), "x");
}

#[test]
fn what_somebody_else_put_aside_is_only_opened_anew() {
    let scratch = Scratch::new("other");
    let mut log = scratch.log(Rotate::Daily, None, MIDNIGHT - 10);
    log.look_after(at(MIDNIGHT - 10));
    log.write_all(b"x").unwrap();
    fs::rename(scratch.path(), scratch.0.join("access.log.old")).unwrap();
    fs::write(scratch.path(), "new").unwrap();
    log.look_after(at(MIDNIGHT));
    log.write_all(b" line").unwrap();
    assert_eq!(scratch.names(), ["", ".old"]);
    assert_eq!(scratch.read(""), "new line");
}

#[test]
fn lines_are_deleted_before_they_are_too_old() {
    let scratch = Scratch::new("retention");
    // Of the 23rd, so gone when the 25th begins.
    let mut log = scratch.log(Rotate::Daily, Some(2 * DAY), MIDNIGHT - 10);
    log.look_after(at(MIDNIGHT - 10));
    log.write_all(b"x").unwrap();
    assert_eq!(log.look_after(at(MIDNIGHT)), Some(SWEEP));
    log.look_after(at(MIDNIGHT + DAY - 1));
    assert_eq!(scratch.names(), ["", ".2026-11-23"]);
    log.look_after(at(MIDNIGHT + DAY + SWEEP.as_secs()));
    assert_eq!(scratch.names(), [""]);
}

#[test]
fn nothing_of_others_is_deleted() {
    let scratch = Scratch::new("others");
    let mine = |name: &str| fs::write(scratch.0.join(format!("access.log{name}")), "mine").unwrap();
    // Never put aside by Umay, although it looks like it.
    mine(".2020-01-01");
    let mut log = scratch.log(Rotate::Daily, Some(DAY), MIDNIGHT - 10);
    for day in 0..2 {
        log.look_after(at(MIDNIGHT - 10 + day * DAY));
        log.write_all(b"x").unwrap();
        // Somebody else's file takes the place of what was put aside.
        if day == 1 {
            let (file, new) = (
                scratch.0.join("access.log.2026-11-23"),
                scratch.0.join("new"),
            );
            fs::write(&new, "mine").unwrap();
            let _ = fs::remove_file(&file);
            fs::rename(new, file).unwrap();
        }
    }
    // Names in the list that lead elsewhere.
    let list = scratch.0.join("access.log.aside");
    let outside = scratch.0.join("outside");
    fs::write(&outside, "mine").unwrap();
    let inode = fs::metadata(&outside).unwrap().ino();
    let row = format!("access.log.2026-11-01/../outside {inode}\noutside {inode}\n");
    let text = fs::read_to_string(&list).unwrap_or_else(|_| TITLE.to_owned());
    fs::write(&list, text + &row).unwrap();
    log.look_after(at(MIDNIGHT + 10 * DAY));
    assert_eq!(scratch.read(".2020-01-01"), "mine");
    assert_eq!(scratch.read(".2026-11-23"), "mine");
    assert!(outside.exists());
}

#[test]
fn a_list_of_somebody_elses_is_left_alone() {
    let scratch = Scratch::new("list");
    fs::write(scratch.0.join("access.log.aside"), "precious\n").unwrap();
    let mut log = scratch.log(Rotate::Daily, Some(DAY), MIDNIGHT - 10);
    log.look_after(at(MIDNIGHT - 10));
    log.write_all(b"x").unwrap();
    log.look_after(at(MIDNIGHT));
    log.write_all(b"y").unwrap();
    assert_eq!(scratch.read(".aside"), "precious\n");
    assert_eq!(scratch.names(), [""]);
    assert_eq!(scratch.read(""), "xy");
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_put_aside() {
    let scratch = Scratch::new("link");
    let real = scratch.0.join("real");
    fs::create_dir(&real).unwrap();
    fs::write(real.join("a.log"), "").unwrap();
    std::os::unix::fs::symlink(real.join("a.log"), scratch.path()).unwrap();
    let mut log = scratch.log(Rotate::Daily, Some(DAY), MIDNIGHT - 10);
    log.look_after(at(MIDNIGHT - 10));
    log.write_all(b"x").unwrap();
    log.look_after(at(MIDNIGHT));
    // Retention is a day: it is gone already.
    assert!(!real.join("a.log.2026-11-23").exists());
    assert!(fs::symlink_metadata(scratch.path()).unwrap().is_symlink());
    log.write_all(b"y").unwrap();
    assert_eq!(fs::read_to_string(real.join("a.log")).unwrap(), "y");
}
