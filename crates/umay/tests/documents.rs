//! The documents keep up with the code: what can be checked in them is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};

use umay_core::reason::Reason;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_reason_has_its_entry() {
    let page = read("docs/reasons.md");
    let mut at = 0;
    for reason in Reason::ALL {
        let status = match reason.status() {
            0 => "no status".to_owned(),
            status => status.to_string(),
        };
        let heading = format!(
            "\n### {} ({status}, {})\n\n",
            reason.as_str(),
            reason.side().as_str()
        );
        let found = page.find(&heading);
        let found = found.unwrap_or_else(|| panic!("docs/reasons.md lacks: {}", heading.trim()));
        assert!(found >= at, "{} is out of order", reason.as_str());
        at = found;
        let entry = &page[found + heading.len()..];
        let entry = entry.split("\n#").next().unwrap();
        assert!(
            entry.starts_with(reason.what()),
            "{}: begin with: {}",
            reason.as_str(),
            reason.what()
        );
        assert!(
            entry.len() > reason.what().len() + 20,
            "{} says not what to do",
            reason.as_str()
        );
    }
    assert_eq!(page.matches("\n### ").count(), Reason::ALL.len());
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut pages = vec![PathBuf::new()];
    pages.extend(["docs", "docs/decisions", "bench", "fuzz"].map(PathBuf::from));
    for dir in pages {
        for entry in fs::read_dir(root().join(&dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|kind| kind != "md") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for link in text.split("](").skip(1) {
                let link = link.split([')', '#']).next().unwrap();
                if link.is_empty() || link.contains("://") {
                    continue;
                }
                let target = path.parent().unwrap().join(link);
                assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            }
        }
    }
}

#[test]
fn the_map_stays_short() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= 150, "ARCHITECTURE.md has {lines} lines");
}
