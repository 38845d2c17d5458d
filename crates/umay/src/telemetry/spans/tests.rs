//! What a worker hands over, and what it does not.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use umay_core::message::{Method, Version};
use umay_core::model::{Collector, Endpoint, Scheme};

use super::*;
use crate::telemetry::otlp::{Field, LONGEST, Reader};

fn tracing(ratio: f64) -> Tracing {
    let endpoint = Endpoint::new(Scheme::Http, "127.0.0.1", 1);
    let mut tracing = Tracing::new(Collector::new(endpoint, "/".to_owned()));
    tracing.sampler.ratio = ratio;
    tracing
}

fn tracer(most: usize) -> (Tracer, Arc<Outlet>, UnboundedReceiver<Spans>) {
    let (queue, told) = unbounded_channel();
    let outlet = Outlet::new(queue, most, Arc::default());
    let tracer = Tracer::new(&tracing(1.0), Arc::clone(&outlet));
    (tracer, outlet, told)
}

fn record(tracer: &Tracer, user_agent: &[u8]) {
    let trace = tracer.begin(&Fields::default(), false, || 5).unwrap();
    let now = Instant::now();
    tracer.request(&RequestSpan {
        trace: &trace,
        state: b"a=1",
        started: now,
        ended: now,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        asked: Asked {
            method: Method::Get,
            token: b"GET",
            version: Version::Http11,
            scheme: "http",
            host: b"a.test",
            port: Some(80),
            path: b"/\xff",
            query: Some(b"token=s3cret&\xfe"),
            call: false,
        },
        client: "::ffff:10.0.0.1".parse().unwrap(),
        peer: "10.0.0.1:1".parse().unwrap(),
        user_agent: Some(user_agent),
        listener: "web",
        route: Some(("r", "/x")),
        upstream: None,
        status: 200,
        reason: None,
        call_status: None,
    });
}

#[test]
fn spans_come_whole_in_batches() {
    let (tracer, _, mut told) = tracer(1 << 20);
    record(&tracer, b"\xfc");
    assert!(told.try_recv().is_err(), "a batch is not handed over yet");
    tracer.flush();
    let spans = told.try_recv().unwrap();
    assert_eq!(spans.count, 1);
    let read: Vec<_> = Reader::new(&spans.bytes).collect();
    let [(2, Field::Bytes(span))] = read[..] else {
        panic!("{read:?}");
    };
    assert_eq!(
        Reader::new(span).find(1),
        Some(Field::Bytes(&[
            0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5
        ]))
    );
    assert_eq!(Reader::new(span).find(5), Some(Field::Bytes(b"GET /x")));
    assert_eq!(
        Reader::new(span).find(8),
        Some(Field::Number(1_000_000_000))
    );
    let text = String::from_utf8_lossy(span);
    assert!(!text.contains("s3cret") && text.contains("token=***"));
    tracer.flush();
    assert!(told.try_recv().is_err(), "there was nothing to hand over");
    record(&tracer, b"");
    drop(tracer);
    assert_eq!(told.try_recv().unwrap().count, 1, "the last ones come, too");
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let (tracer, outlet, mut told) = tracer(100 * 1024);
    for _ in 0..1000 {
        record(&tracer, &[b'x'; LONGEST]);
    }
    tracer.flush();
    let dropped = outlet.metrics.dropped.queue_full.get();
    let (mut bytes, mut count) = (0, 0);
    while let Ok(spans) = told.try_recv() {
        bytes += spans.bytes.len();
        count += spans.count;
    }
    assert!(bytes <= 100 * 1024 && bytes > 64 * 1024, "{bytes}");
    assert_eq!(dropped + count, 1000);
    // What was sent leaves room for more.
    outlet.release(bytes);
    record(&tracer, b"");
    tracer.flush();
    assert_eq!(told.try_recv().unwrap().count, 1);
    assert_eq!(outlet.metrics.dropped.queue_full.get(), dropped);
}

#[test]
fn nobody_to_send_them_is_no_trouble() {
    let (tracer, outlet, told) = tracer(1 << 20);
    drop(told);
    record(&tracer, b"");
    tracer.flush();
    assert_eq!(outlet.metrics.dropped.queue_full.get(), 1);
    let off = Tracer::default();
    assert_eq!(off.begin(&Fields::default(), true, || 1), None);
    tracer.replace(off);
    assert_eq!(tracer.begin(&Fields::default(), true, || 1), None);
    assert_eq!(tracer.begin_stream(|| 1), None);
}
