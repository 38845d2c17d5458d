//! What is carried to endpoints, and how they may be spoken to for it.

use umay_core::model::Scheme;

use crate::tls::Offer;

/// What is to be carried to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// Bytes, both ways.
    Bytes,
    /// A request.
    Request {
        /// The client spoke HTTP/2 without being offered it, or it is a call of gRPC: endpoints
        /// without a scheme are spoken to in HTTP/2.
        http2: bool,
        /// It asks for another protocol, which only a connection of its own can change to.
        upgrade: bool,
        /// It can be sent again if a pooled connection turns out to be dead; if not, the kernel is
        /// asked whether it is alive.
        replayable: bool,
    },
}

impl Cargo {
    /// What an endpoint of this scheme is offered; `speaks_http2` if it has shown that it does.
    pub(super) fn offer(self, scheme: Scheme, speaks_http2: bool) -> Offer {
        match (self, scheme) {
            (Self::Bytes, _) => Offer::Nothing,
            (_, Scheme::H2 | Scheme::H2c) => Offer::Http2,
            (
                Self::Request {
                    http2,
                    upgrade: false,
                    ..
                },
                Scheme::Detected,
            ) if http2 || speaks_http2 => Offer::Either,
            (Self::Request { upgrade: false, .. }, Scheme::Https) => Offer::Either,
            (Self::Request { .. }, _) => Offer::Http1,
        }
    }
}
