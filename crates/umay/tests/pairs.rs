//! Every version of HTTP before Umay, every version behind it, with and without TLS: the same
//! exchanges, and nothing that has meaning is lost.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

mod scene;

use std::io;
use std::thread;

use scene::each;
use umay_test::eventually;
use umay_test::exchange::{Body, Exchange};

/// Bytes that tell when one is lost, doubled or out of place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n % 251) as u8 ^ (n >> 16) as u8)
        .collect()
}

/// Answers with the request's method, target and body.
fn mirror(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let body = exchange.read_to_end()?;
    let line = exchange.request().start.clone();
    let line = line.rsplit_once(' ').unwrap_or_default().0;
    let text = [line.as_bytes(), b" ", &body].concat();
    exchange.respond(200, &[], Body::Length(text.len()))?;
    if exchange.request().method() == "HEAD" {
        // The length of what a GET would have got.
        return Ok(());
    }
    exchange.send(&text)?;
    exchange.finish(&[])
}

#[test]
fn methods_and_targets_arrive() {
    each("", mirror, |pair| {
        for (method, body) in [
            ("GET", None),
            ("DELETE", None),
            ("OPTIONS", None),
            ("POST", Some("abc")),
            ("PUT", Some("")),
            ("PATCH", Some("x")),
            ("SEARCH", Some("y")),
        ] {
            let target = "/a%20b/c;d?e=f&g=%2F?&&";
            let framing = body.map_or(Body::Empty, |body| Body::Length(body.len()));
            let mut exchange = pair.call(method, target, &[], framing);
            if let Some(body) = body {
                exchange.send(body.as_bytes()).unwrap();
                exchange.finish(&[]).unwrap();
            }
            assert_eq!(exchange.head().unwrap().status(), 200);
            let text = exchange.read_to_end().unwrap();
            let expected = format!("{method} {target} {}", body.unwrap_or_default());
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    });
}

#[test]
fn a_head_has_a_length_and_no_body() {
    let script = |exchange: &mut Exchange<'_>| match exchange.request().method() {
        "HEAD" => {
            let fields = [("content-length", "12345")];
            exchange.respond(200, &fields, Body::Empty)
        }
        _ => mirror(exchange),
    };
    each("", script, |pair| {
        let mut exchange = pair.call("HEAD", "/x", &[], Body::Empty);
        let head = exchange.head().unwrap();
        assert_eq!(head.get("content-length"), Some("12345"));
        assert_eq!(exchange.read_to_end().unwrap(), b"");
        assert_eq!(pair.ask("/next", None).1, b"GET /next ");
    });
}

#[test]
fn empty_bodies_stay_empty_however_they_are_said() {
    let script = |exchange: &mut Exchange<'_>| {
        let announced = match (exchange.is_http2(), exchange.request()) {
            (false, request) => request.get("transfer-encoding").is_some(),
            (true, _) => false,
        };
        let body = exchange.read_to_end()?;
        let (seen, target) = (body.len().to_string(), exchange.request().target());
        let framing = match target {
            "/empty" => Body::Empty,
            "/zero" => Body::Length(0),
            _ => Body::Unknown,
        };
        let announced = announced.to_string();
        let fields = [("x-length", &*seen), ("x-chunked", &*announced)];
        exchange.respond(200, &fields, framing)?;
        exchange.finish(&[])
    };
    each("", script, |pair| {
        for framing in [Body::Empty, Body::Length(0), Body::Unknown] {
            for target in ["/empty", "/zero", "/unknown"] {
                let mut exchange = pair.call("POST", target, &[], framing);
                exchange.finish(&[]).unwrap();
                let head = exchange.head().unwrap();
                assert_eq!(head.get("x-length"), Some("0"), "{framing:?} {target}");
                if framing != Body::Unknown {
                    assert_eq!(head.get("x-chunked"), Some("false"), "{framing:?}");
                }
                assert_eq!(exchange.read_to_end().unwrap(), b"");
            }
        }
    });
}

#[test]
fn large_bodies_arrive_byte_by_byte() {
    const LENGTH: usize = 3_000_001;
    let script = |exchange: &mut Exchange<'_>| {
        let known = exchange.request().get("content-length").is_some();
        let body = exchange.read_to_end()?;
        let same = (body == pattern(LENGTH)).to_string();
        let framing = if exchange.request().target() == "/known" {
            Body::Length(body.len())
        } else {
            Body::Unknown
        };
        let known = known.to_string();
        exchange.respond(200, &[("x-same", &same), ("x-known", &known)], framing)?;
        for piece in body.chunks(50_000) {
            exchange.send(piece)?;
        }
        exchange.finish(&[])
    };
    each("", script, |pair| {
        for (target, framing) in [
            ("/known", Body::Unknown),
            ("/unknown", Body::Length(LENGTH)),
        ] {
            let mut exchange = pair.call("PUT", target, &[], framing);
            for piece in pattern(LENGTH).chunks(70_001) {
                exchange.send(piece).unwrap();
            }
            exchange.finish(&[]).unwrap();
            let head = exchange.head().unwrap();
            assert_eq!(head.get("x-same"), Some("true"), "{target} {framing:?}");
            let known = (framing != Body::Unknown).to_string();
            assert_eq!(head.get("x-known"), Some(&*known), "{framing:?}");
            let length = LENGTH.to_string();
            let told = (target == "/known").then_some(&*length);
            assert_eq!(head.get("content-length"), told);
            let body = exchange.read_to_end().unwrap();
            assert!(body == pattern(LENGTH), "{target} {framing:?}: changed");
        }
    });
}

#[test]
fn pieces_are_passed_on_as_they_come_both_ways_at_once() {
    let script = |exchange: &mut Exchange<'_>| {
        exchange.respond(200, &[], Body::Unknown)?;
        while let Some(piece) = exchange.read_some()? {
            exchange.send(&piece)?;
        }
        exchange.finish(&[])
    };
    each("", script, |pair| {
        let mut exchange = pair.call("POST", "/", &[], Body::Unknown);
        exchange.send(b"first").unwrap();
        assert_eq!(exchange.head().unwrap().status(), 200);
        assert_eq!(exchange.read_exact(5).unwrap(), b"first");
        for piece in pattern(600_000).chunks(20_000) {
            exchange.send(piece).unwrap();
            assert!(exchange.read_exact(piece.len()).unwrap() == piece);
        }
        exchange.finish(&[]).unwrap();
        assert_eq!(exchange.read_some().unwrap(), None);
    });
}

#[test]
fn trailers_pass_both_ways() {
    let script = |exchange: &mut Exchange<'_>| {
        let body = exchange.read_to_end()?;
        let sum = exchange.trailers();
        assert_eq!(sum.len(), 2, "{sum:?}");
        let got = format!("{sum:?}").to_lowercase();
        exchange.respond(200, &[("trailer", "x-done")], Body::Unknown)?;
        if exchange.request().target() == "/body" {
            exchange.send(&body)?;
        }
        exchange.finish(&[("x-done", "yes"), ("x-got", &got)])
    };
    each("", script, |pair| {
        for (target, body) in [("/body", &b"abc"[..]), ("/none", b"")] {
            let mut exchange = pair.call("POST", target, &[], Body::Unknown);
            if !body.is_empty() {
                exchange.send(body).unwrap();
            }
            exchange.finish(&[("x-sum", "1"), ("x-sum", "2")]).unwrap();
            exchange.head().unwrap();
            assert_eq!(exchange.read_to_end().unwrap(), body);
            let got = "[(\"x-sum\", \"1\"), (\"x-sum\", \"2\")]";
            assert_eq!(
                exchange.trailers(),
                [("x-done", "yes"), ("x-got", got)],
                "{target}"
            );
        }
    });
}

#[test]
fn trailers_behind_a_known_length_pass_if_they_are_announced() {
    let script = |exchange: &mut Exchange<'_>| {
        let length = exchange.request().get("content-length").unwrap_or("none");
        let length = length.to_owned();
        let body = exchange.read_to_end()?;
        let sum = format!("{:?}", exchange.trailers()).to_lowercase();
        let fields = [
            ("trailer", "x-done"),
            ("x-sum", &*sum),
            ("x-length", &*length),
        ];
        // In HTTP/1 nobody can send it.
        let framing = if exchange.is_http2() {
            Body::Length(body.len())
        } else {
            Body::Unknown
        };
        exchange.respond(200, &fields, framing)?;
        exchange.send(&body)?;
        exchange.finish(&[("x-done", "yes")])
    };
    each("", script, |pair| {
        let framing = if pair.is_http2() {
            Body::Length(3)
        } else {
            Body::Unknown
        };
        let mut exchange = pair.call("POST", "/", &[("trailer", "x-sum")], framing);
        exchange.send(b"abc").unwrap();
        exchange.finish(&[("x-sum", "1")]).unwrap();
        let head = exchange.head().unwrap();
        assert_eq!(head.get("x-sum"), Some("[(\"x-sum\", \"1\")]"));
        let both = pair.is_http2() && pair.up.is_http2();
        assert_eq!(head.get("x-length"), Some(if both { "3" } else { "none" }));
        assert_eq!(head.get("content-length"), both.then_some("3"));
        assert_eq!(exchange.read_to_end().unwrap(), b"abc");
        assert_eq!(exchange.trailers(), [("x-done", "yes")]);
    });
}

#[test]
fn interim_answers_come_before_the_final_one() {
    let script = |exchange: &mut Exchange<'_>| {
        exchange.inform(103, &[("link", "</a.css>"), ("link", "</b.css>")])?;
        exchange.inform(103, &[])?;
        mirror(exchange)
    };
    each("", script, |pair| {
        let mut exchange = pair.call("GET", "/", &[], Body::Empty);
        let hints = exchange.head().unwrap();
        assert_eq!(hints.status(), 103);
        assert_eq!(hints.all("link"), ["</a.css>", "</b.css>"]);
        assert_eq!(hints.get("content-length"), None);
        assert_eq!(exchange.head().unwrap().status(), 103);
        assert_eq!(exchange.head().unwrap().status(), 200);
        assert_eq!(exchange.read_to_end().unwrap(), b"GET / ");
    });
}

#[test]
fn a_client_may_wait_for_100() {
    let script = |exchange: &mut Exchange<'_>| {
        assert_eq!(exchange.request().get("expect"), Some("100-continue"));
        if exchange.request().target() == "/refused" {
            exchange.respond(413, &[], Body::Length(2))?;
            exchange.send(b"no")?;
            exchange.finish(&[])?;
            return Err(io::Error::other("the body does not come"));
        }
        exchange.inform(100, &[])?;
        mirror(exchange)
    };
    each("", script, |pair| {
        let expect = [("expect", "100-continue")];
        let mut exchange = pair.call("POST", "/", &expect, Body::Length(4));
        assert_eq!(exchange.head().unwrap().status(), 100);
        exchange.send(b"body").unwrap();
        exchange.finish(&[]).unwrap();
        assert_eq!(exchange.head().unwrap().status(), 200);
        assert_eq!(exchange.read_to_end().unwrap(), b"POST / body");
        let mut exchange = pair.call("POST", "/refused", &expect, Body::Length(4));
        assert_eq!(exchange.head().unwrap().status(), 413);
        assert_eq!(exchange.read_to_end().unwrap(), b"no");
    });
}

#[test]
fn answers_without_content_stay_so() {
    let script = |exchange: &mut Exchange<'_>| {
        exchange.read_to_end()?;
        match exchange.request().target() {
            "/204" => exchange.respond(204, &[("x-a", "b")], Body::Empty),
            "/304" => exchange.respond(304, &[("etag", "\"e\"")], Body::Empty),
            _ => exchange.respond(304, &[("content-length", "7")], Body::Empty),
        }
    };
    each("", script, |pair| {
        for (target, status, field, value) in [
            ("/204", 204, "x-a", "b"),
            ("/304", 304, "etag", "\"e\""),
            ("/304-with-length", 304, "content-length", "7"),
        ] {
            let mut exchange = pair.call("GET", target, &[], Body::Empty);
            let head = exchange.head().unwrap();
            assert_eq!(head.status(), status);
            assert_eq!(head.get(field), Some(value), "{target}");
            assert_eq!(exchange.read_to_end().unwrap(), b"");
        }
    });
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let script = |exchange: &mut Exchange<'_>| {
        exchange.read_some()?;
        exchange.respond(403, &[], Body::Length(4))?;
        exchange.send(b"stop")?;
        exchange.finish(&[])?;
        // No more is read; what HTTP/1 would need a moment for, an end in order, is not given.
        Err(io::Error::other("enough"))
    };
    each("", script, |pair| {
        let mut exchange = pair.call("POST", "/", &[], Body::Unknown);
        exchange.send(b"some").unwrap();
        assert_eq!(exchange.head().unwrap().status(), 403);
        assert_eq!(exchange.read_to_end().unwrap(), b"stop");
    });
}

#[test]
fn an_answer_that_is_cut_never_looks_complete() {
    let script = |exchange: &mut Exchange<'_>| {
        let framing = match exchange.request().target() {
            "/known" => Body::Length(1000),
            _ => Body::Unknown,
        };
        exchange.respond(200, &[], framing)?;
        exchange.send(b"part")?;
        // The part arrives before the cut.
        exchange.read_some()?;
        Err(io::Error::other("cut"))
    };
    each("", script, |pair| {
        for target in ["/known", "/unknown"] {
            let mut exchange = pair.call("POST", target, &[], Body::Unknown);
            assert_eq!(exchange.head().unwrap().status(), 200);
            assert_eq!(exchange.read_exact(4).unwrap(), b"part");
            exchange.send(b"now").unwrap();
            assert!(exchange.read_to_end().is_err(), "{target}");
        }
        let cut = pair.umay.wait_reason("upstream_cut");
        assert_eq!(cut["status"], 200);
    });
}

#[test]
fn a_client_that_leaves_ends_the_work_of_the_endpoint() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (came, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (entry, counter) = (Arc::clone(&came), Arc::clone(&told));
    let script = move |exchange: &mut Exchange<'_>| {
        entry.fetch_add(1, Ordering::SeqCst);
        match exchange.request().target() {
            "/silent" => {}
            "/answering" => exchange.respond(200, &[], Body::Unknown)?,
            // More than all windows and buffers on the way hold.
            _ => {
                exchange.respond(200, &[], Body::Unknown)?;
                while exchange.send(&[7; 10_000]).is_ok() {}
                counter.fetch_add(1, Ordering::SeqCst);
                return Err(io::Error::other("gone"));
            }
        }
        exchange.wait_gone()?;
        counter.fetch_add(1, Ordering::SeqCst);
        Err(io::Error::other("gone"))
    };
    each("", script, |pair| {
        for target in ["/silent", "/answering", "/flooding"] {
            let before = told.load(Ordering::SeqCst);
            let mut exchange = pair.call("GET", target, &[], Body::Empty);
            eventually(&format!("{pair}: {target} to arrive"), || {
                (came.load(Ordering::SeqCst) > before).then_some(())
            });
            assert_eq!(pair.umay.metric("umay_http_requests_in_flight", &[]), 1.0);
            if target != "/silent" {
                assert_eq!(exchange.head().unwrap().status(), 200);
            }
            exchange.cut().unwrap();
            eventually(&format!("{pair}: {target} to end"), || {
                (told.load(Ordering::SeqCst) > before).then_some(())
            });
            pair.umay
                .wait_metric("umay_http_requests_in_flight", &[], 0.0);
        }
    });
}

#[test]
fn many_requests_at_once_are_kept_apart() {
    each("", mirror, |pair| {
        thread::scope(|scope| {
            for caller in 0..40 {
                scope.spawn(move || {
                    for round in 0..4 {
                        let target = format!("/{caller}/{round}");
                        let body = pattern(round * 10_000);
                        let (status, text) = pair.ask(&target, Some(&body));
                        let expected = [format!("POST {target} ").as_bytes(), &body].concat();
                        assert_eq!(status, 200);
                        assert!(text == expected, "{target}");
                    }
                });
            }
        });
    });
}
