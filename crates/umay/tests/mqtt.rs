//! MQTT over TLS with mosquitto's own programs, on the port that HTTPS and WSS use as well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use umay_test::programs::{self, Program};
use umay_test::tungstenite::Message;
use umay_test::{Certs, Conn, Server, Umay, umay, websocket};

const MESSAGES: usize = 1000;

/// One port for all: MQTT to mosquitto, HTTP (and WebSocket) to an endpoint.
struct Scene {
    certs: Certs,
    umay: Umay,
    _broker: Program,
    _http: Server,
}

fn scene() -> Scene {
    let certs = Certs::new();
    let broker = programs::mosquitto();
    let http = Server::start(|conn, number| {
        // The first comes for WebSocket.
        if number == 0 {
            return websocket::echo(conn);
        }
        while conn.read_request()?.is_some() {
            conn.send(umay_test::ok("http"))?;
        }
        Ok(())
    });
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{}\
         [[route]]\nprotocol = \"http\"\nto = \"http://{}\"\n\
         [[route]]\nname = \"broker\"\nprotocol = \"mqtt\"\nto = \"tcp://{}\"\n",
        certs.issue(&["localhost", "127.0.0.1"]).toml(),
        http.addr(),
        broker.addr
    );
    Scene {
        certs,
        umay,
        _broker: broker,
        _http: http,
    }
}

impl Scene {
    /// The arguments that mosquitto's programs share.
    fn args(&self, topic: &str, qos: usize, version: &str) -> Vec<String> {
        let (port, ca) = (self.umay.addr().port().to_string(), self.certs.ca());
        let ca = ca.to_str().unwrap();
        let qos = qos.to_string();
        let args = [
            "-h",
            "localhost",
            "-p",
            &port,
            "--cafile",
            ca,
            "-t",
            topic,
            "-q",
            &qos,
            "-V",
            version,
        ];
        args.map(str::to_owned).to_vec()
    }
}

/// mosquitto_sub; killed when dropped.
struct Subscriber(Child, mpsc::Receiver<String>);

impl Subscriber {
    /// Starts it and waits until the broker has confirmed.
    fn start(args: &[String]) -> Self {
        let mut child = Command::new(programs::find("stdbuf"))
            .arg("-oL")
            .arg(programs::find("mosquitto_sub"))
            .args(args)
            .arg("-d")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Nobody listens any more when the test has what it wants.
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let subscriber = Self(child, receiver);
        while !subscriber.line().starts_with("Subscribed") {}
        subscriber
    }

    fn line(&self) -> String {
        self.1.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// The next message.
    fn message(&self) -> String {
        loop {
            let line = self.line();
            if let Some(message) = line.strip_prefix("m-") {
                return message.to_owned();
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_thousand_messages_of_every_quality_arrive_beside_https_and_wss() {
    let scene = scene();
    let addr = scene.umay.addr();
    let tls = || Conn::connect_tls(addr, &scene.certs.trusting(), "localhost").unwrap();
    let (mut socket, _) = websocket::connect(tls(), "wss://localhost/ws").unwrap();
    let mut https = tls();
    for (qos, version) in [(0, "mqttv311"), (1, "mqttv5"), (2, "mqttv311")] {
        let args = scene.args(&format!("t/{qos}"), qos, version);
        let subscriber = Subscriber::start(&args);
        let mut publisher = Command::new(programs::find("mosquitto_pub"))
            .args(&args)
            .arg("-l")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = publisher.stdin.take().unwrap();
        for number in 0..MESSAGES {
            writeln!(input, "m-{number}").unwrap();
            if number % 100 == 0 {
                socket.send(Message::text("ws")).unwrap();
                assert_eq!(socket.read().unwrap(), Message::text("ws"));
                let answer = https
                    .ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .unwrap();
                assert_eq!(answer.text(), "http");
            }
        }
        drop(input);
        for number in 0..MESSAGES {
            assert_eq!(subscriber.message(), number.to_string(), "QoS {qos}");
        }
        assert!(publisher.wait().unwrap().success());
    }
    let line = scene.umay.wait_log(|line| line["route"] == "broker");
    assert_eq!(
        (&line["proto"], &line["sni"]),
        (&"mqtt".into(), &"localhost".into())
    );
}

#[test]
fn mqtt_without_tls_is_told_apart_too() {
    let scene = scene();
    let port = scene.umay.addr().port().to_string();
    let args = ["-h", "127.0.0.1", "-p", &port, "-t", "plain", "-q", "1"].map(str::to_owned);
    let subscriber = Subscriber::start(&args);
    let send = args.into_iter().chain(["-m", "m-hello"].map(str::to_owned));
    let output = programs::run("mosquitto_pub", send, b"");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(subscriber.message(), "hello");
}

#[test]
fn a_client_that_dies_leaves_its_will() {
    let scene = scene();
    let watch = Subscriber::start(&scene.args("will", 1, "mqttv311"));
    let mut args = scene.args("other", 1, "mqttv311");
    let will = [
        "--will-topic",
        "will",
        "--will-payload",
        "m-gone",
        "--will-qos",
        "1",
    ];
    args.extend(will.map(str::to_owned));
    // The end of the connection goes through, so the broker notices.
    drop(Subscriber::start(&args));
    assert_eq!(watch.message(), "gone");
}
