//! Upstreams and their endpoints as the whole process shares them: who they are, how they are
//! spoken to, and how busy they are.

use std::fmt::Write;
use std::sync::Arc;

use umay_core::balance::{Balancer, Candidate, Load};
use umay_core::model;

use crate::telemetry::metrics::{Gauge, UpstreamMetrics};
use crate::tls::{ClientTls, TlsProblem};

/// A named group of endpoints.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// What is configured of it.
    pub model: model::Upstream,
    /// How one is picked.
    pub balancer: Box<dyn Balancer>,
    /// Its endpoints; their places are what pools and leases know them by.
    pub endpoints: Vec<Endpoint>,
    /// Its metrics.
    pub metrics: Arc<UpstreamMetrics>,
    pub(super) tls: Option<ClientTls>,
}

/// One address that can serve.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is and how it is spoken to.
    pub address: model::Endpoint,
    /// `host:port`, for logs.
    pub label: String,
    in_flight: Box<[Padded]>,
}

/// A worker's count on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(Gauge);

impl Upstream {
    /// Prepares an upstream for so many workers. Reads the files that its TLS needs.
    pub fn build(
        model: &model::Upstream,
        metrics: Arc<UpstreamMetrics>,
        workers: usize,
    ) -> Result<Arc<Self>, Vec<TlsProblem>> {
        let wants_tls = model.endpoints.iter().any(|e| e.scheme.is_tls());
        let tls = wants_tls.then(|| ClientTls::load(&model.tls)).transpose()?;
        Ok(Arc::new(Self {
            name: model.name.clone(),
            model: model.clone(),
            balancer: model.balance.build(
                &vec![Candidate { id: 0, weight: 1 }; model.endpoints.len()],
                Load::Requests,
            ),
            endpoints: model
                .endpoints
                .iter()
                .map(|address| Endpoint::new(address, workers))
                .collect(),
            metrics,
            tls,
        }))
    }
}

impl Endpoint {
    fn new(address: &model::Endpoint, workers: usize) -> Self {
        let mut label = String::new();
        // Writing to a string cannot fail.
        let _ = if address.host.contains(':') {
            write!(label, "[{}]:{}", address.host, address.port)
        } else {
            write!(label, "{}:{}", address.host, address.port)
        };
        Self {
            address: address.clone(),
            label,
            in_flight: (0..workers).map(|_| Padded::default()).collect(),
        }
    }

    /// Requests and streams that it serves now, for all workers.
    pub fn in_flight(&self) -> u64 {
        let sum = self
            .in_flight
            .iter()
            .map(|count| count.0.get())
            .sum::<i64>();
        // Each count is read at another moment, so the sum can be off, even below zero.
        u64::try_from(sum).unwrap_or(0)
    }

    pub(super) fn share(&self, worker: usize) -> Option<&Gauge> {
        self.in_flight.get(worker).map(|padded| &padded.0)
    }
}
