//! Metrics: cells that one worker writes and the admin thread reads.
//!
//! Each worker owns one shard of everything that is counted. Its cells are written by that worker
//! alone, with a plain load and a plain store, and summed over the shards when somebody asks for
//! `/metrics`. Labels come from the configuration and from closed sets, never from a request.

mod cell;
mod certificates;
mod configuration;
mod discovery;
mod encode;
mod encode_upstreams;
mod endpoint;
mod exemplar;
mod format;
mod listener;
mod native;
mod otlp;
mod page;
mod places;
mod process;
mod prometheus;
mod pushes;
mod registry;
mod route;
#[cfg(test)]
mod tests;
mod text;
mod told;
mod traces;
mod upstream;
mod worker;

pub use cell::{
    Counter, Gauge, Held, Histogram, LATENCY, LIFETIME, OVERHEAD, Outcomes, SharedCounter,
};
pub use certificates::{CertificateEnd, Ends, ListenerEnds, MOST_CERTIFICATES};
pub use configuration::ConfigMetrics;
pub use discovery::{DiscoveryMetrics, Origin, Update};
pub use endpoint::{EndpointMetrics, EndpointShard};
pub use exemplar::Exemplar;
pub use format::Format;
pub use listener::ListenerMetrics;
pub use native::{Native, SCHEMA};
pub use otlp::{Points, Starts};
pub use page::{Family, Kind, Labels, Number, Sink, Summed, Value};
pub use places::{MOST_ENDPOINTS, MOST_ROUTES, MOST_UPSTREAMS, OTHER};
pub use process::architecture;
pub use pushes::PushMetrics;
pub use registry::Registry;
pub use route::{Exchange, RouteMetrics};
pub use traces::TraceMetrics;
pub use upstream::{Healing, UpstreamMetrics};
pub use worker::{Detected, TlsVersion, WorkerMetrics};
