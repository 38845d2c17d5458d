//! Wrong configurations and what people are told about each: `wrong/*.txt`.
//!
//! A case is `=== TITLE`, the document, `---`, and what is told: a line for each problem, with its
//! place, how bad it is, what is wrong and, in brackets, what to do; or `good`. `+++ PATH` begins a
//! further document, `$ NAME=VALUE` is a variable. `UMAY_BLESS=1` writes what is told anew; read the
//! difference before it is stored, as whoever made the mistake would.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use umay_core::config::{Place, Problem, Reference, Severity, Sources, load};

struct Case {
    title: String,
    written: String,
    told: String,
}

fn cases(text: &str) -> Vec<Case> {
    let one = |case: &str| {
        let (title, rest) = case.split_once('\n').unwrap();
        let (written, told) = rest
            .split_once("---\n")
            .unwrap_or_else(|| panic!("{title}: no ---"));
        Case {
            title: title.to_owned(),
            written: written.to_owned(),
            told: told.trim().to_owned(),
        }
    };
    text.split("=== ").skip(1).map(one).collect()
}

/// The sources that a case describes.
fn sources(written: &str) -> Sources {
    let mut sources = Sources::default();
    let mut documents = BTreeMap::new();
    let mut path = PathBuf::from("umay.toml");
    let mut text = String::new();
    for line in written.split_inclusive('\n') {
        if let Some(next) = line.strip_prefix("+++ ") {
            let next = PathBuf::from(next.trim());
            documents.insert(
                std::mem::replace(&mut path, next),
                std::mem::take(&mut text),
            );
        } else if let Some(variable) = line.strip_prefix("$ ") {
            let (name, value) = variable.trim_end().split_once('=').unwrap();
            sources.env.push((name.to_owned(), value.to_owned()));
        } else {
            text.push_str(line);
        }
    }
    documents.insert(path, text);
    sources.file = documents.remove_entry(Path::new("umay.toml"));
    sources.complete(
        |entry| {
            let there = documents.iter().filter(|(path, _)| path.starts_with(entry));
            let there: Vec<_> = there
                .map(|(path, text)| (path.clone(), text.clone()))
                .collect();
            match there.is_empty() && !entry.ends_with("empty") {
                true => Err(format!(
                    "cannot read the directory {}: it is not there",
                    entry.display()
                )),
                false => Ok(there),
            }
        },
        |reference| match reference {
            Reference::Env(name) => Err(format!("there is no variable {name} in the environment")),
            Reference::File(path) if path.ends_with("two-lines") => Ok("a\nb\n".to_owned()),
            Reference::File(path) => {
                Err(format!("cannot read {}: it is not there", path.display()))
            }
        },
    );
    sources
}

fn line(problem: &Problem) -> String {
    let place = match &problem.place {
        Place::File {
            path, line, column, ..
        } if path == "umay.toml" => format!("{line}:{column}"),
        place => place.to_string(),
    };
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut line = format!("{place} {severity}: {}", problem.message);
    if !problem.hint.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(line, " ({})", problem.hint);
    }
    line
}

fn told(written: &str) -> String {
    let problems = match load(&sources(written)) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    if problems.is_empty() {
        return "good".to_owned();
    }
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_wrong_is_told_as_agreed() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let bless = std::env::var_os("UMAY_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut blessed = String::new();
        for case in cases(&fs::read_to_string(&path).unwrap()) {
            count += 1;
            let now = told(&case.written);
            if now != case.told {
                wrong.push(format!(
                    "{} {}\n- {}\n+ {now}\n",
                    path.display(),
                    case.title,
                    case.told
                ));
            }
            let _ = write!(
                blessed,
                "=== {}\n{}---\n{now}\n\n",
                case.title, case.written
            );
        }
        if bless {
            fs::write(&path, blessed.trim_end().to_owned() + "\n").unwrap();
        }
    }
    assert!(count > 300, "{count}");
    assert!(
        bless || wrong.is_empty(),
        "UMAY_BLESS=1 writes these:\n{}",
        wrong.join("\n")
    );
}
