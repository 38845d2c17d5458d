//! Files, changed in all the ways in which files are changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, Mode, mknodat};
use umay_core::model::Source;
use umay_test::{TempDir, eventually};

use super::super::file::MAX_FILE;
use super::super::pace::Pace;
use super::{Followed, QUICK, lines};
use crate::telemetry::metrics::{Origin, Update};

fn one(n: u8) -> String {
    format!("endpoints = [\"127.0.0.{n}:80\"]\n")
}

fn found(n: u8) -> String {
    format!("127.0.0.{n}=127.0.0.{n}:80")
}

/// Follows a file that is watched only: looking at it now and then would be too late.
fn watch(path: &Path) -> Followed {
    Followed::source(Source::File(path.to_owned()), QUICK)
}

#[test]
fn a_file_is_written_replaced_and_removed() {
    let dir = TempDir::new();
    let file = dir.write("endpoints.toml", one(1));
    let followed = watch(&file);
    followed.until_found(&[&found(1)]);
    dir.write("endpoints.toml", one(2));
    followed.until_found(&[&found(2)]);
    fs::rename(dir.write("new", one(3)), &file).unwrap();
    followed.until_found(&[&found(3)]);
    fs::remove_file(&file).unwrap();
    let state = followed.until_error("No such file");
    assert_eq!(lines(&state), [found(3)]);
    dir.write("endpoints.toml", one(4));
    followed.until_found(&[&found(4)]);
    assert!(followed.failures(Origin::File) >= 1);
}

/// As a volume of a Kubernetes ConfigMap does it: the file is a link into `..data`, which is a link to a
/// directory, and a change moves another link over it. A watch on the file goes deaf at the second.
#[test]
fn links_are_swapped() {
    let dir = TempDir::new();
    let root = dir.path();
    dir.write("..1/e.json", r#"{"endpoints": ["127.0.0.1:80"]}"#);
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/e.json", root.join("e.json")).unwrap();
    let followed = watch(&root.join("e.json"));
    followed.until_found(&[&found(1)]);
    for n in 2..6_u8 {
        let text = format!(r#"{{"endpoints": ["127.0.0.{n}:80"]}}"#);
        dir.write(&format!("..{n}/e.json"), text);
        symlink(format!("..{n}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        fs::remove_dir_all(root.join(format!("..{}", n - 1))).unwrap();
        followed.until_found(&[&found(n)]);
    }
}

#[test]
fn a_link_out_of_the_directory_is_followed() {
    let (dir, other) = (TempDir::new(), TempDir::new());
    let target = other.write("of-others", one(1));
    symlink(&target, dir.path().join("endpoints")).unwrap();
    let followed = watch(&dir.path().join("endpoints"));
    followed.until_found(&[&found(1)]);
    other.write("of-others", one(2));
    followed.until_found(&[&found(2)]);
}

#[test]
fn what_cannot_be_read_changes_nothing_and_says_where() {
    let dir = TempDir::new();
    let file = dir.write("e.toml", one(1));
    let followed = watch(&file);
    followed.until_found(&[&found(1)]);
    dir.write(
        "e.toml",
        "endpoints = [\n  \"127.0.0.2:80\",\n  \"nowhere\",\n]",
    );
    let state = followed.until_error(&format!("file: {}:3:3: ", file.display()));
    assert_eq!(lines(&state), [found(1)]);
    dir.write("e.toml", vec![b'#'; usize::try_from(MAX_FILE).unwrap() + 1]);
    let state = followed.until_error("has more than 4194304 bytes");
    assert_eq!(lines(&state), [found(1)]);
    // To have none can be meant.
    dir.write("e.toml", "endpoints = []");
    followed.until_found(&[]);
}

#[test]
fn a_pipe_is_not_waited_for() {
    let dir = TempDir::new();
    let pipe = dir.path().join("pipe");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    let followed = watch(&pipe);
    followed.until_error("not a regular file");
}

/// Where nothing is heard, it is looked: here the directory is not there when the watch begins.
#[test]
fn a_file_is_looked_at_now_and_then() {
    let dir = TempDir::new();
    let file = dir.path().join("later/e.toml");
    let pace = Pace {
        look: Duration::from_millis(50),
        ..QUICK
    };
    let followed = Followed::source(Source::File(file.clone()), pace);
    followed.until_error("No such file");
    dir.write("later/e.toml", one(1));
    followed.until_found(&[&found(1)]);
    // And each look that finds it as it was is a good answer.
    eventually("answers", || {
        (followed.metrics.updates(Origin::File, Update::Unchanged) > 3).then_some(())
    });
    assert_eq!(followed.metrics.updates(Origin::File, Update::Changed), 1);
}
