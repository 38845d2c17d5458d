//! Traces: what endpoints are told of them, what a collector gets, and what becomes of requests when the
//! collector does not play along.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests fail loudly"
)]

mod context;
mod exporting;
mod peers;
mod private;
mod spans;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use umay_test::collector::Collector;
use umay_test::{Message, Server, Umay, ok, umay};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// The `traceparent` of an outsider who wants to be recorded.
fn parent() -> String {
    format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n")
}

/// Umay before these endpoints, with `more` at the top.
fn before(endpoints: &[SocketAddr], more: &str) -> Umay {
    let to: Vec<_> = endpoints.iter().map(|to| format!("http://{to}")).collect();
    umay!("listen = \"127.0.0.1:0\"\nto = {to:?}\nbalance = \"round_robin\"\n{more}")
}

/// An endpoint that remembers the requests that it gets.
struct Seeing {
    server: Server,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Seeing {
    fn new(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let seen = Arc::<Mutex<Vec<Message>>>::default();
        let kept = Arc::clone(&seen);
        let server = Server::http(move |request| {
            kept.lock().unwrap().push(request.clone());
            answer(request)
        });
        Self { server, seen }
    }

    fn ok() -> Self {
        Self::new(|_| ok("ok"))
    }

    /// The last request.
    fn last(&self) -> Message {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

/// The trace and the span of a `traceparent`, and whether it says that it is recorded.
fn told(request: &Message) -> (String, String, bool) {
    let all = request.all("traceparent");
    let [one] = &all[..] else {
        panic!("{all:?} in {request:?}");
    };
    let parts: Vec<_> = one.split('-').collect();
    let [version, trace, span, flags] = &parts[..] else {
        panic!("{one}");
    };
    assert_eq!((*version, trace.len(), span.len()), ("00", 32, 16));
    let flags = u8::from_str_radix(flags, 16).unwrap();
    ((*trace).to_owned(), (*span).to_owned(), flags & 1 == 1)
}

fn get(umay: &Umay, path: &str, fields: &str) -> Message {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
    umay.connect().ask(request).unwrap()
}

/// A collector of each kind.
fn both() -> [Collector; 2] {
    [Collector::http(), Collector::grpc()]
}
