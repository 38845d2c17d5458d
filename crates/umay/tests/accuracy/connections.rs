//! Connections to endpoints: each that was opened is idle, in use or closed.

use umay_test::http2::Endpoint;
use umay_test::{GET, Server, answer, ok};

use super::upstreams::Scene;

#[test]
fn connections_to_endpoints_add_up() {
    let app = Server::http(|request| match request.target() {
        "/last" => answer("200 OK", "Connection: close\r\n", "hi"),
        _ => ok("hi"),
    });
    let mut scene = Scene::before("http://", &[app.addr()], "", "");
    let mut conn = scene.connect();
    let pool = |scene: &Scene| {
        let page = scene.umay.scrape();
        ["opened_total", "reused_total", "closed_total", "idle"]
            .map(|what| page.sum(&format!("umay_upstream_connections_{what}"), &[]))
    };
    for (target, wanted) in [
        ("/", [1.0, 0.0, 0.0, 1.0]),
        ("/", [1.0, 1.0, 0.0, 1.0]),
        ("/last", [1.0, 2.0, 1.0, 0.0]),
        ("/", [2.0, 2.0, 1.0, 1.0]),
    ] {
        let request = GET.replace("GET / ", &format!("GET {target} "));
        assert_eq!(conn.ask(request).unwrap().text(), "hi");
        scene.note(200, 2, &[(0, "ok", false)]);
        scene.books.links += 1.0;
        // The answer is there before it is over.
        scene
            .umay
            .wait_metric("umay_http_requests_in_flight", &[], 0.0);
        assert_eq!(pool(&scene), wanted, "after {target}");
    }
    drop(conn);
    scene.books.audit(&scene.umay);
    // An endpoint that closes its connections is found out by the sweep.
    drop(app);
    scene
        .umay
        .wait_metric("umay_upstream_connections_idle", &[], 0.0);
    assert_eq!(pool(&scene), [2.0, 2.0, 2.0, 0.0]);
}

#[test]
fn connections_of_http2_add_up() {
    let app = Endpoint::start(|stream| {
        stream.respond(200, &[], false)?;
        stream.send(b"hi")?;
        stream.finish(&[])
    });
    let top = "timeouts.upstream_idle = \"500ms\"";
    let mut scene = Scene::before("h2c://", &[app.addr()], "", top);
    let mut conn = scene.connect();
    for _ in 0..5 {
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
        scene.note(200, 2, &[(0, "ok", false)]);
        scene.books.links += 1.0;
    }
    drop(conn);
    let page = scene.books.audit(&scene.umay);
    assert_eq!(page.sum("umay_upstream_connections_opened_total", &[]), 1.0);
    assert_eq!(page.sum("umay_upstream_connections_reused_total", &[]), 4.0);
    // It is no longer needed.
    scene
        .umay
        .wait_metric("umay_upstream_connections_closed_total", &[], 1.0);
}

/// A connection on which HTTP/2 did not begin was opened and is closed.
#[test]
fn a_connection_without_http2_is_closed_as_well() {
    for (script, reason) in [
        (&b""[..], "upstream_malformed"),
        (b"HTTP/1.1 400 What\r\n\r\n", "upstream_malformed"),
    ] {
        let app = Server::start(move |conn, _| {
            conn.read_some()?;
            conn.send(script)
        });
        let mut scene = Scene::before("h2c://", &[app.addr()], "outlier = \"off\"", "");
        let mut conn = scene.connect();
        let answer = conn.ask(GET).unwrap();
        assert_eq!(answer.reason().as_deref(), Some(reason));
        drop(conn);
        scene.note(502, answer.body.len(), &[(0, reason, true)]);
        scene.books.refused(reason);
        scene.books.links += 1.0;
        let page = scene.books.audit(&scene.umay);
        for what in ["opened", "closed"] {
            let name = format!("umay_upstream_connections_{what}_total");
            assert_eq!(page.sum(&name, &[]), 1.0, "{what}");
        }
    }
}

/// A kept connection that turns out to be closed when it is used says nothing of the endpoint, and the fresh one is not
/// paid for.
#[test]
fn a_stale_connection_is_an_attempt_but_no_failure() {
    let app = Server::start(|conn, number| {
        while conn.read_request()?.is_some() && (number > 0 || conn.request_count() < 2) {
            conn.send(ok("hi"))?;
        }
        Ok(())
    });
    let mut scene = Scene::before("http://", &[app.addr()], "", "");
    let endpoint = app.addr().to_string();
    let mut conn = scene.connect();
    for _ in 0..2 {
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
        scene.note(200, 2, &[(0, "ok", false)]);
        scene.books.links += 1.0;
    }
    drop(conn);
    scene.books.given("up", &endpoint, "upstream_closed");
    scene.books.links += 1.0;
    scene.books.note("umay_retries_total", &[], 1);
    let page = scene.books.audit(&scene.umay);
    assert_eq!(page.sum("umay_upstream_connections_opened_total", &[]), 2.0);
    assert_eq!(page.sum("umay_upstream_connections_closed_total", &[]), 1.0);
}
