//! The collector is down, slow, talks nonsense, comes back; the configuration changes; the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use umay_test::collector::{Collector, Reply};
use umay_test::{Certs, Refusing, Server, Signal, Umay, eventually, umay};

use super::{before, both, get};

fn dropped(umay: &Umay, cause: &str) -> f64 {
    umay.metric("umay_trace_spans_dropped_total", &[("cause", cause)])
}

fn exported(umay: &Umay) -> f64 {
    umay.metric("umay_trace_spans_exported_total", &[])
}

/// A collector of each kind that says this.
fn saying(say: impl Fn(usize) -> Reply + Clone + Send + Sync + 'static) -> [Collector; 2] {
    [
        Collector::http_with(None, say.clone()),
        Collector::grpc_with(None, say),
    ]
}

#[test]
fn what_is_sent_can_be_compressed_and_has_its_headers() {
    for collector in both() {
        let endpoint = Server::ok("ok");
        let more = format!(
            "{}tracing.compression = \"gzip\"\ntracing.headers = {{ Authorization = \"Bearer a\", X-Scope = \"b\" }}\n",
            collector.toml()
        );
        let umay = before(&[endpoint.addr()], &more);
        get(&umay, "/packed", "");
        collector.path("/packed", 2);
        let head = &collector.heads()[0];
        assert_eq!(
            (head.get("authorization"), head.get("x-scope")),
            (Some("Bearer a"), Some("b"))
        );
        assert!(head.get("user-agent").unwrap().starts_with("umay/"));
    }
}

#[test]
fn tls_to_the_collector_is_verified() {
    let certs = Certs::new();
    let endpoint = Server::ok("ok");
    let pair = certs.issue(&["127.0.0.1"]);
    let take = |_| Reply::Take;
    for (collector, protocol) in [
        (
            Collector::http_with(Some(certs.server_with(&pair, &["http/1.1"])), take),
            "http/protobuf",
        ),
        (
            Collector::grpc_with(Some(certs.server_with(&pair, &["h2"])), take),
            "grpc",
        ),
    ] {
        let text = |more: &str| {
            format!(
                "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n[tracing]\nendpoint = \"https://{}\"\nratio = 1\n\
                 interval = \"10ms\"\nprotocol = \"{protocol}\"\n{more}",
                endpoint.addr(),
                collector.addr()
            )
        };
        let ca = format!("tls.ca = {:?}\n", certs.ca());
        let umay = umay!().config(text(&ca)).start();
        get(&umay, "/secret", "");
        collector.path("/secret", 2);
        // Of whom nobody has vouched nothing is told.
        let other = Certs::new();
        let umay = umay!()
            .config(text(&format!("tls.ca = {:?}\n", other.ca())))
            .start();
        get(&umay, "/kept", "");
        umay.wait_metric("umay_trace_export_failures_total", &[], 1.0);
        assert!(
            !collector
                .spans()
                .iter()
                .any(|span| span.get("url.path") == "/kept")
        );
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    for collector in saying(|number| match number {
        0 => Reply::Refuse("503 Service Unavailable", "Retry-After: 1\r\n", 14),
        1 => Reply::Close,
        _ => Reply::Take,
    }) {
        let endpoint = Server::ok("ok");
        let umay = before(&[endpoint.addr()], &collector.toml());
        assert_eq!(get(&umay, "/again", "").status(), 200);
        collector.path("/again", 2);
        assert_eq!(collector.messages(), 3);
        umay.wait_metric("umay_trace_spans_exported_total", &[], 2.0);
        assert_eq!(umay.metric("umay_trace_spans_dropped_total", &[]), 0.0);
    }
}

#[test]
fn what_is_refused_is_dropped_and_counted() {
    for collector in saying(|number| match number {
        0 => Reply::Refuse("400 Bad Request", "", 3),
        1 => Reply::Partial(1),
        _ => Reply::Take,
    }) {
        let endpoint = Server::ok("ok");
        let umay = before(&[endpoint.addr()], &collector.toml());
        get(&umay, "/refused", "");
        umay.wait_metric(
            "umay_trace_spans_dropped_total",
            &[("cause", "refused")],
            2.0,
        );
        umay.wait_event("spans cannot be exported and are dropped");
        get(&umay, "/partial", "");
        umay.wait_metric(
            "umay_trace_spans_dropped_total",
            &[("cause", "refused")],
            3.0,
        );
        assert_eq!(exported(&umay), 1.0);
        umay.wait_event("some are too old");
        get(&umay, "/taken", "");
        collector.path("/taken", 2);
        umay.wait_event("spans are exported again");
        assert_eq!(collector.messages(), 3);
    }
}

#[test]
fn a_collector_that_is_of_no_use_costs_no_request() {
    let endpoint = Server::ok("ok");
    let down = Refusing::new();
    let nobody = format!(
        "tracing.endpoint = \"http://{}\"\ntracing.ratio = 1\ntracing.interval = \"10ms\"\ntracing.queue = \"64KiB\"\n",
        down.addr()
    );
    let hanging = saying(|_| Reply::Hang);
    let nonsense = saying(|_| Reply::Nonsense);
    let closing = saying(|_| Reply::Close);
    let mut all = vec![nobody];
    for collector in hanging.iter().chain(&nonsense).chain(&closing) {
        let quick = "tracing.timeout = \"200ms\"\ntracing.queue = \"64KiB\"\n";
        all.push(format!("{}{quick}", collector.toml()));
    }
    for text in all {
        let mut umay = before(&[endpoint.addr()], &text);
        let mut conn = umay.connect();
        for _ in 0..500 {
            let answer = conn
                .ask("GET /much HTTP/1.1\r\nHost: a.test\r\n\r\n")
                .unwrap();
            assert_eq!(answer.text(), "ok");
        }
        // More than the queue holds; what it holds is tried again, or taken.
        eventually(
            "spans dropped, or taken by somebody who talks nonsense",
            || (dropped(&umay, "queue_full") > 0.0 || exported(&umay) == 1000.0).then_some(()),
        );
        drop(conn);
        umay.signal(Signal::TERM);
        assert_eq!(umay.wait_exit(), 0);
    }
}

#[test]
fn a_collector_that_comes_back_gets_what_waits() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    for collector in saying(move |_| match is_down.load(Ordering::SeqCst) {
        true => Reply::Close,
        false => Reply::Take,
    }) {
        down.store(true, Ordering::SeqCst);
        let endpoint = Server::ok("ok");
        let umay = before(&[endpoint.addr()], &collector.toml());
        get(&umay, "/first", "");
        eventually("a failure", || {
            (umay.metric("umay_trace_export_failures_total", &[]) >= 1.0).then_some(())
        });
        get(&umay, "/second", "");
        down.store(false, Ordering::SeqCst);
        collector.path("/first", 2);
        collector.path("/second", 2);
        umay.wait_metric("umay_trace_spans_exported_total", &[], 4.0);
        assert_eq!(umay.metric("umay_trace_spans_dropped_total", &[]), 0.0);
    }
}

#[test]
fn a_reload_loses_no_span() {
    let [first, second] = [Collector::http(), Collector::grpc()];
    let endpoint = Server::ok("ok");
    let text = |more: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n{more}",
            endpoint.addr()
        )
    };
    // What was gathered is not sent for the sake of time.
    let slow = |collector: &Collector| collector.toml().replace("10ms", "1h");
    let umay = umay!().config(text(&slow(&first))).start();
    let mut conn = umay.connect();
    let mut ask = |path: &str| {
        conn.ask(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .unwrap();
    };
    ask("/one");
    assert!(umay.reload(text(&slow(&second))));
    first.path("/one", 2);
    ask("/two");
    assert!(umay.reload(text("")));
    second.path("/two", 2);
    ask("/three");
    let line = umay.wait_path("/three");
    assert!(line["trace_id"].is_null());
    assert!(umay.reload(text(&first.toml())));
    ask("/four");
    first.path("/four", 2);
    assert_eq!(first.spans().len() + second.spans().len(), 6);
    assert_eq!(umay.metric("umay_trace_spans_dropped_total", &[]), 0.0);
}

#[test]
fn the_last_spans_are_sent_when_the_process_ends() {
    for collector in both() {
        let endpoint = Server::ok("ok");
        let mut umay = before(&[endpoint.addr()], &collector.toml().replace("10ms", "1h"));
        get(&umay, "/last", "");
        umay.wait_path("/last");
        umay.signal(Signal::TERM);
        assert_eq!(umay.wait_exit(), 0);
        assert_eq!(collector.path("/last", 2).len(), 2);
    }
}

#[test]
fn the_variables_of_opentelemetry_are_enough() {
    let (collector, endpoint) = (Collector::grpc(), Server::ok("ok"));
    let umay = umay!()
        .config(format!(
            "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
            endpoint.addr()
        ))
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", collector.addr()),
        )
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-scope=a%20b")
        .env("OTEL_SERVICE_NAME", "fleet")
        .env("OTEL_TRACES_SAMPLER", "always_on")
        .start();
    get(&umay, "/env", "");
    let spans = collector.path("/env", 2);
    assert_eq!(spans[0].resource["service.name"], "fleet");
    assert_eq!(collector.heads()[0].get("x-scope"), Some("a b"));
}
