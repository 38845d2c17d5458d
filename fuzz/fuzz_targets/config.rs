//! The configuration: any text is read or refused with problems that can be shown, without a panic.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use umay_core::config::{Severity, Sources, load, render, to_json};

fuzz_target!(|text: &str| {
    let sources = Sources {
        file: Some((PathBuf::from("umay.toml"), text.to_owned())),
        ..Sources::default()
    };
    match load(&sources) {
        Ok(loaded) => {
            let warnings = &loaded.warnings;
            assert!(warnings.iter().all(|p| p.severity != Severity::Error));
            render(warnings, &sources, false);
        }
        Err(problems) => {
            assert!(problems.iter().any(|p| p.severity == Severity::Error));
            render(&problems, &sources, true);
            to_json(&problems);
        }
    }
});
