//! What a collector gets to know of people: no more than the access log tells under the same `privacy`.

use umay_test::collector::{Collector, Span};
use umay_test::http2::Client;
use umay_test::{Server, Umay, umay};

use super::{SPAN, TRACE, both};

/// Whoever is named by a trusted proxy, so that clients can be anybody.
fn config(endpoint: &Server, collector: &Collector, more: &str) -> String {
    format!(
        "{more}\n{}[[listener]]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [[route]]\nto = \"http://{}\"\n",
        collector.toml(),
        endpoint.addr()
    )
}

const CLIENT: &str = "203.0.113.77";

/// Credentials, which nobody is told in any mode; `hunter` is in all of them.
const SECRET: &str = "hunter";

/// What people have written of themselves.
const PERSONAL: &str = "Ada";

/// A request with all that may not be told, and what may be told in some modes only.
fn ask(umay: &Umay, path: &str) {
    let request = format!(
        "GET {path};jsessionid=hunter1/x?access_token=hunter2&acc%65ss%5Ftoken=hunter3&name=Ada&Ada@b.test&next=/a?sig=hunter4 HTTP/1.1\r\n\
         Host: a.test\r\nX-Forwarded-For: {CLIENT}\r\nAuthorization: Bearer hunter5\r\nCookie: id=hunter6\r\n\
         Proxy-Authorization: Basic hunter7\r\nX-Api-Key: hunter8\r\nUser-Agent: curl/8 (Ada)\r\n\
         Referer: https://Ada:hunter9@b.test/of?q=Ada\r\n\
         traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: v=Ada\r\nbaggage: user=Ada,token=hunter10\r\n\r\n"
    );
    assert_eq!(umay.connect().ask(request).unwrap().status(), 200);
}

/// The spans of the request for this path, in any way of telling it.
#[track_caller]
fn spans(collector: &Collector, path: &str, count: usize) -> Vec<Span> {
    collector.trace(count, |span| span.get("url.path").starts_with(path))
}

/// All that spans say.
fn text(spans: &[Span]) -> String {
    format!("{spans:?}")
}

#[test]
fn without_privacy_all_is_told_but_credentials() {
    for collector in both() {
        let endpoint = Server::ok("hi");
        let umay = umay!("{}", config(&endpoint, &collector, ""));
        ask(&umay, "/open");
        let spans = spans(&collector, "/open", 2);
        let (server, client) = (&spans[0], &spans[1]);
        assert!(!text(&spans).contains(SECRET), "{spans:#?}");
        let path = "/open;jsessionid=***";
        let query = "access_token=***&acc%65ss%5Ftoken=***&name=Ada&Ada@b.test&next=/a?sig=***";
        assert_eq!(server.get("url.path"), path);
        assert_eq!(server.get("url.query"), query);
        let full = format!("http://{}{path}?{query}", endpoint.addr());
        assert_eq!(client.get("url.full"), full);
        assert_eq!(server.get("client.address"), CLIENT);
        assert_eq!(server.get("network.peer.address"), "127.0.0.1");
        assert!(server.get("network.peer.port").parse::<u16>().is_ok());
        assert_eq!(server.get("user_agent.original"), "curl/8 (Ada)");
        assert_eq!((&*server.state, &*client.state), ("v=Ada", "v=Ada"));
        // The same as in the log.
        let line = umay.wait_log(|line| line["host"] == "a.test");
        assert_eq!(
            (&line["path"], &line["query"]),
            (&path.into(), &query.into())
        );
        // Baggage goes to the endpoint alone, where all of it was meant to go.
        let seen = endpoint.recorded_text();
        assert!(seen.contains("user=Ada,token=hunter10") && seen.contains("hunter1/x?"));
    }
}

#[test]
fn with_privacy_people_are_not_told_of() {
    for (privacy, shown) in [
        ("privacy = \"gdpr\"", Some("203.0.113.0")),
        ("[privacy]\naddresses = \"hash\"", None),
    ] {
        for collector in both() {
            let endpoint = Server::ok("hi");
            // A table at the top would take the keys behind it in.
            let privacy = privacy.replace("[privacy]\n", "privacy.");
            let umay = umay!("{}", config(&endpoint, &collector, &privacy));
            ask(&umay, "/closed");
            let spans = spans(&collector, "/closed", 2);
            let (server, client) = (&spans[0], &spans[1]);
            let mut told = spans.clone();
            // What a trace is about is passed on as it came, unless it is among the headers that are hidden.
            told.iter_mut().for_each(|span| span.state.clear());
            for hidden in [SECRET, PERSONAL, CLIENT] {
                assert!(!text(&told).contains(hidden), "{hidden} in {spans:#?}");
            }
            let query = "access_token=***&acc%65ss%5Ftoken=***&name=***&***&next=***?sig=***";
            assert_eq!(server.get("url.query"), query);
            assert!(client.get("url.full").ends_with(query), "{client:#?}");
            assert_eq!(server.get("user_agent.original"), "");
            assert_eq!(server.get("network.peer.port"), "");
            let line = umay.wait_log(|line| line["host"] == "a.test");
            assert_eq!(line["client_ip"], server.get("client.address"));
            assert_eq!(line["peer"], server.get("network.peer.address"));
            match shown {
                Some(shown) => assert_eq!(server.get("client.address"), shown),
                None => assert_eq!(server.get("client.address").len(), 16),
            }
        }
    }
}

/// `privacy.headers` says which headers are not told, and so it is what is told.
#[test]
fn headers_are_told_as_the_list_says() {
    let endpoint = Server::ok("hi");
    for (headers, agent, state) in [
        ("[]", "curl/8 (Ada)", "v=Ada"),
        ("[\"User-Agent\", \"TraceState\"]", "", ""),
    ] {
        let collector = Collector::http();
        let privacy = format!("privacy.headers = {headers}");
        let umay = umay!("{}", config(&endpoint, &collector, &privacy));
        ask(&umay, "/listed");
        for span in spans(&collector, "/listed", 2) {
            assert_eq!(span.state, state);
            let told = if span.kind == 2 { agent } else { "" };
            assert_eq!(span.get("user_agent.original"), told);
        }
        // Endpoints get it in any case.
        assert!(endpoint.recorded_text().contains("v=Ada"));
    }
}

#[test]
fn a_reload_makes_spans_private() {
    let (endpoint, collector) = (Server::ok("hi"), Collector::http());
    let umay = umay!("{}", config(&endpoint, &collector, ""));
    ask(&umay, "/before");
    assert!(text(&spans(&collector, "/before", 2)).contains(CLIENT));
    let request = |path: &str| {
        format!("GET {path}?name=Ada HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {CLIENT}\r\n\r\n")
    };
    assert!(umay.reload(config(&endpoint, &collector, "privacy = \"gdpr\"")));
    umay.connect().ask(request("/after")).unwrap();
    let told = text(&spans(&collector, "/after", 2));
    assert!(!told.contains(CLIENT) && !told.contains(PERSONAL), "{told}");
    assert!(umay.reload(config(&endpoint, &collector, "")));
    umay.connect().ask(request("/again")).unwrap();
    let told = text(&spans(&collector, "/again", 2));
    assert!(told.contains(CLIENT) && told.contains(PERSONAL), "{told}");
}

/// A user in front of a host (RFC 3986 section 3.2.1) has a password behind it, wherever a request has a host.
#[test]
fn the_user_of_an_authority_is_never_told() {
    let (endpoint, collector) = (Server::ok("hi"), Collector::http());
    for privacy in ["", "privacy = \"gdpr\""] {
        let umay = umay!("{}", config(&endpoint, &collector, privacy));
        for request in [
            "GET http://Ada:hunter1@a.test/absolute HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET http://Ada:hunter1@a.test/absolute HTTP/1.1\r\nHost: Ada:hunter1@a.test\r\n\r\n",
            "GET /host HTTP/1.1\r\nHost: Ada:hunter1@a.test\r\n\r\n",
            "GET /host HTTP/1.1\r\nHost: hunter1@a.test:80\r\n\r\n",
            "CONNECT Ada:hunter1@a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n",
        ] {
            let _ = umay.connect().ask(request);
        }
        let client = Client::connect(umay.addr()).unwrap();
        if let Ok(mut stream) = client.call("GET", "http://Ada:hunter1@a.test/h2", &[], true) {
            let _ = stream.head();
        }
        // Spans come in the order in which requests end.
        umay.get("a.test", "/last");
        spans(&collector, "/last", 2);
        umay.wait_path("/last");
        let told = text(&collector.spans()) + &umay.stdout() + &umay.events();
        assert!(!told.contains(SECRET), "{told}");
    }
}

/// A stream has nothing but an address, and where it was headed.
#[test]
fn streams_are_private_too() {
    for (privacy, address) in [("", "127.0.0.1"), ("privacy = \"gdpr\"\n", "127.0.0.0")] {
        let (endpoint, collector) = (Server::echo(), Collector::http());
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\n{privacy}{}tracing.streams = true\n",
            endpoint.addr(),
            collector.toml()
        );
        let mut conn = umay.connect();
        conn.send(b"\0\x01\x02 not HTTP\n").unwrap();
        conn.half_close().unwrap();
        conn.read_to_end().unwrap();
        let spans = collector.trace(1, |span| span.name == "tcp");
        assert_eq!(spans[0].get("client.address"), address);
        assert_eq!(spans[0].get("network.peer.address"), address);
        let port = spans[0].get("network.peer.port");
        assert_eq!(port.is_empty(), !privacy.is_empty(), "{port}");
    }
}
