//! What `/metrics` says is what happened: scripted loads of known counts, and every series compared with
//! the books of the script.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod connections;
mod crowds;
mod handshakes;
mod invariants;
mod latency;
mod ledger;
mod refusals;
mod requests;
mod series;
mod streams;
mod upstreams;
