//! What leaves for a collector: a client that speaks OTLP, and the threads that bring it spans and metrics.
//!
//! The client ([`Client`]) knows nothing of what it carries but the [`Signal`]: it connects, compresses, and says what
//! came of a message, and whether it is worth sending again. When to try again is decided where messages are
//! delivered, and for how long by who has them: [`Exporter`] has spans, which are lost if nobody takes them,
//! [`Pusher`] has metrics, which are told anew each time.

mod answer;
mod client;
mod delivery;
mod grpc;
mod http;
mod push;
mod resource;
mod spans;
mod thread;

pub use answer::{Accepted, Failed};
pub use client::{Client, Signal};
pub use push::Pusher;
pub use resource::resource;
pub use spans::Exporter;
