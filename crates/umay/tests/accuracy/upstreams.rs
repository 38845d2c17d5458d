//! What is counted of attempts at endpoints: retries, ejections, and what was given up.

use std::net::SocketAddr;

use umay_test::http2::{Client, Endpoint};
use umay_test::{Conn, GET, Refusing, Server, Stuck, TempDir, Umay, answer, umay};

use super::ledger::{Ledger, at_rest};

/// Umay before these endpoints, taken in turn, and its books.
pub(crate) struct Scene {
    pub(crate) umay: Umay,
    pub(crate) books: Ledger,
    endpoints: Vec<String>,
}

impl Scene {
    pub(crate) fn before(scheme: &str, endpoints: &[SocketAddr], more: &str, top: &str) -> Self {
        let to: Vec<_> = endpoints.iter().map(|to| format!("{scheme}{to}")).collect();
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\nto = \"up\"\n{top}\n[upstream.up]\nto = {to:?}\n\
             balance = \"round_robin\"\n{more}\n"
        );
        Self {
            umay,
            books: Ledger::default(),
            endpoints: endpoints.iter().map(SocketAddr::to_string).collect(),
        }
    }

    /// A connection of its own.
    pub(crate) fn connect(&mut self) -> Conn {
        self.books.came(&["http1"]);
        self.umay.connect()
    }

    /// Notes a request to the upstream that was answered so after these attempts: at which endpoint, how that ended, and
    /// whether it speaks against the endpoint.
    pub(crate) fn note(&mut self, status: u16, body: usize, attempts: &[(usize, &str, bool)]) {
        let books = &mut self.books;
        books.answered(Some("default"), "GET", status);
        books.carried("default", 0, body);
        books.wanted("up");
        for (place, outcome, bad) in attempts {
            books.given("up", &self.endpoints[*place], outcome);
            if *bad {
                books.blamed("up", &self.endpoints[*place]);
            }
        }
        let retries = attempts.len().saturating_sub(1);
        books.note("umay_retries_total", &[], retries);
        let labels = [("upstream", "up"), ("result", "retried")];
        books.note("umay_upstream_retries_total", &labels, retries);
    }
}

#[test]
fn retries_are_counted_where_they_are_made() {
    let (app, refusing) = (Server::ok("hi"), Refusing::new());
    let addrs = [refusing.addr(), app.addr()];
    let mut scene = Scene::before("http://", &addrs, "outlier = \"off\"", "");
    let mut conn = scene.connect();
    for turn in 0..6 {
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
        let tried = [(0, "connect_refused", true), (1, "ok", false)];
        scene.note(200, 2, &tried[turn % 2..]);
        scene.books.links += 1.0;
    }
    drop(conn);
    scene.books.audit(&scene.umay);
}

#[test]
fn answers_that_another_may_do_better_than_are_counted_at_each() {
    let busy = || Server::http(|_| answer("503 Busy", "", "busy"));
    for (retry, bought) in [("{}", true), ("{ budget = 1, floor = 0 }", false)] {
        let servers = [busy(), busy()];
        let addrs = servers.each_ref().map(Server::addr);
        let more = format!("outlier = \"off\"\nretry = {retry}");
        let mut scene = Scene::before("http://", &addrs, &more, "");
        let mut conn = scene.connect();
        // An answer is one, whatever it says; that it speaks against the endpoint is told apart.
        for turn in 0..4 {
            assert_eq!(conn.ask(GET).unwrap().status(), 503);
            let tried = [(0, "ok", true), (1, "ok", true)];
            if bought {
                scene.note(503, 4, &tried);
                scene.books.links += 2.0;
                continue;
            }
            scene.note(503, 4, &tried[turn % 2..=turn % 2]);
            scene.books.links += 1.0;
            let labels = [("upstream", "up"), ("result", "budget_spent")];
            scene.books.note("umay_upstream_retries_total", &labels, 1);
        }
        drop(conn);
        scene.books.audit(&scene.umay);
    }
}

/// A connect that goes on for ever is given up by the client, or because time is up: neither went well.
#[test]
fn who_is_given_up_before_it_is_reached_has_done_nothing() {
    let stuck = Stuck::new();
    let top = "timeouts.total = \"1500ms\"";
    let mut scene = Scene::before("http://", &[stuck.addr()], "", top);
    let mut conn = scene.connect();
    conn.send(GET).unwrap();
    scene.umay.wait_metric("umay_endpoint_in_flight", &[], 1.0);
    drop(conn);
    scene.note(499, 0, &[(0, "client_gone", false)]);
    scene.books.refused("client_gone");
    let client = Client::connect(scene.umay.addr()).unwrap();
    scene.books.came(&["http2"]);
    scene.umay.wait_metric("umay_endpoint_in_flight", &[], 0.0);
    let mut stream = client.call("GET", "http://a.test/", &[], true).unwrap();
    scene.umay.wait_metric("umay_endpoint_in_flight", &[], 1.0);
    stream.reset(umay_test::h2::Reason::CANCEL);
    drop((stream, client));
    scene.note(499, 0, &[(0, "client_gone", false)]);
    scene.books.refused("client_gone");
    let mut conn = scene.connect();
    let late = conn.ask(GET).unwrap();
    assert_eq!(late.reason().as_deref(), Some("deadline_exceeded"));
    drop(conn);
    scene.note(504, late.body.len(), &[(0, "deadline_exceeded", false)]);
    scene.books.refused("deadline_exceeded");
    scene.books.audit(&scene.umay);
}

/// Clients that leave must not hide that an endpoint cannot be reached: failures in a row stay in a row.
#[test]
fn clients_that_give_up_do_not_excuse_an_endpoint() {
    let (stuck, app) = (Stuck::new(), Server::ok("hi"));
    let addrs = [stuck.addr(), app.addr()];
    let more = "outlier = { consecutive = 2, success_rate = 0, base = \"1h\", max = \"1h\" }";
    let top = "timeouts.connect = \"800ms\"";
    let mut scene = Scene::before("http://", &addrs, more, top);
    let mut conn = scene.connect();
    let tried = [(0, "connect_timeout", true), (1, "ok", false)];
    for turn in 0..2 {
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
        scene.note(200, 2, &tried[turn % 2..]);
        scene.books.links += 1.0;
    }
    // In between somebody comes to the one that is stuck, and leaves.
    let mut hasty = scene.connect();
    hasty.send(GET).unwrap();
    let labels = [("endpoint", &*stuck.addr().to_string())];
    let busy = |wanted| {
        scene
            .umay
            .wait_metric("umay_endpoint_in_flight", &labels, wanted);
    };
    busy(1.0);
    drop(hasty);
    busy(0.0);
    scene.note(499, 0, &[(0, "client_gone", false)]);
    scene.books.refused("client_gone");
    for turn in [1, 0] {
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
        scene.note(200, 2, &tried[turn..]);
        scene.books.links += 1.0;
    }
    let labels = [("upstream", "up"), ("cause", "consecutive")];
    let ejected = "umay_upstream_ejections_total";
    scene.umay.wait_metric(ejected, &labels, 1.0);
    scene.books.note(ejected, &labels, 1);
    drop(conn);
    scene.books.audit(&scene.umay);
}

/// A request that cannot be put to the endpoint was given to it, and did not go well.
#[test]
fn what_an_endpoint_cannot_be_asked_has_its_reason() {
    let app = Endpoint::start(|stream| stream.respond(200, &[], true));
    let mut scene = Scene::before("h2c://", &[app.addr()], "", "");
    let mut conn = scene.connect();
    let upgrade = GET.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let answer = conn.ask(upgrade).unwrap();
    assert_eq!(answer.reason().as_deref(), Some("upgrade_refused"));
    drop(conn);
    scene.note(400, answer.body.len(), &[(0, "upgrade_refused", false)]);
    scene.books.refused("upgrade_refused");
    scene.books.links += 1.0;
    scene.books.audit(&scene.umay);
}

#[test]
fn an_upstream_without_endpoints_gives_none() {
    let dir = TempDir::new();
    let file = dir.write("endpoints.toml", "endpoints = []\n");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"up\"\n[upstream.up.discover]\nfile = {file:?}\nscheme = \"http\"\n"
    );
    let mut books = Ledger::default();
    let answer = umay.get("a.test", "/");
    assert_eq!(answer.reason().as_deref(), Some("no_endpoint"));
    books.came(&["http1"]);
    books.answered(Some("default"), "GET", 503);
    books.carried("default", 0, answer.body.len());
    books.wanted("up");
    books.refused("no_endpoint");
    books.audit(&umay);
}

#[test]
fn configurations_and_connections_beyond_the_cap_are_counted() {
    let app = Server::ok("hi");
    let config = format!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\nlimits.connections = 1\n",
        app.addr()
    );
    let umay = umay!("{config}");
    let mut books = Ledger::default();
    assert!(umay.reload(&config));
    assert!(umay.reload(&config));
    assert!(!umay.reload("listen = 1\n"));
    for (result, times) in [("served", 2), ("refused", 1)] {
        let labels = [("result", result)];
        books.note("umay_config_reloads_total", &labels, times);
    }
    let mut first = umay.connect();
    assert_eq!(first.ask(GET).unwrap().text(), "hi");
    books.came(&["http1"]);
    books.answered(Some("default"), "GET", 200);
    books.carried("default", 0, 2);
    books.wanted("default");
    books.given("default", &app.addr().to_string(), "ok");
    books.links += 1.0;
    // Taken out of the backlog, and closed.
    let mut second = umay.connect();
    assert_eq!(second.read_to_end().unwrap().0, b"");
    books.came(&[]);
    books.note("umay_connections_refused_total", &[], 1);
    drop((first, second));
    books.audit(&umay);
    at_rest(&umay, 2.0);
}
