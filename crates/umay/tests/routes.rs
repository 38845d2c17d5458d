//! Routes: which request goes where, and what is changed on its way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::{Certs, Conn, End, Message, Server, Umay, answer, ok, umay};

/// Routes that say their name.
fn saying(routes: &[(&str, &str)]) -> Umay {
    let mut text = "listen = \"127.0.0.1:0\"\n".to_owned();
    for (name, conditions) in routes {
        text +=
            &format!("[[route]]\n{conditions}\nrespond = {{ status = 200, body = \"{name}\" }}\n");
    }
    umay!().config(text).start()
}

fn ask(umay: &Umay, request: &str) -> Message {
    umay.connect().ask(request).unwrap()
}

/// Sends `METHOD HOST TARGET FIELDS` and gives the body.
fn taken(umay: &Umay, method: &str, host: &str, target: &str, fields: &str) -> String {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    let response = ask(umay, &request);
    match response.status() {
        200 => response.text(),
        status => status.to_string(),
    }
}

#[test]
fn hosts_are_exact_before_wildcard_before_any() {
    let umay = saying(&[
        ("any", "host = \"*\""),
        ("wild", "host = \"*.a.test\""),
        ("deep", "host = \"*.x.a.test\""),
        ("exact", "hosts = [\"a.test\", \"b.a.test\"]"),
    ]);
    for (host, name) in [
        ("a.test", "exact"),
        ("A.TEST:8080", "exact"),
        ("b.a.test", "exact"),
        ("c.a.test", "wild"),
        ("d.c.a.test", "wild"),
        ("y.x.a.test", "deep"),
        ("xa.test", "any"),
        ("127.0.0.1", "any"),
    ] {
        assert_eq!(taken(&umay, "GET", host, "/", ""), name, "{host}");
    }
}

#[test]
fn paths_match_by_whole_segments() {
    let umay = saying(&[
        ("api", "path = \"/api\""),
        ("v1", "path = \"/api/v1\""),
        ("home", "path = \"=/\""),
    ]);
    for (target, name) in [
        ("/", "home"),
        ("/?a=b", "home"),
        ("/api", "api"),
        ("/api/", "api"),
        ("/api/v2", "api"),
        ("/api/v1", "v1"),
        ("/api/v1/x?/", "v1"),
        ("/apis", "404"),
        ("/API", "404"),
        ("/other", "404"),
    ] {
        assert_eq!(taken(&umay, "GET", "a.test", target, ""), name, "{target}");
    }
}

#[test]
fn methods_and_headers_narrow_a_route() {
    let umay = saying(&[
        ("all", ""),
        ("write", "methods = [\"POST\", \"PUT\"]"),
        ("canary", "headers = { x-canary = \"1\" }"),
        (
            "both",
            "headers = { x-canary = \"1\", authorization = true }",
        ),
    ]);
    for (method, fields, name) in [
        ("GET", "", "all"),
        ("GET", "X-Canary: 2\r\n", "all"),
        ("GET", "x-CANARY: 1\r\n", "canary"),
        ("GET", "X-Canary: 0\r\nX-Canary: 1\r\n", "canary"),
        ("GET", "X-Canary: 1\r\nAuthorization: x\r\n", "both"),
        ("POST", "Content-Length: 0\r\n", "write"),
        ("PUT", "Content-Length: 0\r\nX-Canary: 1\r\n", "write"),
    ] {
        assert_eq!(
            taken(&umay, method, "a.test", "/", fields),
            name,
            "{method} {fields}"
        );
    }
}

#[test]
fn server_names_and_listeners_narrow_a_route() {
    let certs = Certs::new();
    let tls = certs.issue(&["a.test", "b.test"]).toml();
    let say = |name: &str| format!("respond = {{ status = 200, body = \"{name}\" }}");
    let umay = umay!(
        "[[listener]]\nname = \"one\"\nlisten = \"127.0.0.1:0\"\n{tls}\
         [[listener]]\nname = \"two\"\nlisten = \"127.0.0.1:0\"\n\
         [[route]]\nsni = \"a.test\"\n{}\n\
         [[route]]\nlisteners = [\"one\"]\n{}\n\
         [[route]]\nlisteners = [\"two\"]\n{}\n",
        say("sni"),
        say("one"),
        say("two")
    );
    let over_tls = |name: &str| {
        let mut conn = Conn::connect_tls(umay.at("one"), &certs.trusting(), name).unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
        conn.ask(request).unwrap().text()
    };
    assert_eq!(over_tls("a.test"), "sni");
    assert_eq!(over_tls("b.test"), "one");
    let plain = |at: &str| {
        let mut conn = Conn::connect(umay.at(at)).unwrap();
        conn.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .unwrap()
            .text()
    };
    assert_eq!(plain("one"), "one");
    assert_eq!(plain("two"), "two");
}

#[test]
fn http_is_redirected_to_https_and_told_to_stay_there() {
    let certs = Certs::new();
    let endpoint = Server::ok("safe");
    let umay = umay!(
        "[[listener]]\nname = \"in\"\nlisten = \"127.0.0.1:0\"\n{}\
         [[route]]\nredirect = \"https\"\n\
         [[route]]\nhsts = true\nto = \"http://{}\"\n",
        certs.issue(&["a.test"]).toml(),
        endpoint.addr()
    );
    let response = ask(&umay, "GET /x?y=1 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(response.status(), 308);
    assert_eq!(response.get("location"), Some("https://a.test/x?y=1"));
    assert_eq!(response.get("strict-transport-security"), None);
    let mut conn = Conn::connect_tls(umay.addr(), &certs.trusting(), "a.test").unwrap();
    let response = conn.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    assert_eq!(response.text(), "safe");
    let hsts = response.get("strict-transport-security").unwrap();
    assert!(hsts.starts_with("max-age=31536000"), "{hsts}");
}

#[test]
fn redirects_change_what_they_name_and_keep_the_rest() {
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n\
         [[route]]\npath = \"/host\"\nredirect = {{ host = \"new.test\", status = 301 }}\n\
         [[route]]\npath = \"/path\"\nredirect = {{ path = \"/there\", status = 302 }}\n\
         [[route]]\npath = \"/all\"\n\
         redirect = {{ scheme = \"https\", host = \"b.test\", port = 8443, path = \"/\", status = 307 }}\n\
         [[route]]\npath = \"/s\"\nredirect = \"https\"\n"
    );
    for (target, status, location) in [
        ("/host/a?b", 301, "http://new.test:8080/host/a?b"),
        ("/path?b=c", 302, "http://a.test:8080/there?b=c"),
        ("/all", 307, "https://b.test:8443/"),
        ("/s", 308, "https://a.test/s"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test:8080\r\n\r\n");
        let response = ask(&umay, &request);
        assert_eq!(
            (response.status(), response.get("location")),
            (status, Some(location))
        );
        assert_eq!(
            umay.wait_log(|line| line["status"] == status)["upstream"],
            umay_test::Value::Null
        );
    }
    // A redirect does not take a body along, and does not choke on it either.
    let mut conn = umay.connect();
    let post = "POST /s HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(conn.ask(post).unwrap().status(), 308);
}

#[test]
fn headers_are_edited_both_ways() {
    let endpoint = Server::start(|conn, _| {
        while conn.read_request()?.is_some() {
            let fields = "Server: secret/1.0\r\nX-Old: 1\r\nX-Old: 2\r\nX-Kept: k\r\n";
            conn.send(answer("200 OK", fields, ""))?;
        }
        Ok(())
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n[[route]]\nname = \"edited\"\nto = \"http://{}\"\n\
         [route.request_headers]\nremove = [\"cookie\"]\nadd = {{ X-Added = \"a\" }}\n\
         set = {{ X-Ip = \"{{client.ip}}\", X-Where = \"{{listener}} {{route}}\", X-Tls = \"{{tls.version}}\", \
         X-Ask = \"{{scheme}}://{{request.host}}{{request.path}}\", X-Brace = \"{{{{x}}}}\" }}\n\
         [route.response_headers]\nremove = [\"server\"]\nset = {{ X-Old = \"new\" }}\n\
         add = {{ X-Served-By = \"{{route}}\", X-Id = \"{{request.id}}\" }}\n",
        endpoint.addr()
    );
    let request = "GET /p?q HTTP/1.1\r\nHost: a.test\r\nCookie: x\r\nX-Ip: 6.6.6.6\r\nX-Tls: 9\r\n\
                   x-added: own\r\n\r\n";
    let response = ask(&umay, request);
    assert_eq!(response.get("server"), None);
    assert_eq!(response.get("x-old"), Some("new"));
    assert_eq!(response.get("x-kept"), Some("k"));
    assert_eq!(response.get("x-served-by"), Some("edited"));
    let (sent, _) = umay_test::http::request(&endpoint.recorded()[0])
        .unwrap()
        .unwrap();
    assert_eq!(sent.get("cookie"), None);
    assert_eq!(sent.all("x-added"), ["own", "a"]);
    assert_eq!(sent.get("x-ip"), Some("127.0.0.1"));
    assert_eq!(sent.get("x-where"), Some("127.0.0.1:0 edited"));
    assert_eq!(
        sent.get("x-tls"),
        None,
        "a value that comes out empty leaves no field"
    );
    assert_eq!(sent.get("x-ask"), Some("http://a.test/p"));
    assert_eq!(sent.get("x-brace"), Some("{x}"));
    assert_eq!(response.get("x-id"), sent.get("x-request-id"));
}

#[test]
fn no_template_can_break_a_head() {
    let certs = Certs::new();
    let endpoint = Server::ok("hi");
    // A certificate may say anything about its holder.
    let odd = certs.client("a\r\nX-Admin: 1", "odd.test");
    let umay = umay!(
        "[[listener]]\nlisten = \"127.0.0.1:0\"\n{}client_auth = {{ ca = {:?} }}\n\
         [[route]]\nto = \"http://{}\"\n\
         request_headers.set = {{ X-Cn = \"{{tls.client.cn}}\", X-Subject = \"{{tls.client.subject}}\" }}\n",
        certs.issue(&["a.test"]).toml(),
        certs.ca(),
        endpoint.addr()
    );
    let config = certs.trusting_with(umay_test::rustls::DEFAULT_VERSIONS, Some(&odd), &[]);
    let mut conn = Conn::connect_tls(umay.addr(), &config, "a.test").unwrap();
    conn.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let (sent, _) = umay_test::http::request(&endpoint.recorded()[0])
        .unwrap()
        .unwrap();
    assert_eq!(sent.get("x-admin"), None, "{sent:?}");
}

#[test]
fn prefixes_and_hosts_are_rewritten() {
    let endpoint = Server::http(|request| {
        ok(format!(
            "{} {}",
            request.get("host").unwrap(),
            request.target()
        ))
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n\
         [[route]]\npath = \"/old\"\nrewrite_prefix = \"/new\"\nto = \"http://{0}\"\n\
         [[route]]\npath = \"/strip\"\nrewrite_prefix = \"/\"\nset_host = \"inner.test\"\nto = \"http://{0}\"\n",
        endpoint.addr()
    );
    for (target, seen) in [
        ("/old", "a.test /new"),
        ("/old/", "a.test /new/"),
        ("/old/x?y=/old", "a.test /new/x?y=/old"),
        ("/strip", "inner.test /"),
        ("/strip/x", "inner.test /x"),
        ("/strip?q", "inner.test /?q"),
    ] {
        assert_eq!(taken(&umay, "GET", "a.test", target, ""), seen, "{target}");
    }
}

#[test]
fn a_fixed_answer_needs_no_endpoint() {
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n\
         [[route]]\npath = \"/json\"\n\
         respond = {{ status = 503, body = \"{{}}\", content_type = \"application/json\" }}\n\
         [[route]]\npath = \"/empty\"\nrespond = {{ status = 204 }}\n"
    );
    let mut conn = umay.connect();
    let response = conn
        .ask("GET /json HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    assert_eq!((response.status(), response.text().as_str()), (503, "{}"));
    assert_eq!(response.get("content-type"), Some("application/json"));
    let response = conn
        .ask("HEAD /json HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    assert_eq!(response.get("content-length"), Some("2"));
    let response = conn
        .ask("GET /empty HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    assert_eq!(
        (response.status(), response.get("content-length")),
        (204, None)
    );
}

#[test]
fn a_stream_without_a_route_is_closed_in_order_and_logged() {
    let umay = saying(&[("http", "")]);
    let tcp = umay!(
        "listen = \"127.0.0.1:0\"\n[[route]]\nprotocol = \"mqtt\"\nto = \"tcp://127.0.0.1:1\"\n"
    );
    let mut conn = tcp.connect();
    conn.send("\x00\x01").unwrap();
    assert_eq!(conn.read_to_end().unwrap(), (Vec::new(), End::Clean));
    let line = tcp.wait_reason("no_route");
    assert_eq!(
        (&line["proto"], &line["method"]),
        (&"tcp".into(), &umay_test::Value::Null)
    );
    assert_eq!(taken(&umay, "GET", "a.test", "/", ""), "http");
}
