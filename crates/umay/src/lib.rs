//! Umay's runtime: sockets, TLS, HTTP, pools, telemetry and their lifecycle.

pub mod telemetry;
