//! Certificates: by the thousand, as they change in their directory, and as they come to their end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly and report what they measured"
)]

use std::env;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;

mod expiry;
mod scale;
mod watch;

/// A key of P-256 that belongs to its certificate by what it says of itself, but cannot sign for it.
fn damaged(key: &str) -> String {
    let label = "-----BEGIN PRIVATE KEY-----\n";
    let text = key.strip_prefix(label).unwrap();
    let text: String = text
        .lines()
        .take_while(|line| !line.starts_with('-'))
        .collect();
    let engine = base64::engine::general_purpose::STANDARD;
    let mut bytes = engine.decode(text).unwrap();
    // In the private number.
    bytes[50] ^= 0x55;
    format!(
        "{label}{}\n-----END PRIVATE KEY-----\n",
        engine.encode(bytes)
    )
}

/// What `umay check` says to this file, with its code.
fn check(file: &Path, args: &[&str]) -> (Option<i32>, Output) {
    let mut check = Command::new(env!("CARGO_BIN_EXE_umay"));
    check.arg("check").args(args).arg(file);
    for (name, _) in env::vars_os() {
        // Those that are for the tests would be taken for keys.
        if name.to_string_lossy().starts_with("UMAY_") {
            check.env_remove(name);
        }
    }
    let out = check.output().unwrap();
    (out.status.code(), out)
}

/// What `/status` or `umay check` has said.
fn parsed(text: &str) -> umay_test::Value {
    text.parse().unwrap()
}
