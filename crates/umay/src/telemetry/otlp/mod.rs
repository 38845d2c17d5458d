//! Messages of OTLP (the protocol of OpenTelemetry), written by hand into bytes.
//!
//! A message is written once, where what it tells is at hand: a worker appends whole spans to a batch,
//! and whoever sends batches puts their frame around them without reading them again. Numbers of
//! fields are those of `opentelemetry-proto` 1.x, which are stable.

mod attributes;

pub use super::protobuf::{
    Field, Reader, bytes, fixed32, fixed64, length_of, nested, number, prefix,
};
pub use attributes::{LONGEST, attribute, composed, integer, lossy, text};
