//! What suits the load: latency says something of requests, nothing of streams.

use super::peak_ewma::PeakEwma;
use super::random::OfTwo;
use super::{Kind, Load};

/// `auto`.
pub(super) static KIND: Kind = Kind {
    word: "auto",
    what: "`peak_ewma` for requests, `random_of_two` for raw streams",
    build: |candidates, load| match load {
        Load::Requests => Box::new(PeakEwma::new(candidates)),
        Load::Streams => Box::new(OfTwo::new(candidates)),
    },
};
