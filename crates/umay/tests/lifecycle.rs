//! The end of the process, and its life at the limit of open files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::time::{Duration, Instant};

use umay_test::{Conn, Door, End, GET, Server, Signal, Umay, eventually, ok, open_files, umay};

/// Answers when the door is open.
fn behind(door: &Door) -> Server {
    let door = door.clone();
    Server::http(move |_| {
        door.wait();
        ok("done")
    })
}

fn before(endpoint: &Server, more: &str) -> Umay {
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n{more}\n",
        endpoint.addr()
    )
}

/// Sends the endpoint's first request and waits until it is there.
fn in_flight(umay: &Umay, endpoint: &Server) -> Conn {
    let mut conn = umay.connect();
    conn.send(GET).unwrap();
    eventually("the request", || {
        endpoint.recorded_text().contains("GET /").then_some(())
    });
    conn
}

#[test]
fn a_drain_lets_what_is_under_way_finish() {
    for signal in [Signal::TERM, Signal::INT] {
        let door = Door::default();
        let endpoint = behind(&door);
        let mut umay = before(&endpoint, "");
        let mut idle = umay.connect();
        let mut busy = in_flight(&umay, &endpoint);
        umay.signal(signal);
        umay.wait_event("draining");
        // Who is idle is let go in order, and nobody new is let in.
        assert_eq!(idle.read_to_end().unwrap(), (Vec::new(), End::Clean));
        eventually("the port to be closed", || {
            Conn::connect(umay.addr()).is_err().then_some(())
        });
        door.open();
        let response = busy.read_response("GET").unwrap();
        assert_eq!(
            (response.text().as_str(), response.get("connection")),
            ("done", Some("close"))
        );
        assert_eq!(busy.read_to_end().unwrap(), (Vec::new(), End::Clean));
        assert_eq!(umay.wait_exit(), 0);
        // The last line of the log is written too.
        assert_eq!(umay.log().len(), 1, "{}", umay.stdout());
    }
}

#[test]
fn without_traffic_a_drain_ends_at_once() {
    let endpoint = Server::ok("hi");
    let mut umay = before(&endpoint, "");
    assert_eq!(umay.connect().ask(GET).unwrap().text(), "hi");
    let started = Instant::now();
    assert_eq!(umay.stop(), 0);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn readiness_goes_off_before_the_door_closes() {
    let endpoint = Server::ok("hi");
    let mut umay = before(&endpoint, "timeouts.drain_delay = \"1s\"");
    assert_eq!(umay.admin_get("/readyz").status(), 200);
    let mut kept = umay.connect();
    assert_eq!(kept.ask(GET).unwrap().get("connection"), None);
    umay.signal(Signal::TERM);
    umay.wait_event("draining");
    eventually("readiness to be off", || {
        (umay.admin_get("/readyz").status() == 503).then_some(())
    });
    assert_eq!(umay.admin_get("/livez").status(), 200);
    // Still served, old and new alike, but asked to leave.
    assert_eq!(kept.ask(GET).unwrap().get("connection"), Some("close"));
    assert_eq!(
        umay.connect().ask(GET).unwrap().get("connection"),
        Some("close")
    );
    assert_eq!(umay.wait_exit(), 0);
}

#[test]
fn what_does_not_end_in_time_is_cut() {
    let door = Door::default();
    let endpoint = behind(&door);
    let mut umay = before(&endpoint, "timeouts.drain = \"500ms\"");
    let mut busy = in_flight(&umay, &endpoint);
    let started = Instant::now();
    assert_eq!(umay.stop(), 0);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    let answer = busy.read_response("GET");
    assert!(!answer.is_ok_and(|response| response.status() == 200));
    assert_eq!(umay.wait_reason("draining")["path"], "/");
    door.open();
}

#[test]
fn a_tunnel_lives_through_a_drain_until_its_deadline() {
    let endpoint = Server::echo();
    let mut umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"tcp://{}\"\ntimeouts.drain = \"1s\"\n",
        endpoint.addr()
    );
    let mut conn = umay.connect();
    let mut ping = || {
        conn.send("x")?;
        conn.read_exact(1)
    };
    ping().unwrap();
    umay.signal(Signal::TERM);
    umay.wait_event("draining");
    ping().unwrap();
    assert_eq!(umay.wait_exit(), 0);
    ping().unwrap_err();
    assert_eq!(umay.wait_reason("draining")["bytes_in"], 2);
}

#[test]
fn a_second_signal_ends_at_once() {
    let door = Door::default();
    let endpoint = behind(&door);
    let mut umay = before(&endpoint, "");
    let mut busy = in_flight(&umay, &endpoint);
    umay.signal(Signal::TERM);
    umay.wait_event("draining");
    let started = Instant::now();
    umay.signal(Signal::TERM);
    assert_ne!(umay.wait_exit(), 0, "what was cut is no success");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let answer = busy.read_response("GET");
    assert!(!answer.is_ok_and(|response| response.status() == 200));
    door.open();
}

#[test]
fn the_limit_on_open_files_is_raised_as_far_as_it_may_be() {
    let endpoint = Server::ok("hi");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    let umay = umay!().config(text).open_files(64, 1000).start();
    assert_eq!(umay.metric("process_max_fds", &[]), 1000.0);
}

/// Umay that may open 100 files and wants more connections than that.
fn narrow(endpoint: &Server) -> Umay {
    let text = format!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\nlimits.connections = 10000\n",
        endpoint.addr()
    );
    umay!().config(text).open_files(100, 100).start()
}

#[test]
fn out_of_files_idle_connections_make_room_for_new_ones() {
    let endpoint = Server::ok("hi");
    let umay = narrow(&endpoint);
    let mut idle = Vec::new();
    for _ in 0..150 {
        let mut conn = umay.connect();
        // Whoever comes is served, though more came before than there is room for.
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
        idle.push(conn);
    }
    umay.wait_event("cannot accept");
    assert!(open_files(umay.pid()) <= 100);
    drop(idle);
    umay.wait_metric("umay_connections_active", &[], 0.0);
    for _ in 0..20 {
        assert_eq!(umay.connect().ask(GET).unwrap().text(), "hi");
    }
}

#[test]
fn out_of_files_busy_connections_are_kept_and_others_wait() {
    let door = Door::default();
    let endpoint = behind(&door);
    let umay = narrow(&endpoint);
    // Each of these takes two files, and all are with the endpoint before others come.
    let busy: Vec<Conn> = (1..=30)
        .map(|count| {
            let mut conn = umay.connect();
            conn.send(GET).unwrap();
            eventually("the request", || {
                (endpoint.connections() == count).then_some(())
            });
            conn
        })
        .collect();
    // Who is in the middle of a head is not idle, so nobody can make room.
    let (begin, rest) = GET.split_at(GET.len() - 2);
    let mut others: Vec<Conn> = (0..100).map(|_| umay.connect()).collect();
    for conn in &mut others {
        conn.send(begin).unwrap();
    }
    umay.wait_event("cannot accept");
    door.open();
    for mut conn in busy {
        assert_eq!(conn.read_response("GET").unwrap().text(), "done");
    }
    for mut conn in others {
        // Who was not lucky is told so, or let go; nobody hangs.
        match conn.send(rest).and_then(|()| conn.read_response("GET")) {
            Ok(response) if response.status() == 200 => {}
            Ok(response) => assert!(response.status() >= 500, "{response:?}"),
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "{error}"),
        }
    }
    assert_eq!(umay.connect().ask(GET).unwrap().text(), "done");
}

#[test]
fn the_limit_on_connections_is_kept() {
    let endpoint = Server::ok("hi");
    let umay = before(&endpoint, "limits.connections = 10");
    let mut conns: Vec<Conn> = (0..10).map(|_| umay.connect()).collect();
    for conn in &mut conns {
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
    }
    let mut more = umay.connect();
    assert_eq!(more.read_to_end().unwrap().0, b"");
    assert_eq!(umay.metric("umay_connections_refused_total", &[]), 1.0);
    // Somebody idle has been let go, so that the next one has room.
    eventually("room", || {
        Some(umay.connect().ask(GET).ok()?.status() == 200)
    });
}
