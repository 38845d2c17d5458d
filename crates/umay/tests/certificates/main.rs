//! Certificates: by the thousand, as they change in their directory, and as they come to their end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly and report what they measured"
)]

mod scale;
