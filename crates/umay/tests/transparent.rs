//! Transparent proxying: hosts that no configuration names, reached through rules of netfilter.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::net::SocketAddr;
use std::sync::Arc;

use umay_test::network::{Host, addresses};
use umay_test::tungstenite::Message;
use umay_test::{Certs, Conn, End, GET, Server, Setup, Umay, Value, programs, umay, websocket};

/// A machine with Umay on it between two others: wire 1 leads to `one`, wire 2 to `two`, which have
/// no wire between them.
struct Scene {
    near: Host,
    one: Host,
    two: Host,
}

fn scene() -> Scene {
    let [near, one, two] = ["near", "one", "two"].map(Host::new);
    near.wire(&one, 1);
    near.wire(&two, 2);
    for family in ["ipv4/conf", "ipv6/conf"] {
        near.set(&format!("net/{family}/all/forwarding"), "1");
    }
    Scene { near, one, two }
}

/// The addresses of `one` and `two`, IPv4 and IPv6.
fn one(port: u16) -> [SocketAddr; 2] {
    addresses(1, 2, port)
}

fn two(port: u16) -> [SocketAddr; 2] {
    addresses(2, 2, port)
}

/// `umay transparent` with these arguments, on two workers.
fn transparent(args: &[&str]) -> Setup {
    umay!()
        .args(["transparent"].iter().chain(args).copied())
        .workers(2)
}

/// Umay on all addresses, with a route to where clients are headed and what else is said.
fn configured(more: &str) -> Umay {
    let text = format!(
        "listen = [\"0.0.0.0:15001\", \"[::]:15001\"]\nto = \"original-destination\"\n{more}"
    );
    umay!().config(text).workers(2).start()
}

/// Redirects of what `near` opens, without an exemption.
fn redirect_all(port: u16) -> String {
    format!(
        "table inet test {{ chain out {{ type nat hook output priority -100; \
         fib daddr type local return; tcp dport {port} redirect to :15001; }}; }}"
    )
}

/// Waits for the line of the access log about a connection that went there.
#[track_caller]
fn logged(umay: &Umay, proto: &str, to: SocketAddr) -> Value {
    let to = to.to_string();
    umay.wait_log(|line| line["endpoint"] == *to && line["proto"] == proto)
}

fn get(addr: SocketAddr, path: &str) -> umay_test::Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    Conn::connect(addr).unwrap().ask(request).unwrap()
}

#[test]
fn http_goes_to_hosts_that_nobody_has_named() {
    let Scene {
        near,
        one: a,
        two: b,
    } = &scene();
    near.enter(|| {
        let at = |host: &Host, addr, body| host.enter(|| Server::ok_at(addr, None, body));
        let _servers = [
            at(a, one(80)[0], "one"),
            at(a, one(80)[1], "one"),
            at(b, two(80)[0], "two"),
            at(b, two(8080)[1], "two"),
        ];
        let umay = transparent(&["--apply"]).start();
        for (addr, body) in [
            (one(80)[0], "one"),
            (one(80)[1], "one"),
            (two(80)[0], "two"),
            (two(8080)[1], "two"),
        ] {
            let url = format!("http://{addr}/{body}");
            assert_eq!(programs::curl(["-g", &url, &url]), body.repeat(2));
            let line = logged(&umay, "http/1.1", addr);
            assert_eq!(
                (&line["upstream"], &line["route"]),
                (&"original".into(), &"http".into())
            );
        }
        // The second request of each went over the connection of the first.
        let reused = umay
            .log()
            .iter()
            .filter(|line| line["reused"] == true)
            .count();
        assert_eq!(reused, 4, "{:?}", umay.log());
    });
}

#[test]
fn https_passes_unopened() {
    let Scene { near, one: a, .. } = &scene();
    near.enter(|| {
        let certs = Certs::new();
        let tls = certs.server(&certs.issue(&["a.test"]));
        let _servers =
            one(443).map(|addr| a.enter(|| Server::ok_at(addr, Some(Arc::clone(&tls)), "secret")));
        let umay = transparent(&["--apply"]).start();
        for addr in one(443) {
            let resolve = format!("a.test:443:{}", addr.ip());
            let ca = certs.ca();
            let args = [
                "--cacert",
                ca.to_str().unwrap(),
                "--resolve",
                &resolve,
                "https://a.test/",
            ];
            assert_eq!(programs::curl(args), "secret");
            assert_eq!(logged(&umay, "tls", addr)["route"], "stream");
        }
    });
}

#[test]
fn http2_with_prior_knowledge_stays_http2() {
    let Scene { near, two: b, .. } = &scene();
    near.enter(|| {
        let addr = two(8080)[0];
        // It speaks nothing else.
        let _server = b.enter(|| programs::nghttpd_at(addr, None, &[], &[("a.txt", b"second")]));
        let umay = transparent(&["--apply"]).start();
        let url = format!("http://{addr}/a.txt");
        let args = ["--http2-prior-knowledge", "-w", " %{http_version}", &url];
        assert_eq!(programs::curl(args), "second 2");
        assert_eq!(logged(&umay, "http/2", addr)["status"], 200);
    });
}

#[test]
fn websockets_and_tunnels_of_other_proxies_go_through() {
    let Scene { near, two: b, .. } = &scene();
    near.enter(|| {
        let [addr, proxy] = [two(80)[1], two(8080)[0]];
        let _server = b.enter(|| Server::start_at(addr, |conn, _| websocket::echo(conn)));
        let _proxy = b.enter(|| {
            Server::start_at(proxy, |conn, _| {
                conn.read_request()?;
                conn.send("HTTP/1.1 200 OK\r\n\r\n")?;
                let got = conn.read_some()?;
                conn.send(got)
            })
        });
        let umay = transparent(&["--apply"]).start();
        let conn = Conn::connect(addr).unwrap();
        let (mut socket, _) = websocket::connect(conn, &format!("ws://{addr}/chat")).unwrap();
        for text in ["hello", "again"] {
            socket.send(Message::text(text)).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text(text));
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        drop(socket);
        assert_eq!(umay.wait_path("/chat")["endpoint"], addr.to_string());
        // CONNECT is for the proxy where the client was headed, and Umay leaves it to that.
        let mut conn = Conn::connect(proxy).unwrap();
        conn.send("CONNECT c.test:1 HTTP/1.1\r\nHost: c.test:1\r\n\r\n")
            .unwrap();
        assert_eq!(conn.read_response("CONNECT").unwrap().status(), 200);
        conn.send("ping").unwrap();
        assert_eq!(conn.read_some().unwrap(), b"ping");
    });
}

#[test]
fn other_protocols_go_through_whoever_speaks_first() {
    let Scene {
        near,
        one: a,
        two: b,
    } = &scene();
    near.enter(|| {
        let [broker, greeter, echo] = [one(1883)[0], two(2525)[0], two(7)[1]];
        let _broker = a.enter(|| programs::mosquitto_at(broker));
        let _greeter = b.enter(|| {
            Server::start_at(greeter, |conn, _| {
                conn.send("220 hello\r\n")?;
                conn.read_some().map(drop)
            })
        });
        let _echo = b.enter(|| {
            Server::start_at(echo, |conn, _| {
                let got = conn.read_to_end()?.0;
                conn.send(got)
            })
        });
        let umay = transparent(&["--apply", "--ports", "1-8,1883,2525"]).start();
        let host = broker.ip().to_string();
        let to = ["-h", &host, "-t", "a", "-q", "1"];
        let sent = programs::run(
            "mosquitto_pub",
            to.into_iter().chain(["-m", "x", "-r"]),
            b"",
        );
        assert!(sent.status.success(), "{sent:?}");
        let got = programs::run(
            "mosquitto_sub",
            to.into_iter().chain(["-C", "1", "-W", "20"]),
            b"",
        );
        assert_eq!(got.stdout, b"x\n");
        logged(&umay, "mqtt", broker);
        let mut conn = Conn::connect(greeter).unwrap();
        assert_eq!(conn.read_some().unwrap(), b"220 hello\r\n");
        drop(conn);
        logged(&umay, "tcp", greeter);
        // Half-closed, which the endpoint waits for before it answers.
        let mut conn = Conn::connect(echo).unwrap();
        conn.send("\0raw").unwrap();
        conn.half_close().unwrap();
        assert_eq!(conn.read_to_end().unwrap(), (b"\0raw".to_vec(), End::Clean));
        logged(&umay, "tcp", echo);
    });
}

/// What one destination speaks says nothing of the others, so HTTP must not end raw streams.
#[test]
fn raw_streams_go_on_after_http_was_seen() {
    let Scene {
        near,
        one: a,
        two: b,
    } = &scene();
    near.enter(|| {
        let _http = a.enter(|| Server::ok_at(one(80)[0], None, "http"));
        let _echo = b.enter(|| {
            Server::start_at(two(80)[0], |conn, _| {
                conn.read_some().and_then(|got| conn.send(got))
            })
        });
        near.nft(&format!(
            "{}\n",
            redirect_all(80).replace("fib", "meta mark 0x756d6179 return; fib")
        ));
        let _umay = configured("");
        assert_eq!(get(one(80)[0], "/").text(), "http");
        let mut conn = Conn::connect(two(80)[0]).unwrap();
        conn.send("\0raw").unwrap();
        assert_eq!(conn.read_some().unwrap(), b"\0raw");
    });
}

#[test]
fn rules_come_and_go_with_umay_and_touch_nothing_else() {
    let Scene { near, one: a, .. } = &scene();
    near.nft(
        "table inet other { chain out { type nat hook output priority 0; tcp dport 9 accept; }; }",
    );
    let before = near.rules();
    near.enter(|| {
        let addr = one(80)[0];
        let _server = a.enter(|| {
            Server::start_at(addr, |conn, _| {
                while let Ok(got) = conn.read_some()
                    && !got.is_empty()
                {
                    conn.send(got)?;
                }
                Ok(())
            })
        });
        // The kernel keeps no records of connections yet, so that this one will be new to it.
        let mut early = Conn::connect(addr).unwrap();
        let mut umay = transparent(&["--apply"]).start();
        early.send("early").unwrap();
        assert_eq!(early.read_some().unwrap(), b"early");
        let rules = near.rules();
        assert!(
            rules.contains(&before) && rules.contains("redirect to :15001"),
            "{rules}"
        );
        let mut open = Conn::connect(addr).unwrap();
        open.send("\0one").unwrap();
        assert_eq!(open.read_some().unwrap(), b"\0one");
        // A second one leaves the first one's rules alone.
        let args = ["--apply", "--listen", "127.0.0.1:15002"];
        let second = transparent(&args).env("UMAY_ADMIN__BIND", "off").fails();
        assert!(
            second
                .stderr
                .contains("nft delete table inet umay_transparent"),
            "{}",
            second.stderr
        );
        assert!(near.rules().contains("redirect to :15001"));
        umay.signal(umay_test::Signal::TERM);
        umay.wait_event("new connections go their own way");
        assert!(!near.rules().contains("redirect"));
        // What was redirected goes on until its end; what is new goes its own way.
        open.send("\0two").unwrap();
        assert_eq!(open.read_some().unwrap(), b"\0two");
        let mut direct = Conn::connect(addr).unwrap();
        direct.send("three").unwrap();
        assert_eq!(direct.read_some().unwrap(), b"three");
        drop(open);
        assert_eq!(umay.wait_exit(), 0);
        assert_eq!(near.rules(), before);
        assert_eq!(umay.log().len(), 1, "{:?}", umay.log());
    });
}

#[test]
fn who_was_not_redirected_is_told_so() {
    let Scene { near, one: a, .. } = &scene();
    near.enter(|| {
        let umay = configured("");
        for addr in addresses(1, 1, 15001) {
            let answer = a.enter(|| get(addr, "/direct"));
            assert_eq!(answer.status(), 502);
            assert!(
                answer.text().contains("original_destination_unknown"),
                "{}",
                answer.text()
            );
        }
        let mut raw = Conn::connect(addresses(1, 1, 15001)[0]).unwrap();
        raw.send("\0").unwrap();
        assert_eq!(raw.read_to_end().unwrap().0, b"");
        umay.wait_log(|line| {
            line["proto"] == "tcp" && line["reason"] == "original_destination_unknown"
        });
    });
}

#[test]
fn a_connection_that_was_headed_to_umay_is_a_loop() {
    let Scene { near, one: a, .. } = &scene();
    near.nft("table inet test { chain in { type nat hook prerouting priority -100; tcp dport 8080 redirect to :15001; }; }");
    near.enter(|| {
        let text = "[[listener]]\nname = \"other\"\nlisten = \"0.0.0.0:8080\"\n\
                    [[route]]\nlisteners = [\"other\"]\nrespond = {}\n";
        let umay = configured(text);
        let addr = addresses(1, 1, 8080)[0];
        let answer = a.enter(|| get(addr, "/loop"));
        assert_eq!(answer.status(), 508);
        assert!(answer.text().contains("loop_detected"), "{}", answer.text());
        assert_eq!(umay.wait_path("/loop")["reason"], "loop_detected");
        // From inside, where nothing is redirected, the other listener is there.
        assert_eq!(get(addr, "/").status(), 200);
    });
}

/// Rules that exempt nobody send Umay's own connections back to it.
#[test]
fn connections_of_umays_own_that_come_back_are_refused() {
    let Scene {
        near,
        one: a,
        two: b,
    } = &scene();
    near.nft(&redirect_all(80));
    near.enter(|| {
        let _servers = [
            a.enter(|| Server::ok_at(one(80)[0], None, "never reached")),
            b.enter(|| Server::ok_at(two(80)[1], None, "never reached")),
        ];
        let umay = configured("");
        for addr in [one(80)[0], two(80)[1]] {
            let answer = get(addr, "/h1");
            assert_eq!(
                (answer.status(), answer.text().contains("loop_detected")),
                (508, true)
            );
        }
        let line = umay.wait_log(|line| line["reason"] == "loop_detected");
        assert!(
            line["detail"].as_str().unwrap().contains("exempt"),
            "{line}"
        );
        let url = format!("http://{}/h2", one(80)[0]);
        let args = [
            "--http2-prior-knowledge",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &url,
        ];
        assert_eq!(programs::curl(args), "508");
        let mut raw = Conn::connect(one(80)[0]).unwrap();
        raw.send("\0raw").unwrap();
        assert_eq!(raw.read_to_end().unwrap().0, b"");
        umay.wait_log(|line| line["proto"] == "tcp" && line["reason"] == "loop_detected");
        // Each came back once.
        umay.wait_metric("umay_connections_accepted_total", &[], 8.0);
    });
}

/// Rules take Umay's connections to any endpoint, so all are exempt by their mark, and known.
#[test]
fn routes_to_other_endpoints_do_not_loop_either() {
    let Scene {
        near,
        one: a,
        two: b,
    } = &scene();
    near.enter(|| {
        let (headed, other) = (one(80)[0], two(80)[0]);
        let _servers = [
            a.enter(|| Server::ok_at(headed, None, "headed")),
            b.enter(|| Server::ok_at(other, None, "other")),
        ];
        let umay = configured(&format!(
            "[[route]]\nhost = \"a.test\"\nto = \"http://{other}\"\n"
        ));
        let ask = || Conn::connect(headed).unwrap().ask(GET).unwrap();
        near.nft(&redirect_all(80));
        assert_eq!(ask().status(), 508);
        assert_eq!(umay.wait_reason("loop_detected")["route"], "route-1");
        near.nft("insert rule inet test out meta mark 0x756d6179 return");
        assert_eq!(ask().text(), "other");
    });
}

/// Where nothing is waited for, a connection may come back before Umay has remembered it. Then it
/// goes round once more, and not for ever.
#[test]
fn loops_end_even_where_nothing_is_detected() {
    const CLIENTS: usize = 50;
    let Scene { near, two: b, .. } = &scene();
    near.nft(&redirect_all(7));
    near.enter(|| {
        let addr = two(7)[0];
        let _server = b.enter(|| Server::start_at(addr, |conn, _| conn.send("never reached")));
        let text = "listen = \"127.0.0.1:15001\"\n\
                    [[route]]\nprotocol = \"tcp\"\nto = \"original-destination\"\n";
        let umay = umay!().config(text).workers(2).start();
        for _ in 0..CLIENTS {
            let mut conn = Conn::connect(addr).unwrap();
            assert_eq!(conn.read_to_end().unwrap().0, b"");
        }
        umay.wait_metric("umay_connections_active", &[], 0.0);
        let accepted = umay.metric("umay_connections_accepted_total", &[]);
        assert!(accepted >= 2.0 * CLIENTS as f64, "{accepted}");
        assert!(accepted <= 4.0 * CLIENTS as f64, "{accepted}");
    });
}

#[test]
fn a_closed_terminal_leaves_no_rules() {
    let Scene { near, .. } = &scene();
    near.enter(|| {
        let args = ["--apply", "--ports", "all", "--inbound", "--outbound"];
        let mut umay = transparent(&args).start();
        assert!(near.rules().contains("tcp dport != 22 redirect"));
        umay.signal(umay_test::Signal::HUP);
        assert_eq!(umay.wait_exit(), 0);
        assert_eq!(near.rules(), "");
    });
}

#[test]
fn what_comes_in_is_taken_whether_it_is_for_this_machine_or_another() {
    let Scene {
        near,
        one: a,
        two: b,
    } = &scene();
    near.enter(|| {
        let here = addresses(1, 1, 8080);
        let _here = here.map(|addr| Server::ok_at(addr, None, "here"));
        let _there = two(80).map(|addr| b.enter(|| Server::ok_at(addr, None, "there")));
        let umay = transparent(&["--inbound", "--apply"]).start();
        for (addr, body) in here
            .map(|addr| (addr, "here"))
            .into_iter()
            .chain(two(80).map(|addr| (addr, "there")))
        {
            let answer = a.enter(|| get(addr, "/in"));
            assert_eq!(answer.text(), body);
            let line = logged(&umay, "http/1.1", addr);
            let client = one(0)[usize::from(addr.is_ipv6())].ip().to_string();
            assert_eq!(line["client_ip"], client, "{line}");
        }
    });
}

/// The block of `docs/transparent.md` that begins like this, without its fences.
fn documented(begin: &str) -> String {
    let page = include_str!("../../../docs/transparent.md");
    let (_, rest) = page.split_once(&format!("```{begin}")).unwrap();
    let (_, first) = begin.split_once('\n').unwrap_or_default();
    format!("{first}{}", rest.split("```").next().unwrap())
}

#[test]
fn tproxy_catches_what_passes_by() {
    let Scene {
        near,
        one: a,
        two: b,
    } = &scene();
    // As the documents say, but with the port that Umay listens on itself, which may be elsewhere.
    near.nft(&documented("nft").replace("{ 80, 443 }", "{ 80, 15001 }"));
    for command in documented("sh\nip ").lines() {
        near.ip(command.trim_start_matches("ip "));
    }
    near.enter(|| {
        let _servers = two(80).map(|addr| b.enter(|| Server::ok_at(addr, None, "two")));
        let _same = two(15001).map(|addr| b.enter(|| Server::ok_at(addr, None, "same port")));
        let text = documented("toml\n[[listener]]\nlisten = \"0.0.0.0:15001\"\n");
        let umay = umay!().config(text).workers(2).start();
        for (addr, body) in [(80, "two"), (15001, "same port")]
            .into_iter()
            .flat_map(|(port, body)| two(port).map(|addr| (addr, body)))
        {
            assert_eq!(a.enter(|| get(addr, "/").text()), body, "{addr}");
            logged(&umay, "http/1.1", addr);
        }
        for addr in addresses(1, 1, 15001) {
            assert_eq!(a.enter(|| get(addr, "/").status()), 502, "{addr}");
        }
    });
}

#[test]
fn without_the_capability_umay_says_what_to_do() {
    let under = |setup: Setup| setup.under(["setpriv", "--bounding-set", "-net_admin,-net_raw"]);
    let text = "[[listener]]\nlisten = \"127.0.0.1:0\"\ntransparent = true\n\
                [[route]]\nto = \"original-destination\"\n";
    let failure = under(umay!().config(text)).fails();
    assert!(
        failure.stderr.contains("CAP_NET_ADMIN"),
        "{}",
        failure.stderr
    );
    let args = ["--apply", "--listen", "127.0.0.1:0"];
    let failure = under(transparent(&args)).fails();
    assert!(
        failure.stderr.contains("nft may not change rules"),
        "{}",
        failure.stderr
    );
}

/// Without the mark Umay's user is exempt, and with it all that runs as that user.
#[test]
fn a_user_is_exempt_where_no_mark_can_be_set() {
    let Scene { near, one: a, .. } = &scene();
    near.enter(|| {
        let addr = one(80)[0];
        let _server = a.enter(|| Server::ok_at(addr, None, "one"));
        let umay = transparent(&[])
            .under(["setpriv", "--bounding-set", "-net_admin,-net_raw"])
            .start();
        let rules = umay_test::eventually("the rules", || {
            let text = umay.stdout();
            text.ends_with("}\n\n").then_some(text)
        });
        assert!(rules.contains("meta skuid 0 return"), "{rules}");
        near.nft(&rules);
        let url = format!("http://{addr}/nobody");
        let nobody = ["--reuid", "65534", "--clear-groups", "curl", "-sS", &url];
        let output = programs::run("setpriv", nobody, b"");
        assert_eq!(output.stdout, b"one", "{output:?}");
        umay.wait_path("/nobody");
        assert_eq!(Conn::connect(addr).unwrap().ask(GET).unwrap().text(), "one");
        assert_eq!(umay.log().len(), 1, "{:?}", umay.log());
    });
}

#[test]
fn an_address_that_no_redirect_leads_to_is_refused() {
    let failure = transparent(&["--listen", "127.0.0.2:0"]).fails();
    assert!(
        failure.stderr.contains("listen on 127.0.0.1"),
        "{}",
        failure.stderr
    );
    let failure = transparent(&["--inbound", "--listen", "127.0.0.1:0"]).fails();
    assert!(
        failure.stderr.contains("listen on 0.0.0.0"),
        "{}",
        failure.stderr
    );
}
