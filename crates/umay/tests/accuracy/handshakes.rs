//! Handshakes of TLS: by version, resumed or not, and each failure for its reason.

use std::sync::Arc;

use umay_test::rustls::version::{TLS12, TLS13};
use umay_test::rustls::{ClientConfig, DEFAULT_VERSIONS};
use umay_test::{Certs, Conn, GET, Server, Umay, umay};

use super::ledger::Ledger;

/// Umay with a listener of TLS, one that wants to see certificates, and one without TLS.
struct Scene {
    umay: Umay,
    books: Ledger,
    certs: Certs,
    app: Server,
}

impl Scene {
    fn start(workers: usize) -> Self {
        let (certs, app) = (Certs::new(), Server::ok("hi"));
        let pair = certs.issue(&["a.test"]).toml();
        let config = format!(
            "to = \"http://{}\"\ntimeouts.handshake = \"1s\"\n\
             [[listener]]\nname = \"plain\"\nlisten = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\n{pair}\
             [[listener]]\nname = \"mutual\"\nlisten = \"127.0.0.1:0\"\n{pair}client_auth = {{ ca = {:?} }}\n",
            app.addr(),
            certs.ca(),
        );
        let umay = umay!().config(config).workers(workers).start();
        Self {
            umay,
            books: Ledger::default(),
            certs,
            app,
        }
    }

    /// A request after a handshake that went well.
    fn served(&mut self, listener: &str, config: &Arc<ClientConfig>, version: &str, resumed: &str) {
        let mut conn = Conn::connect_tls(self.umay.at(listener), config, "a.test").unwrap();
        assert_eq!(conn.ask(GET).unwrap().text(), "hi");
        let books = &mut self.books;
        books.came(&["tls", "http1"]);
        books.shook(version, resumed);
        books.answered(Some("default"), "GET", 200);
        books.carried("default", 0, 2);
        books.wanted("default");
        books.given("default", &self.app.addr().to_string(), "ok");
        books.links += 1.0;
    }

    /// A handshake that fails.
    fn failed(&mut self, listener: &str, config: &Arc<ClientConfig>, name: &str, reason: &str) {
        // In TLS 1.3 the refusal comes after the client's part of the handshake.
        let refused = Conn::connect_tls(self.umay.at(listener), config, name)
            .and_then(|mut conn| conn.ask(GET));
        assert!(refused.is_err(), "{reason}: {refused:?}");
        self.books.came(&["tls"]);
        self.books.unshaken(reason);
    }

    /// The same by these bytes, after which the client waits for what comes, or leaves.
    fn garbled(&mut self, bytes: &[u8], leaves: bool, reason: &str) {
        let mut conn = Conn::connect(self.umay.at("tls")).unwrap();
        conn.send(bytes).unwrap();
        if leaves {
            conn.half_close().unwrap();
        }
        conn.read_to_end().unwrap();
        self.books.came(&["tls"]);
        self.books.unshaken(reason);
    }
}

#[test]
fn handshakes_are_counted_exactly() {
    for workers in [1, 2] {
        let mut scene = Scene::start(workers);
        for (version, word) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
            for _ in 0..2 {
                let config = scene.certs.trusting_with(&[version], None, &[]);
                scene.served("tls", &config, word, "no");
                for _ in 0..3 {
                    scene.served("tls", &config, word, "yes");
                }
            }
            let shown = scene.certs.client("c", "c.test");
            let config = scene.certs.trusting_with(&[version], Some(&shown), &[]);
            scene.served("mutual", &config, word, "no");
            let none = scene.certs.trusting_with(&[version], None, &[]);
            scene.failed("mutual", &none, "a.test", "client_certificate_missing");
            let others = Certs::new();
            let foreign = others.client("c", "c.test");
            let config = scene.certs.trusting_with(&[version], Some(&foreign), &[]);
            scene.failed("mutual", &config, "a.test", "client_certificate_invalid");
            scene.failed("tls", &none, "other.test", "unknown_server_name");
            let config = scene.certs.trusting_with(&[version], None, &["x"]);
            scene.failed("tls", &config, "a.test", "no_application_protocol");
            // Who does not trust us says so.
            let config = Certs::new().trusting_with(&[version], None, &[]);
            scene.failed("tls", &config, "a.test", "handshake_failed");
        }
        scene.garbled(b"\x16\x03\x01\0\x04\x01\0\0\0", false, "handshake_failed");
        scene.garbled(b"\x16\x03\x01\x01\0\x01\0", true, "handshake_failed");
        scene.garbled(b"\x16\x03\x01\x01\0\x01\0", false, "handshake_timeout");
        // Where there is no TLS, there is no handshake that could fail.
        let config = scene.certs.trusting_with(DEFAULT_VERSIONS, None, &[]);
        let refused = Conn::connect_tls(scene.umay.at("plain"), &config, "a.test");
        assert!(refused.is_err());
        scene.books.came(&["tls"]);
        scene.books.refused("tls_not_configured");
        scene.books.audit(&scene.umay);
    }
}
