//! Metrics as they are pushed to a collector: what it gets, and what becomes of pushes and requests when it does not
//! play along.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use umay_test::collected::{Point, exposed, series};
use umay_test::collector::{Collector, Reply};
use umay_test::programs::python;
use umay_test::{Certs, Refusing, Server, Signal, Umay, eventually, ok, umay, unique_address};

const DURATION: &str = "umay.http.request.duration";

/// Umay before this endpoint, with `more` at the top.
fn before(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\n{more}[[route]]\nname = \"web\"\nto = \"http://{}\"\n",
        endpoint.addr()
    )
}

fn get(umay: &Umay) {
    assert_eq!(umay.get("a.test", "/").status(), 200);
}

/// A collector of each kind that says this.
fn saying(say: impl Fn(usize) -> Reply + Clone + Send + Sync + 'static) -> [Collector; 2] {
    [
        Collector::http_with(None, say.clone()),
        Collector::grpc_with(None, say),
    ]
}

fn both() -> [Collector; 2] {
    saying(|_| Reply::Take)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_nanos() as u64
}

/// The route's durations in the first push that has so many.
fn durations(collector: &Collector, count: u32) -> Point {
    let is_it = |point: &Point| point.name == DURATION && point.value == f64::from(count);
    let push = collector.push(&format!("{count} durations"), is_it);
    push.into_iter().find(is_it).unwrap()
}

fn pushes(umay: &Umay, result: &str) -> f64 {
    umay.metric("umay_metrics_pushes_total", &[("result", result)])
}

fn wait_pushes(umay: &Umay, result: &str, least: f64) {
    eventually(&format!("{least} pushes: {result}"), || {
        (pushes(umay, result) >= least).then_some(())
    });
}

#[test]
fn what_is_pushed_is_what_the_page_has() {
    for collector in both() {
        for histograms in ["explicit", "exponential"] {
            let endpoint = Server::ok("hello");
            let more = format!(
                "{}metrics.histograms = \"{histograms}\"\n",
                collector.metrics("20ms")
            );
            let umay = before(&endpoint, &more);
            for _ in 0..7 {
                get(&umay);
            }
            umay.get("a.test", "bad target");
            umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
            umay.wait_metric("umay_connections_active", &[], 0.0);
            let page = || exposed(&umay.admin_get("/metrics").text());
            let (first, asked) = (page(), now());
            let push = collector.push("later values", |point| point.time > asked);
            let (last, told) = (page(), series(&push));
            let mut same = 0;
            for (series, value) in &first {
                // What counts time and pushes goes on; the process has other names, and what is measured is the resource.
                let other = series.contains("_bucket{")
                    || series.starts_with("process_")
                    || series.starts_with("target_info");
                if other || last.get(series) != Some(value) {
                    continue;
                }
                assert_eq!(told.get(series), Some(value), "{series}");
                same += 1;
            }
            assert!(same > 60, "{same}");
            let process = push.iter().map(|point| point.name.as_str());
            let process: BTreeSet<_> = process
                .filter(|name| name.starts_with("process."))
                .collect();
            let wanted = [
                "process.cpu.time",
                "process.max.fds",
                "process.memory.usage",
                "process.start.time",
                "process.unix.file_descriptor.count",
            ];
            assert_eq!(process.into_iter().collect::<Vec<_>>(), wanted);
            let started = (first["process_start_time_seconds"] * 1e9) as u64;
            for point in &push {
                // What was there from the first push on counts since the process started.
                let near = point.start.abs_diff(started) < 1_000_000;
                match point.name.as_str() {
                    _ if point.kind == "gauge" => assert_eq!(point.start, 0),
                    "umay.connections.accepted" | "umay.worker.lag" => assert!(near, "{point:?}"),
                    _ => assert!(near || (started..point.time).contains(&point.start)),
                }
                assert_eq!(point.resource["service.name"], "umay");
            }
        }
    }
}

#[test]
fn opentelemetry_understands_what_is_pushed() {
    for (protocol, compression, histograms) in [
        ("http/protobuf", "gzip", "explicit"),
        ("http/protobuf", "none", "exponential"),
        ("grpc", "none", "explicit"),
        ("grpc", "gzip", "exponential"),
    ] {
        let (endpoint, collector) = (unique_address(), unique_address());
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\nto = \"http://{endpoint}\"\n\
             [tracing]\nendpoint = \"http://{collector}\"\nratio = 1\ninterval = \"10ms\"\n\
             protocol = \"{protocol}\"\ncompression = \"{compression}\"\nservice_name = \"edge\"\n\
             [metrics]\nendpoint = \"tracing\"\ninterval = \"100ms\"\nhistograms = \"{histograms}\"\n"
        );
        let addresses =
            [umay.addr(), umay.admin(), endpoint, collector].map(|addr| addr.to_string());
        let args = addresses.iter().map(String::as_str);
        let args = args.chain([protocol, histograms]);
        let told = python("metrics.py", &args.collect::<Vec<_>>());
        assert_eq!(
            told, "all is well\n",
            "{protocol} {compression} {histograms}"
        );
    }
}

#[test]
fn fine_buckets_have_the_times_that_clients_saw() {
    let collector = Collector::http();
    let endpoint = Server::http(|request| {
        let millis = request.target().trim_start_matches('/').parse().unwrap();
        thread::sleep(Duration::from_millis(millis));
        ok("late")
    });
    let more = format!(
        "{}metrics.histograms = \"exponential\"\n",
        collector.metrics("20ms")
    );
    let umay = before(&endpoint, &more);
    let mut sum = 0.0;
    for (count, millis) in [(1, 3), (2, 40), (3, 200)] {
        assert_eq!(umay.get("a.test", &format!("/{millis}")).status(), 200);
        let point = durations(&collector, count);
        let used = |point: &Point| -> Vec<_> {
            let used = point.buckets.iter().filter(|(.., count)| *count > 0);
            used.copied().collect()
        };
        // How long it took is what it has added to the sum, and one of the buckets has that.
        let took = point.sum - sum;
        sum = point.sum;
        assert!(took >= f64::from(millis) / 1e3, "{took}");
        let near = 1e-9;
        let fits = |bucket: &(f64, f64, u64)| bucket.0 < took + near && bucket.1 > took - near;
        assert!(used(&point).iter().any(fits), "{took} {:?}", used(&point));
        assert!(
            used(&point)
                .iter()
                .all(|(lower, upper, _)| upper / lower < 1.0906)
        );
    }
}

#[test]
fn exemplars_lead_to_spans() {
    for collector in both() {
        let endpoint = Server::ok("ok");
        let more = format!(
            "{}metrics.endpoint = \"tracing\"\nmetrics.interval = \"20ms\"\n",
            collector.toml()
        );
        let umay = before(&endpoint, &more);
        get(&umay);
        let told = |point: &Point| point.name == DURATION && !point.exemplars.is_empty();
        let push = collector.push("an exemplar", told);
        let point = push.into_iter().find(told).unwrap();
        let trace = collector.path("/", 2).remove(0).trace_id;
        let [(id, seconds)] = &point.exemplars[..] else {
            panic!("{point:?}");
        };
        assert_eq!((id, *seconds), (&trace, point.sum));
        // The same resource tells both.
        let spans = collector.spans();
        assert_eq!(spans[0].resource, point.resource);
        // It is told until it was taken, and then no more.
        let later = |point: &Point| point.name == DURATION && point.exemplars.is_empty();
        collector.push("durations without an exemplar", later);
    }
}

#[test]
fn series_that_come_later_count_since_the_push_before() {
    let (collector, endpoint) = (Collector::grpc(), Server::ok("ok"));
    let with = |routes: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\n{}[[route]]\npath = \"/x\"\nname = \"web\"\nto = \"http://{}\"\n{routes}",
            collector.metrics("20ms"),
            endpoint.addr()
        )
    };
    let more = format!(
        "[[route]]\nname = \"more\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    let umay = umay!().config(with(&more)).start();
    let of_more = |count: f64, after: u64| {
        let is_it = move |point: &Point| {
            let is_more = point.name == DURATION && point.get("route") == "more";
            is_more && point.value == count && point.time > after
        };
        let push = collector.push(&format!("{count} requests of the route"), is_it);
        push.into_iter().find(is_it).unwrap()
    };
    collector.push("a push without it", |point| point.time > 0);
    get(&umay);
    get(&umay);
    let first = of_more(2.0, 0);
    // It was not there in the beginning.
    let process = collector.points();
    let process = process.iter().find(|point| point.kind == "level").unwrap();
    assert!(first.start > process.start && first.start < first.time);
    // The route goes and comes again, and begins with nothing.
    assert!(umay.reload(with("")));
    let asked = now();
    collector.push("a push without the route", |point| point.time > asked);
    assert!(umay.reload(with(&more)));
    get(&umay);
    let again = of_more(1.0, asked);
    assert!(
        again.start >= first.time && again.start < again.time,
        "{again:?}"
    );
}

#[test]
fn what_is_much_goes_in_several_messages() {
    use std::fmt::Write;
    let collector = Collector::grpc();
    let mut text = format!("listen = \"127.0.0.1:0\"\n{}", collector.metrics("50ms"));
    for number in 0..900 {
        write!(
            text,
            "[[route]]\nname = \"{number:0600}\"\npath = \"/{number}\"\nrespond = {{}}\n"
        )
        .unwrap();
    }
    let umay = umay!().config(text).start();
    wait_pushes(&umay, "ok", 1.0);
    let points = collector.points();
    let first = points[0].time;
    let push: Vec<_> = points.iter().filter(|point| point.time == first).collect();
    let sizes: BTreeSet<_> = push.iter().map(|point| point.message).collect();
    assert!(
        sizes.len() > 1 && sizes.iter().all(|size| *size < 1024 * 1024),
        "{sizes:?}"
    );
    let names = |name: &str| push.iter().filter(|point| point.name == name).count();
    assert_eq!(names("umay.http.request.bytes"), 900);
    assert_eq!(names("umay.http.response.bytes"), 900);
    series(&push.into_iter().cloned().collect::<Vec<_>>());
}

#[test]
fn a_collector_that_is_of_no_use_costs_no_request() {
    let endpoint = Server::ok("ok");
    let down = Refusing::new();
    let mut all = vec![format!(
        "metrics.endpoint = \"http://{}\"\nmetrics.interval = \"10ms\"\n",
        down.addr()
    )];
    let useless = [Reply::Hang, Reply::Nonsense, Reply::Close, Reply::Endless];
    let collectors: Vec<_> = useless
        .iter()
        .flat_map(|reply| {
            let reply = reply.clone();
            saying(move |_| reply.clone())
        })
        .collect();
    for collector in &collectors {
        all.push(format!(
            "{}metrics.timeout = \"100ms\"\n",
            collector.metrics("10ms")
        ));
    }
    for text in all {
        let mut umay = before(&endpoint, &text);
        let mut conn = umay.connect();
        for _ in 0..300 {
            let answer = conn.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
            assert_eq!(answer.text(), "ok");
        }
        // Nonsense with a good status is taken for what it says.
        eventually("what became of pushes", || {
            (pushes(&umay, "failed") >= 2.0 || pushes(&umay, "ok") >= 2.0).then_some(())
        });
        drop(conn);
        umay.signal(Signal::TERM);
        assert_eq!(umay.wait_exit(), 0);
        assert!(umay.events().matches("metrics cannot be pushed").count() <= 1);
    }
}

#[test]
fn pushes_do_not_pile_up() {
    for grpc in [false, true] {
        let (inside, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let kept = Arc::clone(&most);
        let slow = move |_| {
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            kept.fetch_max(now, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(60));
            inside.fetch_sub(1, Ordering::SeqCst);
            Reply::Take
        };
        let collector = match grpc {
            true => Collector::grpc_with(None, slow),
            false => Collector::http_with(None, slow),
        };
        let endpoint = Server::ok("ok");
        // An answer that is later than the next push is still an answer.
        let umay = before(&endpoint, &collector.metrics("5ms"));
        get(&umay);
        wait_pushes(&umay, "ok", 5.0);
        assert_eq!(pushes(&umay, "failed"), 0.0);
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn what_may_pass_is_tried_again_until_the_next_push() {
    for collector in saying(|number| match number {
        0 => Reply::Refuse("503 Service Unavailable", "", 14),
        _ => Reply::Take,
    }) {
        let endpoint = Server::ok("ok");
        let umay = before(&endpoint, &collector.metrics("3s"));
        get(&umay);
        durations(&collector, 1);
        wait_pushes(&umay, "ok", 1.0);
        assert_eq!(umay.metric("umay_metrics_export_failures_total", &[]), 1.0);
        assert_eq!(pushes(&umay, "failed"), 0.0);
    }
    // What is not taken by then is given up, and made up for.
    for collector in saying(|number| match number {
        0..3 => Reply::Refuse("503 Service Unavailable", "Retry-After: 60\r\n", 14),
        _ => Reply::Take,
    }) {
        let endpoint = Server::ok("ok");
        let umay = before(&endpoint, &collector.metrics("50ms"));
        get(&umay);
        durations(&collector, 1);
        umay.wait_event("metrics are pushed again");
        assert_eq!(pushes(&umay, "failed"), 3.0);
        assert_eq!(umay.metric("umay_metrics_export_failures_total", &[]), 3.0);
        assert_eq!(umay.events().matches("metrics cannot be pushed").count(), 1);
    }
}

#[test]
fn a_refusal_is_told_with_what_to_do() {
    let up = Arc::new(AtomicBool::new(false));
    for (status, code, hint) in [
        ("404 Not Found", 12, "see the `endpoint`"),
        ("401 Unauthorized", 16, "see the `headers`"),
    ] {
        let is_up = Arc::clone(&up);
        for collector in saying(move |_| match is_up.load(Ordering::SeqCst) {
            true => Reply::Take,
            false => Reply::Refuse(status, "", code),
        }) {
            up.store(false, Ordering::SeqCst);
            let endpoint = Server::ok("ok");
            let umay = before(&endpoint, &collector.metrics("20ms"));
            let event = umay.wait_event("metrics cannot be pushed");
            assert!(event.contains(hint), "{event}");
            wait_pushes(&umay, "failed", 3.0);
            up.store(true, Ordering::SeqCst);
            get(&umay);
            durations(&collector, 1);
            umay.wait_event("metrics are pushed again");
            assert_eq!(umay.events().matches("metrics cannot be pushed").count(), 1);
        }
    }
}

#[test]
fn what_is_left_out_of_a_message_is_counted_and_told_once() {
    for collector in saying(|_| Reply::Partial(2)) {
        let endpoint = Server::ok("ok");
        let umay = before(&endpoint, &collector.metrics("20ms"));
        umay.wait_event("some are too old");
        wait_pushes(&umay, "ok", 4.0);
        assert!(umay.metric("umay_metrics_points_refused_total", &[]) >= 8.0);
        assert_eq!(pushes(&umay, "failed"), 0.0);
        assert_eq!(umay.events().matches("some are too old").count(), 1);
    }
}

#[test]
fn tls_to_the_collector_is_verified() {
    let (certs, other) = (Certs::new(), Certs::new());
    let endpoint = Server::ok("ok");
    for name in ["127.0.0.1", "elsewhere.test"] {
        let pair = certs.issue(&[name]);
        for collector in [
            Collector::http_with(Some(certs.server_with(&pair, &["http/1.1"])), |_| {
                Reply::Take
            }),
            Collector::grpc_with(Some(certs.server_with(&pair, &["h2"])), |_| Reply::Take),
        ] {
            let start = |ca: &Certs| {
                let secure = collector.metrics("20ms").replace("http://", "https://");
                before(
                    &endpoint,
                    &format!("{secure}metrics.tls.ca = {:?}\n", ca.ca()),
                )
            };
            let umay = start(&certs);
            get(&umay);
            if name == "127.0.0.1" {
                durations(&collector, 1);
            } else {
                wait_pushes(&umay, "failed", 1.0);
            }
            drop(umay);
            let asked = now();
            // Who has not been vouched for is told nothing.
            let umay = start(&other);
            wait_pushes(&umay, "failed", 2.0);
            umay.wait_event("metrics cannot be pushed");
            let points = collector.points();
            assert!(points.iter().all(|point| point.time < asked));
            assert_eq!(points.is_empty(), name != "127.0.0.1");
        }
    }
}

#[test]
fn a_reload_goes_over_without_loss() {
    let [first, second] = both();
    let endpoint = Server::ok("ok");
    let text = |more: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\n{more}[[route]]\nname = \"web\"\nto = \"http://{}\"\n",
            endpoint.addr()
        )
    };
    // Nothing is pushed for the sake of time.
    let umay = umay!().config(text(&first.metrics("1h"))).start();
    get(&umay);
    assert!(umay.reload(text(&second.metrics("1h"))));
    let one = durations(&first, 1);
    get(&umay);
    // Another way to tell it is another push.
    assert!(umay.reload(text(&format!(
        "{}metrics.histograms = \"exponential\"\n",
        second.metrics("20ms")
    ))));
    let two = durations(&second, 2);
    assert_eq!(one.resource, two.resource);
    assert_eq!(one.start, two.start);
    assert!(one.time < two.time);
    let fine = |point: &Point| point.kind == "exponential";
    second.push("fine buckets", fine);
    // What stays the same goes on with what it has.
    let same = format!(
        "watch = false\n{}metrics.histograms = \"exponential\"\n",
        second.metrics("20ms")
    );
    let connections = second.connections();
    assert!(umay.reload(text(&same)));
    let asked = now();
    second.push("another push", |point| point.time > asked);
    assert_eq!(second.connections(), connections);
    assert!(umay.reload(text("")));
    let last = second.messages();
    get(&umay);
    assert!(umay.reload(text(&first.metrics("20ms"))));
    durations(&first, 3);
    // One may have been under way, and the last follows it.
    assert!(second.messages() <= last + 2);
    assert_eq!(pushes(&umay, "failed"), 0.0);
}

#[test]
fn the_last_values_are_pushed_when_the_process_ends() {
    for collector in both() {
        let endpoint = Server::ok("ok");
        let mut umay = before(&endpoint, &collector.metrics("1h"));
        get(&umay);
        get(&umay);
        umay.signal(Signal::TERM);
        assert_eq!(umay.wait_exit(), 0);
        durations(&collector, 2);
        assert_eq!(collector.messages(), 1);
    }
}

#[test]
fn the_variables_of_opentelemetry_are_enough() {
    let (collector, endpoint) = (Collector::grpc(), Server::ok("ok"));
    let umay = umay!()
        .config(format!(
            "listen = \"127.0.0.1:0\"\n[[route]]\nname = \"web\"\nto = \"http://{}\"\n",
            endpoint.addr()
        ))
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", collector.addr()),
        )
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-scope=a%20b")
        .env("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "20")
        .env("OTEL_SERVICE_NAME", "fleet")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .env("OTEL_TRACES_EXPORTER", "none")
        .start();
    get(&umay);
    let point = durations(&collector, 1);
    assert_eq!(point.resource["service.name"], "fleet");
    assert_eq!(point.resource["deployment.environment.name"], "test");
    let head = &collector.heads()[0];
    assert_eq!(
        (head.get("x-scope"), head.get("grpc-encoding")),
        (Some("a b"), Some("gzip"))
    );
}
