//! How requests are traced, and where what is told of them goes.

use std::fmt;
use std::time::Duration;

use super::{Endpoint, UpstreamTls};
use crate::trace::{Formats, Propagators, Sampler};

/// Tracing that is on.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Where spans go.
    pub collector: Collector,
    /// Which requests are recorded, and which formats of context are spoken.
    pub sampler: Sampler,
    /// Raw streams have spans, too. Default: false.
    pub streams: bool,
    /// Who tells (`service.name`). Default `umay`.
    pub service_name: String,
    /// Further attributes of who tells, by name.
    pub attributes: Vec<(String, String)>,
    /// Bytes of spans that may wait for the collector. Default 4 MiB.
    pub queue: usize,
    /// How long spans are gathered before they are sent. Default 1 s.
    pub interval: Duration,
}

/// A collector that is spoken to in OTLP.
#[derive(Clone, PartialEq, Eq)]
pub struct Collector {
    /// Host and port; the scheme is `http` or `https`.
    pub endpoint: Endpoint,
    /// The path that is posted to, with its query; for HTTP only.
    pub path: String,
    /// How it is spoken to. Default: HTTP.
    pub protocol: Otlp,
    /// Fields that every message has; they may be secret.
    pub headers: Vec<(String, String)>,
    /// How long one export may take, its connect included. Default 10 s.
    pub timeout: Duration,
    /// Messages are compressed. Default: false.
    pub gzip: bool,
    /// TLS, for `https`.
    pub tls: UpstreamTls,
}

/// The ways to speak OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otlp {
    /// `http/protobuf`: a POST for each message.
    #[default]
    Http,
    /// `grpc`.
    Grpc,
}

// Fields may be secret.
impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Collector")
            .field("endpoint", &self.endpoint)
            .field("path", &self.path)
            .field("protocol", &self.protocol)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("gzip", &self.gzip)
            .field("tls", &self.tls)
            .finish()
    }
}

impl Tracing {
    /// Tracing to this collector, all else as it is by default.
    pub fn new(collector: Collector) -> Self {
        let all = Formats {
            w3c: true,
            b3: true,
            b3_multi: true,
        };
        Self {
            collector,
            sampler: Sampler {
                ratio: 0.01,
                follow: true,
                continues: true,
                propagators: Propagators {
                    formats: all,
                    first: Formats {
                        w3c: true,
                        ..Formats::default()
                    },
                    baggage: true,
                },
            },
            streams: false,
            service_name: "umay".to_owned(),
            attributes: Vec::new(),
            queue: 4 * 1024 * 1024,
            interval: Duration::from_secs(1),
        }
    }
}

impl Collector {
    /// A collector at this endpoint, all else as it is by default.
    pub fn new(endpoint: Endpoint, path: String) -> Self {
        Self {
            endpoint,
            path,
            protocol: Otlp::default(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            gzip: false,
            tls: UpstreamTls::default(),
        }
    }
}
