//! The house's own rules, held: which room may use which, how long a file may be, and that each
//! says what it is for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of the runtime, from the roof down. A room may use those below it, never one above or
/// beside it.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["app"],
    &[
        "worker_thread",
        "admin",
        "demo",
        "explain",
        "export",
        "keeper",
        "transparent",
    ],
    &["side", "listener"],
    &["front"],
    &["http", "tcp"],
    &["story"],
    &["detect", "upstream", "tunnel"],
    &["site", "discover", "probe"],
    &["tls", "worker", "refusal"],
    &["conn", "drain", "stamp", "telemetry"],
    &["original"],
];

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dir);
    let mut found = Vec::new();
    files(&root, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&root).unwrap().to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// The first part of a path below `src`: `http/head.rs` is in the room `http`.
fn room(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Names behind `crate::`, at the start or in braces.
fn used_rooms(text: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
            .collect()
    };
    text.split("crate::")
        .skip(1)
        .map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn arrows_point_down() {
    let floor_of: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, floor)))
        .collect();
    let mut wrong = Vec::new();
    for (path, text) in sources("umay/src") {
        let from = room(&path);
        if from == "lib" || text.contains("use crate::side::raw") {
            continue;
        }
        let Some(floor) = floor_of.get(from.as_str()) else {
            wrong.push(format!("{}: room `{from}` is on no floor", path.display()));
            continue;
        };
        for to in used_rooms(&text) {
            let below = floor_of.get(to.as_str()).is_some_and(|below| below > floor);
            if to != from && !below {
                wrong.push(format!("{}: {from} must not use {to}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pure_crates_stay_pure() {
    for dir in ["umay-core", "umay-h1"] {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(dir)
            .join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        for banned in ["tokio", "rustls", "socket2", "rustix", "tracing"] {
            assert!(!manifest.contains(banned), "{dir} depends on {banned}");
        }
        for (path, text) in sources(&format!("{dir}/src")) {
            for banned in [
                "std::time::Instant",
                "SystemTime",
                "std::fs",
                "TcpStream",
                "std::thread",
            ] {
                let tests = path.to_string_lossy().contains("test");
                assert!(
                    tests || !text.contains(banned),
                    "{dir}/{}: {banned}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn files_say_what_they_are_for_and_end_in_time() {
    for dir in [
        "umay/src",
        "umay-core/src",
        "umay-h1/src",
        "umay-load/src",
        "umay-test/src",
        "umay-top/src",
    ] {
        for (path, text) in sources(dir) {
            let path = format!("{dir}/{}", path.display());
            assert!(
                text.starts_with("//!"),
                "{path} does not say what it is for"
            );
            let lines = text.lines().count();
            assert!(lines <= 600, "{path} has {lines} lines");
        }
    }
}
