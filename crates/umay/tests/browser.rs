//! A browser before Umay: its page over HTTP/2, and a WebSocket on the same connection (RFC 8441).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::programs::browse;
use umay_test::{Certs, Server, answer, umay, websocket};

const PAGE: &str = "<!doctype html><script>
    const socket = new WebSocket(`wss://${location.host}/chat`);
    socket.onopen = () => socket.send('hello');
    socket.onmessage = (message) => { socket.close(4321); fetch(`/told/${message.data}`); };
    socket.onerror = () => fetch('/failed');
</script>";

#[test]
fn chromium_opens_a_websocket_over_http2() {
    let page = Server::http(|request| match request.target() {
        "/" => answer("200 OK", "Content-Type: text/html\r\n", PAGE),
        _ => answer("204 No Content", "", ""),
    });
    let chat = Server::start(|conn, _| websocket::echo(conn));
    let certs = Certs::new();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{}to = \"http://{}\"\n\
         [[route]]\npath = \"/chat\"\nto = \"http://{}\"\n",
        certs.issue(&["127.0.0.1"]).toml(),
        page.addr(),
        chat.addr()
    );
    let _browser = browse(&format!("https://{}/", umay.addr()));
    assert_eq!(umay.wait_path("/told/hello")["proto"], "http/2");
    let line = umay.wait_path("/chat");
    assert_eq!(
        (&line["proto"], &line["status"]),
        (&"http/2".into(), &200.into())
    );
    assert_eq!(line["client_port"], umay.wait_path("/")["client_port"]);
}
