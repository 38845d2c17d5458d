//! Umay's runtime: sockets, TLS, HTTP, pools, telemetry and their lifecycle.

pub mod admin;
pub mod app;
pub mod cli;
pub mod conn;
pub mod demo;
pub mod detect;
pub mod discover;
pub mod drain;
pub mod export;
pub mod front;
pub mod http;
pub mod keeper;
pub mod listener;
pub mod original;
pub mod probe;
pub mod refusal;
mod side;
pub mod site;
pub mod story;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod transparent;
pub mod tunnel;
pub mod upstream;
pub mod worker;
pub mod worker_thread;
