//! An endpoint that speaks HTTP/2, frame by frame: what it may do to a request, and what the client
//! gets to see of it, under HTTP/1 and under HTTP/2.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::io;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use umay_test::frames::{Answer, Event, Frame, Outcome, Peer, code, flag, hpack, setting};
use umay_test::http::Fields;
use umay_test::{Conn, End, Server, Umay, eventually, umay};

/// A side of a connection that the script holds.
type Side<'a> = Peer<&'a mut Conn>;

/// An endpoint that runs a script on each connection, from behind its preface.
fn endpoint(
    script: impl Fn(&mut Side<'_>, usize) -> io::Result<()> + Send + Sync + 'static,
) -> Server {
    Server::start(move |conn, number| script(&mut Peer::server(conn, &[])?, number))
}

fn before(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"h2c://{}\"\n{more}\n",
        endpoint.addr()
    )
}

fn client(umay: &Umay) -> Peer {
    Peer::client(umay.connect(), &[]).unwrap()
}

/// Waits for requests and answers them all with 200, until the connection ends.
fn serve(c: &mut Side<'_>) -> io::Result<()> {
    while let Some(event) = c.event()? {
        let (Event::Head { stream, end, .. } | Event::Data { stream, end, .. }) = event else {
            continue;
        };
        if end {
            c.answer(stream, 200, &[], b"fine")?;
        }
    }
    Ok(())
}

/// Reads a request to its end and tells its stream.
fn whole(c: &mut Side<'_>) -> io::Result<u32> {
    let (stream, _, mut end) = c.head(None)?;
    while !end {
        end = match c.find(|e| e.stream() == stream)? {
            Some(Event::Data { end, .. } | Event::Head { end, .. }) => end,
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
    }
    Ok(stream)
}

fn get(fields: &Fields, name: &str) -> Option<String> {
    let found = fields.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| value.clone())
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";

/// Asks as HTTP/1 and as HTTP/2, with and without a body; status and reason of each answer.
fn ask_all(umay: &Umay) -> Vec<(u16, Option<String>)> {
    let mut all = Vec::new();
    for request in [GET, POST] {
        let answer = umay.connect().ask(request).unwrap();
        all.push((answer.status(), answer.reason()));
    }
    let mut peer = client(umay);
    let get = peer.get("/x").unwrap();
    let post = peer.post("/x", &[]).unwrap();
    peer.send(&Frame::data(post, "body").end()).unwrap();
    for stream in [get, post] {
        let answer = peer.outcome(stream).unwrap().answer();
        let reason = answer.reason().map(str::to_owned);
        all.push((answer.status(), reason));
    }
    all
}

fn told(status: u16, reason: &str) -> (u16, Option<String>) {
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    (status, reason)
}

#[test]
fn what_goaway_leaves_unprocessed_is_sent_again_whatever_it_is() {
    // Every second connection is left as soon as something is asked of it.
    let endpoint = endpoint(|c, number| {
        if number % 2 == 1 {
            return serve(c);
        }
        whole(c)?;
        c.send(&Frame::goaway(0, code::NO_ERROR))
    });
    for _ in 0..3 {
        let umay = before(&endpoint, "");
        for (status, reason) in ask_all(&umay) {
            assert_eq!((status, reason), told(200, ""));
        }
    }
}

#[test]
fn goaway_lets_what_is_processed_finish_and_new_requests_go_elsewhere() {
    let barrier = Arc::new(Barrier::new(2));
    let of_endpoint = Arc::clone(&barrier);
    let endpoint = endpoint(move |c, number| {
        if number > 0 {
            return serve(c);
        }
        let stream = whole(c)?;
        c.send(&Frame::goaway(stream, code::NO_ERROR))?;
        of_endpoint.wait();
        of_endpoint.wait();
        c.answer(stream, 200, &[], b"late")?;
        c.read_to_end().map(|_| ())
    });
    let umay = before(&endpoint, "");
    let mut peer = client(&umay);
    let first = peer.get("/first").unwrap();
    barrier.wait();
    assert_eq!(peer.ask("/second").unwrap().answer().text(), "fine");
    barrier.wait();
    assert_eq!(peer.outcome(first).unwrap().answer().text(), "late");
    assert_eq!(endpoint.connections(), 2);
    // The first connection is closed once nothing is open on it.
    endpoint.wait_ended(1);
}

#[test]
fn a_stream_that_is_refused_is_sent_again() {
    let endpoint = endpoint(|c, _| {
        let stream = whole(c)?;
        c.send(&Frame::reset(stream, code::REFUSED_STREAM))?;
        serve(c)
    });
    let umay = before(&endpoint, "");
    for (status, reason) in ask_all(&umay) {
        assert_eq!((status, reason), told(200, ""));
    }
}

#[test]
fn an_endpoint_that_refuses_every_stream_is_not_asked_for_ever() {
    let endpoint = endpoint(|c, _| {
        loop {
            let stream = whole(c)?;
            c.send(&Frame::reset(stream, code::REFUSED_STREAM))?;
        }
    });
    let umay = before(&endpoint, "");
    for answer in ask_all(&umay) {
        assert_eq!(answer, told(503, "upstream_refused_stream"));
    }
}

#[test]
fn a_reset_before_the_answer_is_told_and_not_tried_again() {
    let endpoint = endpoint(|c, _| {
        loop {
            let stream = whole(c)?;
            c.send(&Frame::reset(stream, code::INTERNAL_ERROR))?;
        }
    });
    let umay = before(&endpoint, "");
    for answer in ask_all(&umay) {
        assert_eq!(answer, told(502, "upstream_reset"));
    }
    let line = umay.wait_reason("upstream_reset");
    assert_eq!(line["attempts"], 1, "{line}");
}

#[test]
fn an_answer_that_is_cut_never_looks_complete() {
    let endpoint = endpoint(|c, _| {
        loop {
            let (stream, fields, _) = c.head(None)?;
            let path = get(&fields, ":path").unwrap();
            let head = match &*path {
                "/length-reset" | "/length-close" | "/short" => {
                    hpack::block(&[(":status", "200"), ("content-length", "10")])
                }
                _ => hpack::block(&[(":status", "200")]),
            };
            c.send_all(&[Frame::headers(stream, head), Frame::data(stream, "part")])?;
            match &*path {
                "/reset" | "/length-reset" => c.send(&Frame::reset(stream, code::CANCEL))?,
                "/short" => c.send(&Frame::data(stream, "").end())?,
                "/bad-trailers" => c.send(&Frame::headers(stream, hpack::literal("a", "b")))?,
                _ => return c.conn().cut(),
            }
        }
    });
    let umay = before(&endpoint, "");
    for path in [
        "/reset",
        "/length-reset",
        "/short",
        "/bad-trailers",
        "/close",
        "/length-close",
    ] {
        for version in ["1.1", "1.0"] {
            let mut conn = umay.connect();
            conn.send(format!("GET {path} HTTP/{version}\r\nHost: a.test\r\n\r\n"))
                .unwrap();
            let (bytes, end) = conn.read_to_end().unwrap();
            let read = umay_test::http::response(&bytes, "GET", end == End::Clean);
            if let Ok(Some((message, _))) = &read {
                assert_eq!(message.status(), 502, "{path}: {message:?}");
            }
        }
        let mut peer = client(&umay);
        match peer.ask(path).unwrap() {
            Outcome::Reset(code::INTERNAL_ERROR, _) => {}
            Outcome::Answered(answer) if answer.status() == 502 => {}
            other => panic!("{path}: {other:?}"),
        }
        let line = umay.wait_path(path);
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.starts_with("upstream_"), "{line}");
    }
}

#[test]
fn heads_that_are_none_are_told_as_such() {
    let heads = [
        ("no status", "x=y"),
        ("a status of letters", ":status=abc"),
        ("a status of two digits", ":status=20"),
        ("status twice", ":status=200,:status=200"),
        ("status behind a field", "x=y,:status=200"),
        ("an unknown pseudo-field", ":status=200,:odd=/"),
        ("upper case", ":status=200,X-Upper=y"),
        ("connection", ":status=200,connection=close"),
        ("transfer-encoding", ":status=200,transfer-encoding=chunked"),
        ("a line's end", ":status=200,x=a\r\nb: c"),
        ("a space in front", ":status=200,x= y"),
        ("a length of letters", ":status=200,content-length=x"),
        (
            "two lengths",
            ":status=200,content-length=1,content-length=2",
        ),
        ("101", ":status=101,upgrade=websocket"),
    ];
    let block = |(_, fields): &(&str, &str)| {
        let fields = fields
            .split(',')
            .map(|field| field.split_once('=').unwrap());
        hpack::block(&fields.collect::<Vec<_>>())
    };
    let blocks: Vec<Vec<u8>> = heads.iter().map(block).collect();
    let endpoint = endpoint(move |c, _| {
        loop {
            let (stream, fields, _) = c.head(None)?;
            let case = get(&fields, "x-case").unwrap().parse::<usize>().unwrap();
            c.send(&Frame::headers(stream, &blocks[case]).end())?;
        }
    });
    let umay = before(&endpoint, "");
    for (case, (name, _)) in heads.iter().enumerate() {
        let case = case.to_string();
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Case: {case}\r\n\r\n");
        let answer = umay.connect().ask(request).unwrap();
        let have = (answer.status(), answer.reason());
        assert_eq!(have, told(502, "upstream_malformed"), "{name}");
        let mut peer = client(&umay);
        let block = peer.request("GET", "/", &[("x-case", &case)]);
        peer.send(&Frame::headers(1, block).end()).unwrap();
        let answer = peer.outcome(1).unwrap().answer();
        let have = (answer.status(), answer.reason());
        assert_eq!(have, (502, Some("upstream_malformed")), "{name}");
    }
}

/// Not as RFC 9113 section 8.3.2 wants it: the library drops it without a word. It goes nowhere.
#[test]
fn a_pseudo_field_of_requests_in_an_answer_is_dropped() {
    let endpoint = endpoint(|c, _| {
        loop {
            let stream = whole(c)?;
            let head = hpack::block(&[(":status", "200"), (":path", "/dropped")]);
            c.send(&Frame::headers(stream, head).end())?;
        }
    });
    let umay = before(&endpoint, "");
    let answer = client(&umay).ask("/").unwrap().answer();
    assert_eq!(answer.status(), 200);
    assert!(!format!("{answer:?}").contains("dropped"), "{answer:?}");
    let answer = umay.connect().ask(GET).unwrap();
    assert!(!format!("{answer:?}").contains("dropped"), "{answer:?}");
}

/// The library's cap, for the life of a connection, and it cannot be set: an endpoint that sends
/// more loses the connection with all its streams. Nobody takes what is cut for whole.
#[test]
fn an_endpoint_may_send_a_hundred_empty_frames_on_a_connection() {
    let endpoint = endpoint(|c, _| {
        loop {
            let stream = whole(c)?;
            c.send(&Frame::headers(stream, [0x88]))?;
            for _ in 0..100 {
                c.send(&Frame::data(stream, ""))?;
            }
            c.send(&Frame::data(stream, "whole").end())?;
        }
    });
    let umay = before(&endpoint, "");
    let mut peer = client(&umay);
    assert_eq!(peer.ask("/").unwrap().answer().text(), "whole");
    let outcome = peer.ask("/").unwrap();
    let cut = matches!(outcome, Outcome::Reset(..)) || outcome.status() == 502;
    assert!(cut, "{outcome:?}");
    assert_eq!(peer.ask("/").unwrap().answer().text(), "whole");
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn a_push_is_refused() {
    let endpoint = endpoint(|c, _| {
        let (settings, ..) = (c.find(|e| matches!(e, Event::Settings(_)))?,);
        let Some(Event::Settings(settings)) = settings else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        assert!(
            settings.contains(&(setting::ENABLE_PUSH, 0)),
            "{settings:?}"
        );
        let stream = whole(c)?;
        let promise = hpack::block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/pushed"),
            (":authority", "a.test"),
        ]);
        c.send(&Frame::push_promise(stream, 2, promise))?;
        assert_eq!(c.goaway()?, Some(code::PROTOCOL_ERROR));
        Ok(())
    });
    let umay = before(&endpoint, "");
    let answer = umay.connect().ask(GET).unwrap();
    let have = (answer.status(), answer.reason());
    assert_eq!(have, told(502, "upstream_malformed"));
}

#[test]
fn as_many_connections_are_opened_as_the_endpoint_has_no_streams_for() {
    let all = Arc::new(Barrier::new(6));
    let endpoint = Server::start(move |conn, _| {
        let settings = [(setting::MAX_CONCURRENT_STREAMS, 2)];
        let mut c = Peer::server(conn, &settings)?;
        let streams = [whole(&mut c)?, whole(&mut c)?];
        // Two more would have to wait here for ever.
        all.wait();
        all.wait();
        for stream in streams {
            c.answer(stream, 200, &[], b"fine")?;
        }
        c.read_to_end().map(|_| ())
    });
    // Twelve requests at two at a time: six connections, and as many threads at the barrier.
    let umay = before(&endpoint, "");
    let mut peer = client(&umay);
    let streams: Vec<u32> = (0..12).map(|_| peer.get("/").unwrap()).collect();
    for stream in streams {
        assert_eq!(peer.outcome(stream).unwrap().status(), 200);
    }
    assert_eq!(endpoint.connections(), 6);
}

#[test]
fn the_endpoints_windows_are_respected() {
    let endpoint = Server::start(|conn, _| {
        let mut c = Peer::server(conn, &[(setting::INITIAL_WINDOW_SIZE, 10)])?;
        c.feeds = false;
        let (stream, ..) = c.head(None)?;
        let mut body = Vec::new();
        let mut more = |c: &mut Side<'_>, wanted: usize| -> io::Result<bool> {
            loop {
                match c.find(|e| matches!(e, Event::Data { .. }))? {
                    Some(Event::Data { bytes, end, .. }) => {
                        body.extend(bytes);
                        assert!(body.len() <= wanted, "{} of {wanted}", body.len());
                        if end || body.len() == wanted {
                            return Ok(end);
                        }
                    }
                    other => return Err(io::Error::other(format!("{other:?}"))),
                }
            }
        };
        more(&mut c, 10)?;
        // Smaller by eight, so that nothing may come before that is made up for.
        c.send(&Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 2)]))?;
        c.settle()?;
        c.send(&Frame::window(stream, 8))?;
        assert!(c.stays_silent(Duration::from_millis(100)));
        c.send(&Frame::window(stream, 5))?;
        more(&mut c, 15)?;
        assert!(c.stays_silent(Duration::from_millis(100)));
        c.send(&Frame::window(stream, 100))?;
        while !more(&mut c, 30)? {}
        c.answer(stream, 200, &[], &body)
    });
    let umay = before(&endpoint, "");
    let body = "0123456789".repeat(3);
    let request = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 30\r\n\r\n{body}");
    let answer = umay.connect().ask(request).unwrap();
    assert_eq!((answer.status(), answer.text()), (200, body));
}

#[test]
fn interim_answers_and_trailers_are_passed_on() {
    let endpoint = endpoint(|c, _| {
        loop {
            let stream = whole(c)?;
            for hint in ["</a>", "</b>"] {
                let head = hpack::block(&[(":status", "103"), ("link", hint)]);
                c.send(&Frame::headers(stream, head))?;
            }
            let head = hpack::block(&[(":status", "200"), ("trailer", "x-sum")]);
            c.send_all(&[
                Frame::headers(stream, head),
                Frame::data(stream, "body"),
                Frame::headers(stream, hpack::literal("x-sum", "1")).end(),
            ])?;
        }
    });
    let umay = before(&endpoint, "");
    let mut peer = client(&umay);
    let answer = peer.ask("/").unwrap().answer();
    let links: Vec<_> = answer
        .interim
        .iter()
        .map(|f| get(f, "link").unwrap())
        .collect();
    assert_eq!(links, ["</a>", "</b>"]);
    assert_eq!((answer.status(), answer.text()), (200, "body".to_owned()));
    assert_eq!(get(&answer.trailers, "x-sum").unwrap(), "1");

    let mut conn = umay.connect();
    conn.send("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\n\r\n")
        .unwrap();
    for hint in ["</a>", "</b>"] {
        let answer = conn.read_response("GET").unwrap();
        assert_eq!((answer.status(), answer.get("link")), (103, Some(hint)));
    }
    let answer = conn.read_response("GET").unwrap();
    assert_eq!((answer.status(), answer.text()), (200, "body".to_owned()));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[test]
fn an_answer_may_end_with_its_head() {
    let endpoint = endpoint(|c, _| {
        loop {
            let stream = whole(c)?;
            let head = hpack::block(&[(":status", "200"), ("x", "y")]);
            c.send(&Frame::headers(stream, head).end())?;
        }
    });
    let umay = before(&endpoint, "");
    let mut peer = client(&umay);
    let stream = peer.get("/").unwrap();
    let (_, fields, end) = peer.head(Some(stream)).unwrap();
    assert!(
        end && get(&fields, "content-length").is_none(),
        "{fields:?}"
    );
    let mut conn = umay.connect();
    for _ in 0..2 {
        // The connection goes on, so the length is known.
        let answer = conn.ask(GET).unwrap();
        assert_eq!((answer.status(), answer.text()), (200, String::new()));
    }
}

#[test]
fn an_answer_that_needs_no_more_of_the_request_is_passed_on_whole() {
    let endpoint = endpoint(|c, _| {
        loop {
            let (stream, ..) = c.head(None)?;
            c.answer(stream, 413, &[], b"enough")?;
            c.send(&Frame::reset(stream, code::NO_ERROR))?;
        }
    });
    let umay = before(&endpoint, "");
    let mut conn = umay.connect();
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nbegun";
    let answer = conn.ask(head).unwrap();
    assert_eq!((answer.status(), answer.text()), (413, "enough".to_owned()));
    let mut peer = client(&umay);
    let stream = peer.post("/", &[]).unwrap();
    peer.send(&Frame::data(stream, "begun")).unwrap();
    let answer = peer.outcome(stream).unwrap().answer();
    assert_eq!((answer.status(), answer.text()), (413, "enough".to_owned()));
    // The client learns that the rest is not wanted.
    let reset = peer.find(|e| matches!(e, Event::Reset { .. })).unwrap();
    let stop = Event::Reset {
        stream,
        code: code::NO_ERROR,
    };
    assert_eq!(reset, Some(stop));
}

#[test]
fn when_a_connection_dies_each_of_its_streams_is_told() {
    let endpoint = endpoint(|c, _| {
        for _ in 0..20 {
            c.head(None)?;
        }
        c.conn().reset_when_dropped()
    });
    let umay = before(&endpoint, "");
    let mut peer = client(&umay);
    let streams: Vec<u32> = (0..20).map(|_| peer.post("/dies", &[]).unwrap()).collect();
    for stream in &streams {
        let answer = peer.outcome(*stream).unwrap().answer();
        assert_eq!(answer.status(), 502, "{answer:?}");
    }
    let lines = || umay.log().iter().filter(|l| l["path"] == "/dies").count();
    eventually("a line for each", || (lines() == 20).then_some(()));
}

#[test]
fn a_client_that_leaves_resets_the_stream_and_not_the_connection() {
    let came = Arc::new(Barrier::new(2));
    let of_endpoint = Arc::clone(&came);
    let endpoint = endpoint(move |c, _| {
        let (stream, ..) = c.head(None)?;
        of_endpoint.wait();
        match c.find(|e| matches!(e, Event::Reset { .. }))? {
            Some(Event::Reset {
                stream: reset,
                code: code::CANCEL,
            }) if reset == stream => {}
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
        serve(c)
    });
    let umay = before(&endpoint, "");
    let mut peer = client(&umay);
    let stream = peer.get("/gone").unwrap();
    came.wait();
    peer.send(&Frame::reset(stream, code::CANCEL)).unwrap();
    assert_eq!(peer.ask("/").unwrap().status(), 200);
    assert_eq!(umay.wait_path("/gone")["reason"], "client_gone");
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn a_header_block_of_the_endpoint_may_be_in_pieces_and_is_capped() {
    let endpoint = endpoint(|c, _| {
        loop {
            let (stream, fields, _) = c.head(None)?;
            let long = "x".repeat(10_000);
            let more = if get(&fields, ":path").unwrap() == "/long" {
                9
            } else {
                2
            };
            c.send(
                &Frame::headers(stream, [0x88])
                    .without(flag::END_HEADERS)
                    .end(),
            )?;
            for _ in 0..more {
                c.send(&Frame::continuation(stream, hpack::literal("a", &long)))?;
            }
            c.send(&Frame::continuation(stream, "").with(flag::END_HEADERS))?;
        }
    });
    let umay = before(&endpoint, "");
    let ask = |path| -> Answer { client(&umay).ask(path).unwrap().answer() };
    assert_eq!(ask("/short").status(), 200);
    let answer = ask("/long");
    assert_eq!(answer.status(), 502, "{answer:?}");
    assert_eq!(answer.reason(), Some("upstream_head_too_large"));
}
