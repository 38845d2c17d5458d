//! What a collector gets of requests, attempts, calls and streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use umay_test::collector::{Collector, Span};
use umay_test::http2::{Client, Endpoint};
use umay_test::{Refusing, Server, answer, ok, umay, websocket};

use super::{SPAN, Seeing, TRACE, before, both, get, parent, told};

#[track_caller]
fn check(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(span.get(name), *value, "{name} of {span:#?}");
    }
}

#[test]
fn a_request_is_told_by_the_conventions() {
    for collector in both() {
        let endpoint = Seeing::ok();
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\n{}tracing.attributes = {{ \"deployment.environment.name\" = \"test\" }}\n\
             tracing.service_name = \"edge\"\n\
             [[route]]\nname = \"api\"\npath = \"/api\"\nto = \"http://{}\"\n",
            collector.toml(),
            endpoint.server.addr()
        );
        let fields = format!("{}User-Agent: t/1\r\n", parent());
        get(&umay, "/api/x?a=1&token=s3cret", &fields);
        let spans = collector.path("/api/x", 2);
        let (server, client) = (&spans[0], &spans[1]);
        assert_eq!((server.kind, client.kind), (2, 3));
        assert_eq!((&*server.trace_id, &*server.parent_id), (TRACE, SPAN));
        assert_eq!(server.name, "GET /api/*");
        assert_eq!(client.parent_id, server.span_id);
        assert_eq!(told(&endpoint.last()).1, client.span_id);
        assert!(server.start <= client.start && client.start <= client.end);
        assert!(client.end <= server.end && !server.error && !client.error);
        assert_eq!((server.flags & 0x301, client.flags & 0x301), (0x301, 0x101));
        check(
            server,
            &[
                ("http.request.method", "GET"),
                ("url.scheme", "http"),
                ("url.path", "/api/x"),
                ("url.query", "a=1&token=***"),
                ("http.route", "/api/*"),
                ("http.response.status_code", "200"),
                ("network.protocol.version", "1.1"),
                ("server.address", "a.test"),
                ("server.port", "80"),
                ("client.address", "127.0.0.1"),
                ("network.peer.address", "127.0.0.1"),
                ("user_agent.original", "t/1"),
                ("umay.route", "api"),
                ("umay.upstream", "api"),
                ("error.type", ""),
            ],
        );
        let to = endpoint.server.addr();
        check(
            client,
            &[
                ("http.request.method", "GET"),
                ("server.address", "127.0.0.1"),
                ("server.port", &to.port().to_string()),
                ("url.full", &format!("http://{to}/api/x?a=1&token=***")),
                ("http.response.status_code", "200"),
                ("http.request.resend_count", ""),
            ],
        );
        assert_eq!(server.resource["service.name"], "edge");
        assert_eq!(server.resource["deployment.environment.name"], "test");
        assert_eq!(server.resource["service.instance.id"].len(), 36);
        umay.wait_metric("umay_trace_spans_exported_total", &[], 2.0);
    }
}

#[test]
fn methods_from_outside_are_no_names() {
    let (endpoint, collector) = (Server::ok("ok"), Collector::http());
    let umay = before(&[endpoint.addr()], &collector.toml());
    umay.connect()
        .ask("BREW /pot HTTP/1.1\r\nHost: a.test:8080\r\n\r\n")
        .unwrap();
    let spans = collector.path("/pot", 2);
    assert_eq!((&*spans[0].name, &*spans[1].name), ("HTTP default", "HTTP"));
    let expected = [
        ("http.request.method", "_OTHER"),
        ("http.request.method_original", "BREW"),
    ];
    check(&spans[0], &expected);
    check(&spans[0], &[("server.port", "8080")]);
}

#[test]
fn errors_are_whose_they_are() {
    let endpoint = Server::http(|request| match request.target() {
        "/500" => answer("500 Internal Server Error", "", ""),
        "/404" => answer("404 Not Found", "", ""),
        "/cut" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab".to_vec(),
        _ => ok("ok"),
    });
    let collector = Collector::http();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{}[[route]]\nhost = \"a.test\"\nto = \"http://{}\"\n\
         [timeouts]\nbody = \"100ms\"\n",
        collector.toml(),
        endpoint.addr()
    );
    for (path, server, client, kind) in [
        ("/500", true, true, "500"),
        ("/404", false, true, ""),
        ("/200", false, false, ""),
    ] {
        get(&umay, path, "");
        let spans = collector.path(path, 2);
        assert_eq!((spans[0].error, spans[1].error), (server, client), "{path}");
        check(&spans[0], &[("error.type", kind)]);
    }
    let request = "GET /cut HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let _ = umay.connect().ask(request);
    let spans = collector.path("/cut", 2);
    for span in &spans {
        assert!(span.error);
        check(
            span,
            &[
                ("error.type", "upstream_stalled"),
                ("http.response.status_code", "200"),
            ],
        );
    }
    umay.get("b.test", "/nowhere");
    let spans = collector.path("/nowhere", 1);
    assert!(!spans[0].error && spans[0].name == "GET");
    check(
        &spans[0],
        &[
            ("error.type", "no_route"),
            ("http.response.status_code", "404"),
        ],
    );
}

#[test]
fn failed_attempts_are_told_beside_the_one_that_did_it() {
    let down = Refusing::new();
    let collector = Collector::http();
    let busy = Seeing::new(|_| answer("503 Service Unavailable", "", ""));
    let well = Seeing::ok();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"up\"\n{}[upstream.up]\nbalance = \"round_robin\"\noutlier = \"off\"\n\
         retry.budget = 100\nto = [\"http://{}\", \"http://{}\", {{ to = \"http://{}\", priority = 1 }}]\n",
        collector.toml(),
        down.addr(),
        busy.server.addr(),
        well.server.addr()
    );
    assert_eq!(get(&umay, "/thrice", "").status(), 200);
    let spans = collector.path("/thrice", 4);
    let server = &spans[0];
    assert!(!server.error);
    let mut kinds = Vec::new();
    for (number, span) in spans[1..].iter().enumerate() {
        assert_eq!(span.parent_id, server.span_id);
        let resent = if number == 0 {
            String::new()
        } else {
            number.to_string()
        };
        assert_eq!(span.get("http.request.resend_count"), resent);
        kinds.push(span.get("error.type").to_owned());
    }
    assert_eq!(kinds[2], "");
    kinds.sort();
    assert_eq!(kinds, ["", "503", "connect_refused"]);
    assert_eq!(told(&well.last()).1, spans[3].span_id);
    let first = told(&busy.last()).1;
    assert!(spans[1..3].iter().any(|span| span.span_id == first));
    assert_eq!(umay.wait_path("/thrice")["attempts"], 3);
}

#[test]
fn a_hedge_has_its_own() {
    let slow = Arc::new(AtomicUsize::new(0));
    let late = Arc::clone(&slow);
    let one = Seeing::new(move |_| {
        thread::sleep(Duration::from_millis(late.load(Ordering::SeqCst) as u64));
        ok("slow")
    });
    let (two, collector) = (Seeing::ok(), Collector::http());
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"up\"\n{}[upstream.up]\nbalance = \"round_robin\"\noutlier = \"off\"\n\
         retry.budget = 100\nhedge.min_delay = \"40ms\"\nto = [\"http://{}\", \"http://{}\"]\n",
        collector.toml(),
        one.server.addr(),
        two.server.addr()
    );
    let until = std::time::Instant::now() + Duration::from_millis(2500);
    let mut conn = umay.connect();
    while std::time::Instant::now() < until {
        conn.ask(umay_test::GET).unwrap();
    }
    slow.store(500, Ordering::SeqCst);
    let line = umay_test::eventually("a hedge", || {
        conn.ask("GET /hedged HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .unwrap();
        umay.log().into_iter().find(|line| line["attempts"] == 2)
    });
    let id = line["trace_id"].as_str().unwrap();
    let spans = collector.trace(3, |span| span.trace_id == id);
    let (first, second) = (&spans[1], &spans[2]);
    for span in [first, second] {
        assert_eq!(span.parent_id, spans[0].span_id);
        assert!(!span.error);
    }
    assert_ne!(first.span_id, second.span_id);
    check(
        first,
        &[
            ("umay.overtaken", "true"),
            ("http.response.status_code", ""),
        ],
    );
    check(
        second,
        &[("umay.overtaken", ""), ("http.response.status_code", "200")],
    );
}

#[test]
fn http2_calls_and_their_statuses() {
    for collector in both() {
        let seen = Arc::<std::sync::Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&seen);
        let endpoint = Endpoint::start(move |stream| {
            let parent = stream.request().get("traceparent").unwrap().to_owned();
            kept.lock().unwrap().push(parent);
            stream.read_to_end()?;
            stream.respond(200, &[("content-type", "application/grpc")], false)?;
            stream.send(b"\0\0\0\0\0")?;
            stream.finish(&[("grpc-status", "5")])
        });
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\nto = \"{}\"\n{}",
            endpoint.addr(),
            collector.toml()
        );
        let client = Client::connect(umay.addr()).unwrap();
        let parent = format!("00-{TRACE}-{SPAN}-00");
        let fields = [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("traceparent", &*parent),
        ];
        let mut call = client
            .call("POST", "http://a.test/pkg.Service/Do", &fields, true)
            .unwrap();
        assert_eq!(call.head().unwrap().status(), 200);
        call.read_to_end().unwrap();
        let spans = collector.path("/pkg.Service/Do", 2);
        assert_eq!((&*spans[0].trace_id, &*spans[0].parent_id), (TRACE, SPAN));
        for span in &spans {
            check(
                span,
                &[("rpc.system", "grpc"), ("rpc.grpc.status_code", "5")],
            );
        }
        check(&spans[0], &[("network.protocol.version", "2")]);
        assert!(seen.lock().unwrap()[0].contains(&spans[1].span_id));
    }
}

#[test]
fn a_websocket_is_one_request_until_it_is_closed() {
    let endpoint = Server::start(|conn, _| websocket::echo(conn));
    let collector = Collector::http();
    let umay = before(&[endpoint.addr()], &collector.toml());
    let (mut socket, _) = websocket::connect(umay.connect(), "ws://a.test/chat").unwrap();
    socket.send("hello".into()).unwrap();
    assert_eq!(socket.read().unwrap().to_text().unwrap(), "hello");
    assert_eq!(collector.messages(), 0);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    let spans = collector.path("/chat", 2);
    for span in &spans {
        check(
            span,
            &[("http.response.status_code", "101"), ("error.type", "")],
        );
    }
}

#[test]
fn streams_are_told_only_if_they_are_to_be() {
    for streams in [false, true] {
        let (endpoint, collector) = (Server::echo(), Collector::http());
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\n{}tracing.streams = {streams}\n",
            endpoint.addr(),
            collector.toml()
        );
        let mut conn = umay.connect();
        conn.send(b"\0\x01\x02 not HTTP\n").unwrap();
        conn.half_close().unwrap();
        let line = umay.wait_log(|line| line["proto"] == "tcp");
        assert_eq!(line["span_id"].is_string(), streams, "{line}");
        if streams {
            let spans = collector.trace(1, |span| span.name == "tcp");
            assert_eq!(line["trace_id"], spans[0].trace_id.as_str());
            check(
                &spans[0],
                &[("umay.route", "default"), ("network.transport", "tcp")],
            );
        }
    }
}
