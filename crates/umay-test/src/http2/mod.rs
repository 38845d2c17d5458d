//! HTTP/2 for tests, upon the `h2` crate and without `async`: a [`Client`], an [`Endpoint`] and what
//! both hold in their hands, a [`Stream`]. Every call waits for its end, and fails after a deadline.

mod client;
mod endpoint;
mod stream;

pub use client::Client;
pub use endpoint::Endpoint;
pub use stream::Stream;

use std::future::Future;
use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::tools::DEADLINE;

/// Where the connections of all tests of a process are kept going.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

/// Flow control and the cap on streams, as this side announces them.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes that may come on a stream before they are read.
    pub stream_window: u32,
    /// The same for the connection.
    pub connection_window: u32,
    /// Streams that the other side may have open.
    pub max_streams: u32,
    /// Takes extended CONNECT (RFC 8441); for endpoints.
    pub extended_connect: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_window: 1 << 20,
            connection_window: 64 << 20,
            max_streams: 2000,
            extended_connect: true,
        }
    }
}

/// Waits, but not for ever.
fn wait<F: Future>(future: F) -> io::Result<F::Output> {
    wait_for(DEADLINE, future)
}

fn wait_for<F: Future>(time: Duration, future: F) -> io::Result<F::Output> {
    let timed = RUNTIME.block_on(async { tokio::time::timeout(time, future).await });
    timed.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {time:?}")))
}

/// The code with which a stream or a connection ended, if that is what an error tells.
pub fn code(error: &io::Error) -> Option<h2::Reason> {
    let inner = error.get_ref()?.downcast_ref::<h2::Error>()?;
    inner.reason()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_understand_each_other() {
        let endpoint = Endpoint::start(|stream| {
            assert_eq!(stream.request().get(":authority"), Some("a.test"));
            let body = stream.read_to_end()?;
            stream.inform(103, &[("link", "</a>")])?;
            stream.respond(200, &[("x-a", "b")], false)?;
            stream.send(&body)?;
            stream.finish(&[("x-sum", "1")])
        });
        let client = Client::connect(endpoint.addr()).unwrap();
        let mut stream = client.call("POST", "http://a.test/x", &[], false).unwrap();
        stream.send(&[7; 100_000]).unwrap();
        stream.finish(&[]).unwrap();
        assert_eq!(stream.head().unwrap().status(), 103);
        assert_eq!(stream.head().unwrap().get("x-a"), Some("b"));
        assert_eq!(stream.read_to_end().unwrap(), [7; 100_000]);
        assert_eq!(stream.trailers()[0].1, "1");
        assert_eq!((endpoint.connections(), endpoint.streams()), (1, 1));
    }

    #[test]
    fn a_reset_is_told_with_its_code() {
        let endpoint = Endpoint::start(|stream| {
            stream.reset(h2::Reason::ENHANCE_YOUR_CALM);
            Ok(())
        });
        let client = Client::connect(endpoint.addr()).unwrap();
        let mut stream = client.call("GET", "http://a.test/", &[], true).unwrap();
        let error = stream.head().unwrap_err();
        assert_eq!(code(&error), Some(h2::Reason::ENHANCE_YOUR_CALM));
    }
}
