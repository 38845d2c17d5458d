//! gRPC: all four kinds of calls, their statuses, deadlines and cancellations, through Umay.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

use std::io::{self, ErrorKind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use umay_test::http2::{Client, Endpoint, Settings, Stream};
use umay_test::{DEADLINE, Message, Refusing, Stuck, Umay, eventually, h2, peak_rss, rss, umay};

/// A message with its prefix.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// One side of a call.
struct Call {
    stream: Stream,
    unread: Vec<u8>,
}

impl Call {
    fn over(stream: Stream) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    fn begin(client: &Client, method: &str, fields: &[(&str, &str)]) -> Self {
        let url = format!("http://a.test/test.Echo/{method}");
        let usual = [("content-type", "application/grpc"), ("te", "trailers")];
        let fields = [&usual, fields].concat();
        Self::over(client.call("POST", &url, &fields, false).unwrap())
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.send(&framed(message))
    }

    /// The next message; `None` at the end.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some((prefix, rest)) = self.unread.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
                if let Some(message) = rest.get(..length as usize) {
                    let message = message.to_vec();
                    self.unread.drain(..5 + length as usize);
                    return Ok(Some(message));
                }
            }
            match self.stream.read_some()? {
                Some(bytes) => self.unread.extend_from_slice(&bytes),
                None if self.unread.is_empty() => return Ok(None),
                None => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn half_close(&mut self) {
        self.stream.finish(&[]).unwrap();
    }

    /// The head of the answer, which says that it is one of gRPC.
    fn head(&mut self) -> Message {
        let head = self.stream.head().unwrap();
        assert_eq!(head.status(), 200, "{head:?}");
        assert_eq!(head.get("content-type"), Some("application/grpc"));
        head
    }

    /// Reads on to the status: of the trailers, or of the head if there is nothing else.
    fn status(&mut self, head: &Message) -> (u16, String) {
        while self.read().unwrap().is_some() {}
        let trailers = Message {
            fields: self.stream.trailers().clone(),
            ..Message::default()
        };
        let from = if head.get("grpc-status").is_some() {
            head
        } else {
            &trailers
        };
        let status = from.get("grpc-status").unwrap().parse().unwrap();
        let message = from.get("grpc-message").unwrap_or_default();
        (status, message.to_owned())
    }
}

const OK: &[(&str, &str)] = &[("grpc-status", "0")];

/// The service of all tests.
fn serve(stream: &mut Stream) -> io::Result<()> {
    let request = stream.request();
    assert_eq!(request.get("te"), Some("trailers"));
    let method = request.target().rsplit('/').next().unwrap_or_default();
    let method = method.to_owned();
    let content = [("content-type", "application/grpc")];
    if method == "Only" {
        let fields = [
            ("content-type", "application/grpc"),
            ("grpc-status", "5"),
            ("grpc-message", "no such thing%21"),
            ("x-detail-bin", "AAEC"),
        ];
        return stream.respond(200, &fields, true);
    }
    if method == "Silent" {
        return Err(io::Error::other(format!("{:?}", stream.wait_reset()?)));
    }
    if method == "Late" {
        // Answers when the request is over, with all of it.
        let body = stream.read_to_end()?;
        stream.respond(200, &content, false)?;
        stream.send(&body)?;
        return stream.finish(OK);
    }
    stream.respond(200, &content, false)?;
    while let Some(bytes) = stream.read_some()? {
        stream.send(&bytes)?;
    }
    match &*method {
        "Fails" => stream.finish(&[
            ("grpc-status", "9"),
            ("grpc-message", "not%20now"),
            ("grpc-status-details-bin", "CAkSB25vdCBub3c"),
        ]),
        "Aborts" => {
            stream.reset(h2::Reason::INTERNAL_ERROR);
            Ok(())
        }
        _ => stream.finish(OK),
    }
}

fn before(endpoint: &Endpoint) -> Umay {
    // Without a scheme: that it is gRPC says how the endpoint is to be spoken to.
    umay!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n", endpoint.addr())
}

fn scene() -> (Endpoint, Umay, Client) {
    let endpoint = Endpoint::start(serve);
    let umay = before(&endpoint);
    let client = Client::connect(umay.addr()).unwrap();
    (endpoint, umay, client)
}

#[test]
fn unary_calls_have_one_message_each_way() {
    let (endpoint, umay, client) = scene();
    for message in [&b""[..], b"hello", &[7; 100_000]] {
        let mut call = Call::begin(&client, "Late", &[]);
        call.send(message).unwrap();
        call.half_close();
        let head = call.head();
        assert!(call.read().unwrap().as_deref() == Some(message));
        assert_eq!(call.status(&head), (0, String::new()));
    }
    assert_eq!(endpoint.connections(), 1);
    let line = umay.wait_path("/test.Echo/Late");
    assert_eq!(
        (&line["proto"], &line["status"]),
        (&"http/2".into(), &200.into())
    );
}

#[test]
fn streams_of_messages_flow_both_ways_in_turn() {
    let (_endpoint, _umay, client) = scene();
    let mut call = Call::begin(&client, "Both", &[]);
    // The answer's head comes before the first message was sent.
    let head = call.head();
    for round in 0..200_u8 {
        call.send(&[round; 300]).unwrap();
        assert_eq!(call.read().unwrap().unwrap(), [round; 300]);
    }
    // Many out, then many back.
    for round in 0..50_u8 {
        call.send(&[round; 1000]).unwrap();
    }
    for round in 0..50_u8 {
        assert_eq!(call.read().unwrap().unwrap(), [round; 1000]);
    }
    call.half_close();
    assert_eq!(call.read().unwrap(), None);
    assert_eq!(call.status(&head).0, 0);
}

#[test]
fn a_client_streams_and_gets_one_answer_and_a_server_streams_to_one_question() {
    let endpoint = Endpoint::start(|stream| {
        if stream.request().target().ends_with("/Down") {
            stream.respond(200, &[("content-type", "application/grpc")], false)?;
            for round in 0..100_u8 {
                stream.send(&framed(&[round; 1000]))?;
            }
            return stream.finish(OK);
        }
        let length = stream.read_to_end()?.len();
        stream.respond(200, &[("content-type", "application/grpc")], false)?;
        stream.send(&framed(length.to_string().as_bytes()))?;
        stream.finish(OK)
    });
    let umay = before(&endpoint);
    let client = Client::connect(umay.addr()).unwrap();
    let mut up = Call::begin(&client, "Up", &[]);
    for round in 0..100 {
        up.send(&vec![7; round]).unwrap();
    }
    up.half_close();
    let head = up.head();
    assert_eq!(up.read().unwrap().unwrap(), b"5450");
    assert_eq!(up.status(&head).0, 0);
    let mut down = Call::begin(&client, "Down", &[]);
    down.half_close();
    let head = down.head();
    for round in 0..100_u8 {
        assert_eq!(down.read().unwrap().unwrap(), [round; 1000]);
    }
    assert_eq!(down.status(&head).0, 0);
}

#[test]
fn statuses_and_their_details_arrive_in_trailers_and_in_heads() {
    let (_endpoint, _umay, client) = scene();
    let mut call = Call::begin(&client, "Only", &[]);
    call.half_close();
    let head = call.head();
    assert_eq!(head.get("x-detail-bin"), Some("AAEC"));
    assert_eq!(head.get("content-length"), None);
    assert_eq!(call.status(&head), (5, "no such thing%21".to_owned()));
    let mut call = Call::begin(&client, "Fails", &[]);
    call.send(b"partial").unwrap();
    call.half_close();
    let head = call.head();
    assert_eq!(call.read().unwrap().unwrap(), b"partial");
    assert_eq!(call.status(&head), (9, "not%20now".to_owned()));
    let details = call.stream.trailers().last().unwrap();
    assert_eq!(details.1, "CAkSB25vdCBub3c");
}

#[test]
fn an_abort_of_the_endpoint_reaches_the_client() {
    let (_endpoint, umay, client) = scene();
    let mut call = Call::begin(&client, "Aborts", &[]);
    let head = call.head();
    call.send(b"x").unwrap();
    assert_eq!(call.read().unwrap().unwrap(), b"x");
    call.half_close();
    // The answer has begun, but the status comes behind it.
    let (status, message) = call.status(&head);
    assert_eq!(status, 14, "{message}");
    assert!(message.starts_with("upstream_cut: "), "{message}");
    umay.wait_reason("upstream_cut");
}

#[test]
fn a_deadline_is_kept_by_umay_itself() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let endpoint = Endpoint::start(move |stream| {
        if stream.request().target().ends_with("/Begun") {
            stream.respond(200, &[("content-type", "application/grpc")], false)?;
            stream.send(&framed(b"first"))?;
        }
        let timeout = stream.request().get("grpc-timeout").map(str::to_owned);
        let reset = stream.wait_reset()?;
        tell.lock().unwrap().send((timeout, reset)).ok();
        Ok(())
    });
    let umay = before(&endpoint);
    let client = Client::connect(umay.addr()).unwrap();
    let started = Instant::now();
    let mut call = Call::begin(&client, "Silent", &[("grpc-timeout", "300m")]);
    call.send(b"x").unwrap();
    let head = call.head();
    let (status, message) = call.status(&head);
    assert_eq!(status, 4, "{message}");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(290), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The endpoint is told of the deadline, and that it has passed.
    let (timeout, reset) = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(
        (timeout.as_deref(), reset),
        (Some("300m"), h2::Reason::CANCEL)
    );
    // In the middle of an answer too.
    let mut call = Call::begin(&client, "Begun", &[("grpc-timeout", "300m")]);
    let head = call.head();
    assert_eq!(call.read().unwrap().unwrap(), b"first");
    let (status, message) = call.status(&head);
    assert_eq!(status, 4, "{message}");
    told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(
        umay.metric("umay_refusals_total", &[("reason", "deadline_exceeded")]),
        2.0
    );
    // One that is far away changes nothing.
    let mut call = Call::begin(&client, "Silent", &[("grpc-timeout", "1H")]);
    call.stream.reset(h2::Reason::CANCEL);
}

#[test]
fn a_deadline_is_kept_while_the_endpoint_is_connected_to() {
    let stuck = Stuck::new();
    let umay = umay!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n", stuck.addr());
    let client = Client::connect(umay.addr()).unwrap();
    let started = Instant::now();
    let mut call = Call::begin(&client, "Late", &[("grpc-timeout", "300m")]);
    let head = call.head();
    let (status, message) = call.status(&head);
    assert_eq!(status, 4, "{message}");
    let took = started.elapsed();
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert_eq!(umay.wait_reason("deadline_exceeded")["attempts"], 1);
}

#[test]
fn a_cancellation_reaches_the_handler() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let endpoint = Endpoint::start(move |stream| {
        stream.respond(200, &[("content-type", "application/grpc")], false)?;
        let reset = stream.wait_reset()?;
        tell.lock().unwrap().send(reset).ok();
        Ok(())
    });
    let umay = before(&endpoint);
    let client = Client::connect(umay.addr()).unwrap();
    for half_closed in [false, true] {
        let mut call = Call::begin(&client, "Both", &[]);
        call.send(b"x").unwrap();
        call.head();
        if half_closed {
            call.half_close();
            // Nothing is left to send: to forget the call is to cancel it.
            drop(call);
        } else {
            call.stream.reset(h2::Reason::CANCEL);
        }
        assert_eq!(told.recv_timeout(DEADLINE).unwrap(), h2::Reason::CANCEL);
    }
    umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
    assert_eq!(endpoint.connections(), 1, "the connection lives on");
}

#[test]
fn refusals_of_umay_are_statuses_of_grpc() {
    let endpoint = Endpoint::start(serve);
    let refusing = Refusing::new();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n[[route]]\npath = \"/test.Echo\"\nto = \"{}\"\nmax_body = \"100B\"\n\
         [[route]]\npath = \"/dead\"\nto = \"{}\"\n",
        endpoint.addr(),
        refusing.addr()
    );
    let client = Client::connect(umay.addr()).unwrap();
    for (path, body, status, reason) in [
        ("/nowhere.Service/Method", 10, 12, "no_route"),
        ("/dead/Method", 10, 14, "connect_refused"),
        ("/test.Echo/Late", 1000, 8, "request_body_too_large"),
    ] {
        let url = format!("http://a.test{path}");
        let fields = [
            ("content-type", "application/grpc+proto"),
            ("te", "trailers"),
        ];
        let stream = client.call("POST", &url, &fields, false).unwrap();
        let mut call = Call::over(stream);
        call.send(&vec![7; body]).ok();
        call.stream.finish(&[]).ok();
        let head = call.head();
        let (told, message) = call.status(&head);
        assert_eq!(told, status, "{message}");
        assert!(message.starts_with(reason), "{message}");
        assert_eq!(head.reason().as_deref(), Some(reason));
        umay.wait_reason(reason);
    }
}

#[test]
fn large_messages_pass_while_memory_stays_small() {
    const LARGE: usize = 16 << 20;
    let (_endpoint, umay, _client) = scene();
    let narrow = Settings {
        stream_window: 64 * 1024,
        connection_window: 128 * 1024,
        ..Settings::default()
    };
    let client = Client::connect_with(umay.addr(), None, narrow).unwrap();
    let mut call = Call::begin(&client, "Late", &[]);
    call.send(b"warm").unwrap();
    call.half_close();
    let head = call.head();
    call.status(&head);
    let before = rss(umay.pid());
    let message: Vec<u8> = (0..LARGE as u32).map(|n| (n % 251) as u8).collect();
    let mut call = Call::begin(&client, "Late", &[]);
    call.send(&message).unwrap();
    call.half_close();
    call.head();
    // Nobody reads: what can be held is held, and the rest waits at the endpoint.
    let held = eventually("a pause", || {
        let seen = rss(umay.pid());
        thread::sleep(Duration::from_millis(100));
        (rss(umay.pid()) == seen).then_some(seen)
    });
    assert!(held.saturating_sub(before) < 4 << 20, "{held} of {before}");
    assert!(call.read().unwrap().unwrap() == message);
    let grown = peak_rss(umay.pid()).saturating_sub(before);
    assert!(grown < 4 << 20, "grew by {grown} bytes");
}

#[test]
fn a_thousand_calls_at_once_need_few_connections() {
    let (endpoint, umay, _client) = scene();
    let clients: Vec<_> = (0..10)
        .map(|_| Client::connect(umay.addr()).unwrap())
        .collect();
    // All are open before the first is answered.
    let mut calls: Vec<_> = (0..1000_usize)
        .map(|number| {
            let mut call = Call::begin(&clients[number % 10], "Late", &[]);
            call.send(number.to_string().as_bytes()).unwrap();
            call
        })
        .collect();
    eventually("a thousand calls", || {
        (endpoint.streams() >= 1000).then_some(())
    });
    for call in &mut calls {
        call.half_close();
    }
    for (number, call) in calls.iter_mut().enumerate() {
        let head = call.head();
        let answer = call.read().unwrap().unwrap();
        assert_eq!(answer, number.to_string().as_bytes());
        assert_eq!(call.status(&head).0, 0);
    }
    // A hundred on each.
    assert_eq!(endpoint.connections(), 10);
}
