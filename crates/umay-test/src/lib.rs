//! Scripted peers, real programs and a running Umay, for tests.
//!
//! A test reads like a scene: it starts endpoints ([`Server`]), starts the proxy before them
//! ([`umay!`]), and then speaks as a client ([`Conn`]). Nothing here sleeps for an event that can
//! be awaited, all waits have a deadline, all ports are free ones of loopback, and what was started
//! ends with the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail loudly"
)]

mod certs;
pub mod collected;
pub mod collector;
mod conn;
pub mod consul;
mod devtools;
pub mod exchange;
pub mod frames;
pub mod http;
pub mod http2;
mod many;
pub mod network;
pub mod programs;
mod proxy;
pub mod scrape;
mod server;
mod succession;
mod supervisor;
mod tools;
pub mod websocket;

pub use certs::{Certs, Pair};
pub use conn::{Conn, End};
pub use devtools::Page;
pub use http::Message;
pub use many::Keys;
pub use proxy::{Failure, Setup, Umay};
pub use server::{Refusing, Server, Stuck, answer, ok};
pub use supervisor::Supervisor;
pub use tools::{
    DEADLINE, Door, TempDir, cpu, eventually, open_files, peak_rss, polled_files, raise_open_files,
    rss, unique_address,
};

/// The smallest request.
pub const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

pub use ::h2;
pub use rustix::process::Signal;
pub use rustls;
pub use serde_json::{Value, json};
pub use tungstenite;

/// Starts the `umay` of the tests that are being built: with a configuration, given as arguments
/// for `format!`, or, without arguments, as a [`Setup`] to go on with.
#[macro_export]
macro_rules! umay {
    () => {
        $crate::Setup::new(env!("CARGO_BIN_EXE_umay"))
    };
    ($($text:tt)+) => {
        $crate::Setup::new(env!("CARGO_BIN_EXE_umay")).config(format!($($text)+)).start()
    };
}
