//! What a running Umay tells, read and shown in a terminal.
//!
//! A [`Reading`] is its status document at one time; [`Now`] is what two of them say together: rates and latencies.
//! [`screen()`] writes that as text (`umay status`), [`live`] shows it as it changes (`umay top`). Nothing here asks
//! anybody: whoever calls brings the documents.

mod layout;
mod now;
mod reading;
mod screen;
#[cfg_attr(
    not(feature = "live"),
    allow(dead_code, reason = "some of it is for the live view only")
)]
mod tables;
mod words;

#[cfg(feature = "live")]
pub mod live;

pub use now::{FailureNow, RouteNow, UpstreamNow};
pub use now::{Latency, Now};
pub use reading::{
    Certificate, Counts, Endpoint, Histogram, Listener, Problem, Reading, Route, Upstream,
};
pub use screen::{Look, screen};
pub use words::duration;
