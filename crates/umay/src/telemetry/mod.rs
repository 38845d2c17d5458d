//! What Umay tells about itself: metrics, the access log, spans, the event log, its health.
//!
//! The request path touches only memory that its own worker owns: a worker adds to its shard of the
//! metrics and appends to its batch of the access log. Other threads read the shards and write the
//! batches out, so telling costs no lock and no system call per request.

pub mod access;
pub mod events;
pub mod health;
pub mod metrics;
pub mod otlp;
pub mod privacy;
pub mod protobuf;
pub mod spans;
