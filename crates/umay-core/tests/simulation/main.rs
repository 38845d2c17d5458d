//! Whole lives of upstreams, on a clock that is only a number: whether what decides over endpoints does what it is
//! for. Everything is random but starts from one seed, which a test that fails prints; `UMAY_SEED` sets it.
//!
//! `cargo test -p umay-core --test simulation -- --nocapture` shows the figures.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail loudly, and figures are shown on demand"
)]

mod hashing;
mod healing;
mod latency;
mod limit;
mod shares;
mod world;
