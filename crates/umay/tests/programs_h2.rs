//! Real programs of HTTP/2 around Umay: curl, nghttp and h2load before it, nghttpd and nginx behind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::exchange::{Body, Exchange, Peer};
use umay_test::programs::{Program, curl, nghttpd, nginx_that_listens, run};
use umay_test::{Certs, Server, TempDir, Umay, ok, umay};

/// HTTP and HTTPS on one port.
struct Scene {
    certs: Certs,
    umay: Umay,
}

/// How clients come to HTTP/2.
const WAYS: [(&str, &str); 2] = [("http", "--http2-prior-knowledge"), ("https", "--http2")];

impl Scene {
    /// Before endpoints written as in `to`; `ca` says that it has issued their certificate, for `nghttpd.test`.
    fn new(certs: Certs, to: &str, ca: bool) -> Self {
        let tls = certs.issue(&["localhost", "127.0.0.1"]).toml();
        let ca = if ca {
            format!("tls.ca = {:?}\ntls.sni = \"nghttpd.test\"", certs.ca())
        } else {
            String::new()
        };
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\n{tls}to = \"up\"\n[upstream.up]\nto = \"{to}\"\n{ca}\n"
        );
        Self { certs, umay }
    }

    fn before(to: impl std::fmt::Display) -> Self {
        Self::new(Certs::new(), &format!("http://{to}"), false)
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.umay.addr())
    }

    /// Runs curl on a path with these arguments.
    fn curl(&self, (scheme, version): (&str, &str), path: &str, args: &[&str]) -> String {
        let ca = self.certs.ca();
        let url = self.url(scheme, path);
        let fixed = ["--cacert", ca.to_str().unwrap(), version, &url];
        curl(fixed.iter().chain(args))
    }
}

/// Runs a program of nghttp2 and gives what it printed.
#[track_caller]
fn tool(name: &str, args: &[&str]) -> String {
    let output = run(name, args, b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {text}{error}");
    text
}

fn mirror() -> Server {
    Server::http(|request| {
        let head = format!("{} {} ", request.method(), request.target());
        ok([head.as_bytes(), &request.body].concat())
    })
}

#[test]
fn curl_sends_many_requests_over_one_connection() {
    let endpoint = mirror();
    let scene = Scene::before(endpoint.addr());
    let told = " %{http_version} %{num_connects}\n";
    for way in WAYS {
        assert_eq!(scene.curl(way, "/a", &["-w", told]), "GET /a  2 1\n");
    }
    // curl 7.88 cannot use a connection of prior knowledge again, whoever its server is (#10634).
    let urls = ["/b", "/c"].map(|path| scene.url("https", path));
    let args = ["-w", told, &urls[0], &urls[1]];
    let text = scene.curl(WAYS[1], "/a", &args);
    assert_eq!(text, "GET /a  2 1\nGET /b  2 0\nGET /c  2 0\n");
    // At once, too.
    let args = ["-Z", "-w", "%{http_version}\n", &urls[0], &urls[1]];
    let text = scene.curl(WAYS[1], "/a", &args);
    assert_eq!(text.matches("2\n").count(), 3, "{text}");
}

#[test]
fn curl_uploads_and_asks_for_heads() {
    let endpoint = mirror();
    let scene = Scene::before(endpoint.addr());
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| b'a' + (n % 23) as u8).collect();
    let dir = TempDir::new();
    let file = dir.write("body", &body);
    let file = file.to_str().unwrap();
    let data = format!("@{file}");
    for way in WAYS {
        let text = scene.curl(way, "/post", &["--data-binary", &data]);
        assert!(text.as_bytes() == [b"POST /post ", &body[..]].concat());
        let text = scene.curl(way, "/put", &["-T", file]);
        assert!(text.as_bytes() == [b"PUT /put ", &body[..]].concat());
        // Without a length.
        let text = scene.curl(way, "/put", &["-T", "-", "-H", "Expect:"]);
        assert_eq!(text, "PUT /put ");
        let head = scene.curl(way, "/head", &["-I"]);
        assert!(head.starts_with("HTTP/2 200"), "{head}");
        assert!(head.contains("content-length: 11"), "{head}");
        let small = ["--data", "x=y", "-H", "Expect: 100-continue"];
        assert_eq!(scene.curl(way, "/small", &small), "POST /small x=y");
    }
    let line = scene.umay.wait_path("/post");
    assert_eq!(line["bytes_in"], body.len());
}

#[test]
fn nghttp_speaks_of_what_it_sees() {
    let script = |exchange: &mut Exchange<'_>| {
        let body = exchange.read_to_end()?;
        let sum = format!("{:?}", exchange.trailers()).to_lowercase();
        exchange.inform(103, &[("link", "</a.css>")])?;
        exchange.respond(200, &[("x-sum", &sum)], Body::Unknown)?;
        exchange.send(&body)?;
        exchange.finish(&[("x-done", "yes")])
    };
    let dir = TempDir::new();
    let file = dir.write("body", vec![b'x'; 100_000]);
    for peer in [Peer::http1(None, script), Peer::http2(None, script)] {
        let to = match &peer {
            Peer::One(server) => format!("http://{}", server.addr()),
            Peer::Many(endpoint) => format!("h2c://{}", endpoint.addr()),
        };
        let scene = Scene::new(Certs::new(), &to, false);
        for scheme in ["http", "https"] {
            let url = scene.url(scheme, "/");
            let file = file.to_str().unwrap();
            let args = [
                "-v",
                "-n",
                "-y",
                "-m",
                "20",
                "--trailer",
                "x-sum: 7",
                "-d",
                file,
                &url,
            ];
            let text = tool("nghttp", &args);
            assert_eq!(text.matches(":status: 103").count(), 20, "{text}");
            assert_eq!(text.matches(":status: 200").count(), 20, "{text}");
            assert_eq!(text.matches("x-done: yes").count(), 20, "{text}");
            assert_eq!(
                text.matches("x-sum: [(\"x-sum\", \"7\")]").count(),
                20,
                "{text}"
            );
            assert!(!text.contains("RST_STREAM"), "{text}");
        }
    }
}

#[test]
fn h2load_gets_every_answer() {
    let endpoint = Server::ok("hi");
    let scene = Scene::before(endpoint.addr());
    for scheme in ["http", "https"] {
        let url = scene.url(scheme, "/");
        let text = tool("h2load", &["-n", "4000", "-c", "4", "-m", "50", &url]);
        let all = "4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored";
        assert!(text.contains(all), "{text}");
        assert!(text.contains("status codes: 4000 2xx"), "{text}");
    }
    assert_eq!(scene.umay.metric("umay_refusals_total", &[]), 0.0);
}

/// What every real endpoint has to do.
fn serves(scene: &Scene, big: &[u8], connections: f64) {
    let dir = TempDir::new();
    for way in [WAYS[0], WAYS[1], ("http", "--http1.1")] {
        assert_eq!(scene.curl(way, "/a.txt", &[]), "hello");
        let saved = dir.path().join("saved");
        scene.curl(way, "/big", &["-o", saved.to_str().unwrap()]);
        assert!(
            std::fs::read(&saved).unwrap() == big,
            "the file was changed"
        );
        let code = ["-o", "/dev/null", "-w", "%{http_code}"];
        assert_eq!(scene.curl(way, "/missing", &code), "404");
        let head = scene.curl(way, "/a.txt", &["-I"]).to_ascii_lowercase();
        assert!(head.contains("content-length: 5"), "{head}");
    }
    let opened = scene
        .umay
        .metric("umay_upstream_connections_opened_total", &[]);
    assert_eq!(opened, connections);
}

fn big() -> Vec<u8> {
    (0..5_000_000_u32).map(|n| (n % 241) as u8).collect()
}

#[test]
fn nghttpd_serves_through_umay() {
    let big = big();
    let files = [("a.txt", &b"hello"[..]), ("big", &big)];
    let certs = Certs::new();
    let pair = certs.issue(&["nghttpd.test"]);
    let clear = nghttpd(None, &["--trailer", "x-done: yes"], &files);
    let scene = Scene::new(Certs::new(), &format!("h2c://{}", clear.addr), false);
    serves(&scene, &big, 1.0);
    trailers(&scene);
    let secure = nghttpd(Some(&pair), &["--trailer", "x-done: yes"], &files);
    let to = format!("h2://{}", secure.addr);
    let scene = Scene::new(certs, &to, true);
    serves(&scene, &big, 1.0);
    trailers(&scene);
}

/// The endpoint's trailers arrive.
fn trailers(scene: &Scene) {
    let text = tool("nghttp", &["-v", "-n", "-y", &scene.url("http", "/a.txt")]);
    assert!(text.contains("x-done: yes"), "{text}");
    let answer = scene.umay.get("127.0.0.1", "/a.txt");
    assert_eq!(answer.trailers, [("x-done".to_owned(), "yes".to_owned())]);
}

#[test]
fn nghttpd_echoes_uploads() {
    let body = vec![b'x'; 2_000_000];
    let dir = TempDir::new();
    let file = dir.write("body", &body);
    let data = format!("@{}", file.display());
    let echo: Program = nghttpd(None, &["--echo-upload"], &[]);
    let scene = Scene::new(Certs::new(), &format!("h2c://{}", echo.addr), false);
    for way in [WAYS[0], WAYS[1], ("https", "--http1.1")] {
        let text = scene.curl(way, "/", &["--data-binary", &data]);
        assert!(text.as_bytes() == body, "{} bytes came back", text.len());
    }
    for scheme in ["http", "https"] {
        let url = scene.url(scheme, "/");
        let file = file.to_str().unwrap();
        let args = ["-n", "200", "-c", "2", "-m", "20", "-d", file, &url];
        let text = tool("h2load", &args);
        assert!(
            text.contains("200 succeeded, 0 failed, 0 errored"),
            "{text}"
        );
    }
}

#[test]
fn nginx_serves_over_tls_by_what_it_prefers() {
    let big = big();
    let certs = Certs::new();
    let pair = certs.issue(&["nginx.test"]);
    let server = format!(
        "ssl_certificate {:?}; ssl_certificate_key {:?};
         location = /proto {{ return 200 $server_protocol; }}",
        pair.cert, pair.key
    );
    let files = [("a.txt", &b"hello"[..]), ("big", &big)];
    for (options, proto) in [("ssl http2", "HTTP/2.0"), ("ssl", "HTTP/1.1")] {
        let nginx = nginx_that_listens(options, &server, &files);
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\n{}to = \"up\"\n[upstream.up]\nto = \"https://{}\"\n\
             tls.ca = {:?}\ntls.sni = \"nginx.test\"\n",
            certs.issue(&["127.0.0.1"]).toml(),
            nginx.addr,
            certs.ca(),
        );
        let scene = Scene {
            certs: Certs::new(),
            umay,
        };
        assert_eq!(scene.curl(WAYS[0], "/proto", &[]), proto);
        let url = scene.url("http", "/a.txt");
        let text = tool("h2load", &["-n", "1000", "-c", "2", "-m", "20", &url]);
        assert!(
            text.contains("1000 succeeded, 0 failed, 0 errored"),
            "{text}"
        );
    }
}
