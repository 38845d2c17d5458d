//! Umay's pure part: what can be said without a socket, a clock or a runtime.
//!
//! Time and randomness come in as arguments, bytes come in as slices. Everything here is
//! testable in memory, and fuzz targets link only this crate and `umay-h1`.

pub mod balance;
pub mod budget;
pub mod concurrency;
pub mod config;
pub mod detect;
pub mod expiry;
pub mod frames;
pub mod grpc;
pub mod headers;
pub mod inventory;
pub mod latency;
pub mod legible;
pub mod log_template;
pub mod message;
pub mod model;
pub mod outlier;
pub mod privacy;
pub mod probe;
pub mod quantile;
pub mod reason;
pub mod rest;
pub mod roster;
pub mod route;
pub mod template;
pub mod trace;
