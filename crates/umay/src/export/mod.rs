//! What leaves for a collector: a client that speaks OTLP, and the thread that brings it spans.
//!
//! The client ([`Client`]) knows nothing of what it carries but the [`Signal`], so that whoever pushes
//! metrics can use it as well: it connects, compresses, and says what came of a message, and whether it
//! is worth sending again. When to try again is decided by who calls it ([`Exporter`]).

mod answer;
mod client;
mod grpc;
mod http;
mod resource;
mod spans;

pub use answer::{Accepted, Failed};
pub use client::{Client, Signal};
pub use resource::resource;
pub use spans::Exporter;
