//! Real programs around Umay: curl before it, nginx behind it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::fs::File;

use umay_test::programs::{curl, nginx};
use umay_test::{Certs, Server, TempDir, Umay, Value, answer, ok, peak_rss, rss, umay};

const GIB: u64 = 1 << 30;

/// How much Umay may grow over a body of 1 GiB.
const GROWTH: u64 = 8 << 20;

/// HTTP and HTTPS on one port.
struct Scene {
    certs: Certs,
    umay: Umay,
}

impl Scene {
    fn before(to: impl std::fmt::Display) -> Self {
        let certs = Certs::new();
        let tls = certs.issue(&["localhost", "127.0.0.1"]).toml();
        let umay = umay!("listen = \"127.0.0.1:0\"\n{tls}to = \"http://{to}\"\n");
        Self { certs, umay }
    }

    /// Runs curl with these arguments on a path, over `http` or `https`.
    fn curl(&self, scheme: &str, path: &str, args: &[&str]) -> String {
        let url = format!("{scheme}://{}{path}", self.umay.addr());
        let ca = self.certs.ca();
        curl(["--cacert", ca.to_str().unwrap(), &url].iter().chain(args))
    }
}

#[test]
fn curl_speaks_every_version_of_tls_and_http_that_there_is() {
    let endpoint = Server::ok("hi");
    let scene = Scene::before(endpoint.addr());
    for args in [
        &["--tlsv1.2", "--tls-max", "1.2"][..],
        &["--tlsv1.3"],
        &["--http1.1"],
        &["--http1.0"],
        &["--http2"],
    ] {
        assert_eq!(scene.curl("https", "/", args), "hi", "{args:?}");
    }
    for args in [
        &["--http1.0"][..],
        &["--http1.1"],
        &["--http2-prior-knowledge"],
    ] {
        assert_eq!(scene.curl("http", "/", args), "hi", "{args:?}");
    }
    // The log is written behind the answers.
    for (scheme, proto) in [
        ("https", "http/1.0"),
        ("https", "http/1.1"),
        ("https", "http/2"),
        ("http", "http/1.0"),
        ("http", "http/1.1"),
        ("http", "http/2"),
    ] {
        let seen = |line: &Value| line["scheme"] == scheme && line["proto"] == proto;
        scene.umay.wait_log(seen);
    }
    for tls in ["1.2", "1.3"] {
        scene.umay.wait_log(|line| line["tls"] == tls);
    }
}

#[test]
fn curl_keeps_its_connection() {
    let endpoint = Server::ok("hi");
    let scene = Scene::before(endpoint.addr());
    for scheme in ["http", "https"] {
        let again = format!("{scheme}://{}/again", scene.umay.addr());
        let args = [
            "-w",
            " %{num_connects}\n",
            &again,
            "-w",
            " %{num_connects}\n",
        ];
        assert_eq!(scene.curl(scheme, "/", &args), "hi 1\nhi 0\n");
    }
}

#[test]
fn curl_waits_for_100_and_does_without() {
    let patient = Server::start(|conn, _| {
        let head = String::from_utf8(conn.read_until("\r\n\r\n")?).unwrap();
        assert!(head.contains("100-continue"), "{head}");
        conn.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        conn.skip(2_000_000)?;
        conn.send(answer("200 OK", "Connection: close\r\n", "continued"))
    });
    let silent = Server::http(|request| ok(request.body.len().to_string()));
    let dir = TempDir::new();
    let file = dir.write("body", vec![b'x'; 2_000_000]);
    let data = format!("@{}", file.display());
    let args = ["--data-binary", &data, "-H", "Expect: 100-continue"];
    assert_eq!(
        Scene::before(patient.addr()).curl("https", "/", &args),
        "continued"
    );
    // After a second curl sends its body anyway.
    assert_eq!(
        Scene::before(silent.addr()).curl("https", "/", &args),
        "2000000"
    );
    let refusing = Server::start(|conn, _| {
        conn.read_until("\r\n\r\n")?;
        conn.send(answer("413 Content Too Large", "", "no"))?;
        conn.read_to_end().map(|_| ())
    });
    let scene = Scene::before(refusing.addr());
    let args = [&args[..], &["-w", " %{http_code} %{size_upload}"]].concat();
    assert_eq!(scene.curl("https", "/", &args), "no 413 0");
}

#[test]
fn a_gibibyte_goes_up_without_memory() {
    let endpoint = Server::start(|conn, _| {
        conn.read_until("\r\n\r\n")?;
        conn.skip(GIB)?;
        conn.send(answer("200 OK", "Connection: close\r\n", "got it"))
    });
    let scene = Scene::before(endpoint.addr());
    let dir = TempDir::new();
    let path = dir.path().join("gib");
    File::create(&path).unwrap().set_len(GIB).unwrap();
    for scheme in ["http", "https"] {
        let before = rss(scene.umay.pid());
        let text = scene.curl(
            scheme,
            "/up",
            &["-T", path.to_str().unwrap(), "-H", "Expect:"],
        );
        assert_eq!(text, "got it");
        let grown = peak_rss(scene.umay.pid()).saturating_sub(before);
        assert!(grown < GROWTH, "{scheme}: grew by {grown} bytes");
    }
    let line = scene.umay.wait_path("/up");
    assert_eq!(line["bytes_in"], GIB);
}

#[test]
fn a_gibibyte_comes_down_without_memory() {
    let endpoint = Server::start(|conn, _| {
        conn.read_request()?;
        conn.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\nConnection: close\r\n\r\n"
        ))?;
        let block = vec![0; 1 << 20];
        for _ in 0..GIB >> 20 {
            conn.send(&block)?;
        }
        Ok(())
    });
    let scene = Scene::before(endpoint.addr());
    for scheme in ["http", "https"] {
        let before = rss(scene.umay.pid());
        let args = ["-o", "/dev/null", "-w", "%{size_download}"];
        assert_eq!(scene.curl(scheme, "/down", &args), GIB.to_string());
        let grown = peak_rss(scene.umay.pid()).saturating_sub(before);
        assert!(grown < GROWTH, "{scheme}: grew by {grown} bytes");
    }
    assert_eq!(scene.umay.wait_path("/down")["bytes_out"], GIB);
}

#[test]
fn nginx_serves_through_umay() {
    let big: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 241) as u8).collect();
    let server =
        "location = /who { return 200 \"$http_x_forwarded_for $http_x_forwarded_proto $host\"; }
                  location = /made { return 201; }
                  location /gzip/ { gzip on; gzip_types *; gzip_min_length 1; alias root/; }";
    let nginx = nginx(server, &[("big", &big), ("a.txt", b"hello nginx")]);
    let scene = Scene::before(nginx.addr);
    let dir = TempDir::new();
    for scheme in ["http", "https"] {
        assert_eq!(scene.curl(scheme, "/a.txt", &[]), "hello nginx");
        let saved = dir.path().join(scheme);
        scene.curl(scheme, "/big", &["-o", saved.to_str().unwrap()]);
        assert!(
            std::fs::read(&saved).unwrap() == big,
            "{scheme}: the file was changed"
        );
        assert_eq!(scene.curl(scheme, "/a.txt", &["-r", "6-"]), "nginx");
        assert_eq!(
            scene.curl(
                scheme,
                "/missing",
                &["-o", "/dev/null", "-w", "%{http_code}"]
            ),
            "404"
        );
        assert_eq!(
            scene.curl(scheme, "/who", &[]),
            format!("127.0.0.1 {scheme} 127.0.0.1")
        );
        // Compressed on the way, without a length.
        assert_eq!(
            scene.curl(scheme, "/gzip/a.txt", &["--compressed"]),
            "hello nginx"
        );
        let head = scene.curl(scheme, "/a.txt", &["-I"]);
        assert!(
            head.contains(" 200") && head.to_ascii_lowercase().contains("etag"),
            "{head}"
        );
        let etag = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("etag: ")
                    .map(str::to_owned)
            })
            .unwrap();
        let condition = format!("If-None-Match: {etag}");
        assert_eq!(
            scene.curl(scheme, "/a.txt", &["-H", &condition, "-w", "%{http_code}"]),
            "304"
        );
    }
    // nginx kept its connections, so there was no need for many.
    let opened = scene
        .umay
        .metric("umay_upstream_connections_opened_total", &[]);
    assert!(opened <= 2.0, "{opened}");
}

#[test]
fn an_upload_of_unknown_length_arrives() {
    let endpoint = Server::http(|request| ok(format!("{} {}", request.chunked, request.text())));
    let scene = Scene::before(endpoint.addr());
    let dir = TempDir::new();
    let file = dir.write("body", "streamed");
    let args = [
        "-T",
        file.to_str().unwrap(),
        "-H",
        "Transfer-Encoding: chunked",
        "-H",
        "Expect:",
    ];
    for scheme in ["http", "https"] {
        assert_eq!(scene.curl(scheme, "/", &args), "true streamed");
    }
}
