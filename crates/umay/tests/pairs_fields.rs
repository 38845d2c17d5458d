//! Every version of HTTP before Umay and behind it: what becomes of the fields that the versions
//! write differently, and answers that Umay gives itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

mod scene;

use std::io;

use scene::{Down, Pair, each, each_with};
use umay_test::exchange::{Body, Exchange};
use umay_test::{Message, Refusing};

/// Answers with the request's head, a field in each line.
fn tell(exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.read_to_end()?;
    let mut text = exchange.request().start.clone() + "\n";
    for (name, value) in &exchange.request().fields {
        text += &format!("{}: {value}\n", name.to_lowercase());
    }
    exchange.respond(200, &[], Body::Length(text.len()))?;
    exchange.send(text.as_bytes())?;
    exchange.finish(&[])
}

/// What the endpoint was asked.
fn told(pair: &Pair<'_>, fields: &[(&str, &str)], body: Body) -> Message {
    let mut exchange = pair.call("POST", "/", fields, body);
    exchange.finish(&[]).unwrap();
    assert_eq!(exchange.head().unwrap().status(), 200);
    let text = String::from_utf8(exchange.read_to_end().unwrap()).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let split = |line: String| {
        line.rsplit_once(": ")
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
    };
    Message {
        start: lines.next().unwrap(),
        fields: lines.filter_map(split).collect(),
        ..Message::default()
    }
}

#[test]
fn cookies_are_one_field_in_http1_and_may_be_many_in_http2() {
    each("", tell, |pair| {
        for fields in [
            &[("cookie", "a=1; b=2; c=3")][..],
            &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")],
            &[("cookie", "a=1; b=2"), ("cookie", "c=3")],
        ] {
            if fields.len() > 1 && !pair.is_http2() {
                continue;
            }
            let seen = told(pair, fields, Body::Empty);
            if pair.up.is_http2() {
                assert_eq!(seen.all("cookie"), ["a=1", "b=2", "c=3"]);
            } else {
                assert_eq!(seen.get("cookie"), Some("a=1; b=2; c=3"));
            }
        }
    });
}

#[test]
fn set_cookies_stay_apart_and_in_order() {
    let script = |exchange: &mut Exchange<'_>| {
        let cookies = ["a=1; Path=/", "b=2, x; Secure", "a=3"];
        let fields = cookies.map(|cookie| ("set-cookie", cookie));
        exchange.respond(200, &fields, Body::Length(0))?;
        exchange.finish(&[])
    };
    each("", script, |pair| {
        let mut exchange = pair.call("GET", "/", &[], Body::Empty);
        let head = exchange.head().unwrap();
        assert_eq!(
            head.all("set-cookie"),
            ["a=1; Path=/", "b=2, x; Secure", "a=3"]
        );
    });
}

#[test]
fn the_host_is_said_once_in_the_versions_own_way() {
    each("", tell, |pair| {
        let seen = told(pair, &[], Body::Empty);
        if pair.up.is_http2() {
            assert_eq!(seen.get(":authority"), Some("a.test"));
            assert_eq!(seen.get("host"), None);
            let scheme = match pair.up {
                scene::Up::Http2 => "http",
                _ => "https",
            };
            assert_eq!(seen.get(":scheme"), Some(scheme));
        } else {
            assert_eq!(seen.get("host"), Some("a.test"));
        }
        assert_eq!(seen.get("x-forwarded-host"), Some("a.test"));
        let scheme = match pair.down {
            Down::Http1 | Down::Http2 => "http",
            _ => "https",
        };
        assert_eq!(seen.get("x-forwarded-proto"), Some(scheme));
        let via = if pair.is_http2() {
            "2 umay"
        } else {
            "1.1 umay"
        };
        assert_eq!(seen.get("via"), Some(via));
    });
}

#[test]
fn the_host_that_is_set_is_said_in_the_versions_own_way() {
    let more = "[[route]]\nto = \"up\"\nset_host = \"inner.test:81\"\n";
    each(more, tell, |pair| {
        let seen = told(pair, &[], Body::Empty);
        let name = if pair.up.is_http2() {
            ":authority"
        } else {
            "host"
        };
        assert_eq!(seen.get(name), Some("inner.test:81"));
        assert_eq!(seen.get("x-forwarded-host"), Some("a.test"));
    });
}

#[test]
fn te_says_trailers_or_nothing() {
    each("", tell, |pair| {
        let seen = told(pair, &[("te", "trailers")], Body::Empty);
        // In HTTP/1 it ends at the connection; in HTTP/2 it is what gRPC asks its endpoints for.
        let expected = pair.up.is_http2().then_some("trailers");
        assert_eq!(seen.get("te"), expected);
        if !pair.is_http2() {
            let seen = told(pair, &[("te", "gzip, trailers;q=0.5")], Body::Empty);
            assert_eq!(seen.get("te"), expected);
            let seen = told(pair, &[("te", "gzip")], Body::Empty);
            assert_eq!(seen.get("te"), None);
        }
    });
}

#[test]
fn what_is_about_one_connection_of_http1_ends_there() {
    const ONE: [(&str, &str); 5] = [
        ("connection", "x-hop, keep-alive, te"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("x-hop", "1"),
        ("x-stays", "2"),
    ];
    let script = |exchange: &mut Exchange<'_>| {
        if exchange.is_http2() {
            tell(exchange)
        } else {
            exchange.read_to_end()?;
            let request = exchange.request();
            for (name, _) in &ONE[..4] {
                assert!(request.get(name).is_none(), "{name}: {request:?}");
            }
            exchange.respond(200, &ONE, Body::Unknown)?;
            exchange.send(b"a\n")?;
            exchange.finish(&[])
        }
    };
    each("", script, |pair| {
        let mut fields = ONE.to_vec();
        if pair.is_http2() {
            // The library of the test refuses to send the others.
            fields = vec![("x-stays", "2")];
        }
        let mut exchange = pair.call("GET", "/", &fields, Body::Empty);
        let head = exchange.head().unwrap();
        for (name, _) in &ONE[..4] {
            assert!(head.get(name).is_none(), "{name}: {head:?}");
        }
        if !pair.up.is_http2() {
            assert_eq!(head.get("x-stays"), Some("2"));
            let chunked = head.get("transfer-encoding").is_some();
            assert_eq!(chunked, !pair.is_http2());
        }
        let text = String::from_utf8(exchange.read_to_end().unwrap()).unwrap();
        assert!(
            !text.contains("x-hop") && !text.contains("keep-alive"),
            "{text}"
        );
    });
}

#[test]
fn names_are_in_lower_case_in_http2_and_values_are_left_alone() {
    each("", tell, |pair| {
        let name = if pair.is_http2() {
            "x-mixed"
        } else {
            "X-MiXeD"
        };
        let seen = told(pair, &[(name, "A  b\tC: d")], Body::Empty);
        let line = seen
            .fields
            .iter()
            .find(|(name, _)| name.contains("x-mixed"));
        assert_eq!(format!("{line:?}"), "Some((\"x-mixed: A  b\\tC\", \"d\"))");
    });
}

#[test]
fn umay_answers_in_every_version_itself() {
    let more = "
        [[route]]\npath = \"/moved\"\nredirect = { host = \"b.test\", path = \"/new\", status = 302 }
        [[route]]\npath = \"/fixed\"\nrespond = { status = 203, body = \"fixed\" }
        [[route]]\npath = \"/empty\"\nrespond = { status = 204 }
        [[route]]\npath = \"/small\"\nto = \"up\"\nmax_body = \"10B\"\n";
    each(more, tell, |pair| {
        let begin = |method, target, body| pair.call(method, target, &[], body);
        let mut exchange = begin("GET", "/moved?q=1", Body::Empty);
        let head = exchange.head().unwrap();
        let scheme = match pair.down {
            Down::Http1 | Down::Http2 => "http",
            _ => "https",
        };
        let location = format!("{scheme}://b.test/new?q=1");
        assert_eq!(head.status(), 302);
        assert_eq!(head.get("location"), Some(&*location));
        assert_eq!(exchange.read_to_end().unwrap(), b"");
        // A body that nobody wants does not keep the answer away.
        for body in [Body::Empty, Body::Length(3), Body::Unknown] {
            let mut exchange = begin("POST", "/fixed", body);
            let head = exchange.head().unwrap();
            assert_eq!(
                (head.status(), head.get("content-length")),
                (203, Some("5"))
            );
            assert_eq!(exchange.read_to_end().unwrap(), b"fixed", "{body:?}");
        }
        let mut exchange = begin("HEAD", "/fixed", Body::Empty);
        assert_eq!(exchange.head().unwrap().get("content-length"), Some("5"));
        assert_eq!(exchange.read_to_end().unwrap(), b"");
        let mut exchange = begin("GET", "/empty", Body::Empty);
        let head = exchange.head().unwrap();
        assert_eq!((head.status(), head.get("content-length")), (204, None));
        assert_eq!(exchange.read_to_end().unwrap(), b"");
        let mut exchange = begin("POST", "/small", Body::Length(11));
        let head = exchange.head().unwrap();
        assert_eq!(head.status(), 413);
        assert_eq!(head.reason().as_deref(), Some("request_body_too_large"));
        let mut exchange = begin("POST", "/small", Body::Unknown);
        exchange.send(b"0123456789a").unwrap();
        let head = exchange.head().unwrap();
        assert_eq!(head.reason().as_deref(), Some("request_body_too_large"));
    });
}

#[test]
fn refusals_are_told_in_every_version() {
    let refusing = Refusing::new();
    let routes = format!(
        "[[route]]\npath = \"/taken\"\nto = \"up\"\n[[route]]\npath = \"/dead\"\nto = \"http://{}\"\n",
        refusing.addr()
    );
    each_with(&routes, tell, |pair| {
        for (target, status, reason) in [("/", 404, "no_route"), ("/dead", 502, "connect_refused")]
        {
            for method in ["GET", "HEAD"] {
                let mut exchange = pair.call(method, target, &[], Body::Empty);
                let head = exchange.head().unwrap();
                assert_eq!(head.status(), status);
                assert_eq!(head.reason().as_deref(), Some(reason));
                let body = exchange.read_to_end().unwrap();
                assert_eq!(body.is_empty(), method == "HEAD");
            }
        }
        assert_eq!(pair.ask("/taken", None).0, 200);
    });
}
