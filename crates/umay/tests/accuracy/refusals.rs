//! Requests that are refused or cut, and clients that leave: each for its reason, and for no other.

use umay_test::http2::Client;
use umay_test::{Door, GET, Server, Setup, eventually, umay};

use super::ledger::Ledger;

/// What is sent, and what has to come of it.
struct Row {
    bytes: Vec<u8>,
    /// 499: the client leaves.
    status: u16,
    reason: &'static str,
    /// It has found the route, and goes by this method.
    method: Option<&'static str>,
    /// It was given to the endpoint, and how that ended.
    outcome: Option<&'static str>,
    /// Bytes of the body that came.
    body: usize,
}

fn row(bytes: impl Into<Vec<u8>>, status: u16, reason: &'static str) -> Row {
    Row {
        bytes: bytes.into(),
        status,
        reason,
        method: None,
        outcome: None,
        body: 0,
    }
}

fn rows() -> Vec<Row> {
    let get = |more: &str| format!("GET / HTTP/1.1\r\nHost: a.test\r\n{more}\r\n");
    let post =
        |more: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a.test\r\n{more}\r\n\r\n{body}");
    let routed = |row, method| Row {
        method: Some(method),
        ..row
    };
    let given = |row, body| {
        let row: Row = routed(row, "POST");
        Row {
            outcome: Some(row.reason),
            body,
            ..row
        }
    };
    let many = "A: b\r\n".repeat(21);
    let chunked = "Transfer-Encoding: chunked";
    vec![
        row("GET / HTTP/1.1\r\n\r\n", 400, "request_malformed"),
        row(get("A : b\r\n"), 400, "request_malformed"),
        row(
            get(&format!("A: {}\r\n", "b".repeat(4000))),
            431,
            "request_head_too_large",
        ),
        row(get(&many), 431, "request_head_too_large"),
        row(
            format!("GET /{} HTTP/1.1\r\n", "a".repeat(600)),
            414,
            "request_uri_too_long",
        ),
        row(
            "GET / HTTP/3.0\r\nHost: a.test\r\n\r\n",
            505,
            "version_unsupported",
        ),
        row(get("Expect: tea\r\n"), 417, "expectation_failed"),
        row("GET / HTTP/1.1\r\nHost:", 408, "request_timeout"),
        row("GET / HTTP/1.1\r\nHost:", 499, "client_gone"),
        routed(
            row(
                "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n",
                405,
                "connect_method_refused",
            ),
            "CONNECT",
        ),
        row(
            post(
                "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 1",
                "b",
            ),
            400,
            "upgrade_refused",
        ),
        given(
            row(post(chunked, "1\r\nbad"), 400, "request_body_malformed"),
            0,
        ),
        given(
            row(
                post(chunked, "9\r\n123456789\r\n"),
                413,
                "request_body_too_large",
            ),
            9,
        ),
        given(
            row(
                post("Content-Length: 8", "123"),
                408,
                "request_body_timeout",
            ),
            3,
        ),
    ]
}

fn setup(to: std::net::SocketAddr, more: &str) -> Setup {
    umay!().config(format!(
        "listen = \"127.0.0.1:0\"\nto = \"app\"\n[upstream.app]\nto = \"http://{to}\"\noutlier = \"off\"\n{more}"
    ))
}

#[test]
fn refusals_are_counted_each_for_its_reason() {
    for workers in [1, 2] {
        // Keeps requests to itself until their bodies have come.
        let app = Server::ok("late");
        let limits = "[limits]\nhead = \"2KiB\"\ntarget = 512\nfields = 20\nbody = 8\n\
                      [timeouts]\nheader = \"1s\"\nbody = \"1s\"\n";
        let umay = setup(app.addr(), limits).workers(workers).start();
        let endpoint = app.addr().to_string();
        let mut books = Ledger::default();
        for row in rows() {
            books.came(&["http1"]);
            let mut conn = umay.connect();
            conn.send(&row.bytes).unwrap();
            let text = String::from_utf8_lossy(&row.bytes).into_owned();
            let mut bytes = 0;
            if row.status != 499 {
                let answer = conn.read_response("GET").unwrap();
                assert_eq!(answer.status(), row.status, "{text}");
                assert_eq!(answer.reason().as_deref(), Some(row.reason), "{text}");
                bytes = answer.body.len();
            }
            drop(conn);
            let route = row.method.map(|_| "default");
            books.answered(route, row.method.unwrap_or_default(), row.status);
            books.refused(row.reason);
            if let Some(route) = route {
                books.carried(route, row.body, bytes);
            }
            if let Some(outcome) = row.outcome {
                books.wanted("app");
                books.given("app", &endpoint, outcome);
                books.links += 1.0;
            }
        }
        books.audit(&umay);
    }
}

/// A client leaves while the endpoint thinks, while it answers, and before its own request is complete.
#[test]
fn clients_that_leave_are_counted() {
    let door = Door::default();
    let inside = door.clone();
    let app = Server::start(move |conn, _| {
        while let Some(request) = conn.read_request()? {
            match request.target() {
                "/" => inside.wait(),
                _ => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")?,
            }
        }
        Ok(())
    });
    let umay = setup(app.addr(), "").start();
    let endpoint = app.addr().to_string();
    let mut books = Ledger::default();
    let mut seen = 0;
    let gone = |books: &mut Ledger, method: &str, status, reason, bytes: [usize; 2]| {
        books.answered(Some("default"), method, status);
        books.carried("default", bytes[0], bytes[1]);
        books.refused(reason);
        books.wanted("app");
        books.given("app", &endpoint, reason);
        books.links += 1.0;
    };
    let mut reached = || {
        seen += 1;
        eventually("the endpoint to be asked", || {
            (app.connections() >= seen).then_some(())
        });
    };
    // Thinking: in HTTP/1, and a stream of HTTP/2.
    let mut conn = umay.connect();
    conn.send(GET).unwrap();
    reached();
    drop(conn);
    books.came(&["http1"]);
    gone(&mut books, "GET", 499, "client_gone", [0, 0]);
    let client = Client::connect(umay.addr()).unwrap();
    let mut stream = client.call("GET", "http://a.test/", &[], true).unwrap();
    reached();
    stream.reset(umay_test::h2::Reason::CANCEL);
    drop((stream, client));
    books.came(&["http2"]);
    gone(&mut books, "GET", 499, "client_gone", [0, 0]);
    // Answering: the status was sent.
    let mut conn = umay.connect();
    conn.send(GET.replace("GET / ", "GET /part ")).unwrap();
    conn.read_until("123").unwrap();
    reached();
    drop(conn);
    books.came(&["http1"]);
    gone(&mut books, "GET", 200, "client_gone", [0, 3]);
    // Sending: there is nobody to tell.
    let mut conn = umay.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n123")
        .unwrap();
    reached();
    conn.half_close().unwrap();
    let answer = conn.read_response("POST").unwrap();
    assert_eq!(answer.reason().as_deref(), Some("request_body_cut"));
    drop(conn);
    books.came(&["http1"]);
    gone(
        &mut books,
        "POST",
        400,
        "request_body_cut",
        [3, answer.body.len()],
    );
    books.audit(&umay);
    door.open();
}
