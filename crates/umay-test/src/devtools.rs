//! Asking a page in chromium: the DevTools protocol over its WebSocket.

use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::conn::Conn;
use crate::tools::{DEADLINE, eventually};

/// The page that a browser shows.
#[derive(Debug)]
pub struct Page {
    socket: WebSocket<TcpStream>,
    next: u64,
}

impl Page {
    /// The first page of the browser that keeps its data in `dir`.
    #[track_caller]
    pub(crate) fn of(dir: &Path) -> Self {
        let port: u16 = eventually("the port of the browser", || {
            let text = std::fs::read_to_string(dir.join("DevToolsActivePort")).ok()?;
            text.lines().next()?.parse().ok()
        });
        let url = eventually("the browser's page", || {
            let request = format!(
                "GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            );
            let mut conn = Conn::connect(([127, 0, 0, 1], port).into()).ok()?;
            let targets: Value = conn.ask(request).ok()?.text().parse().ok()?;
            let targets = targets.as_array()?;
            let page = targets.iter().find(|target| target["type"] == "page")?;
            Some(page["webSocketDebuggerUrl"].as_str()?.to_owned())
        });
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        Self { socket, next: 0 }
    }

    /// What an expression of JavaScript comes to; null if it fails. It is run as the browser's own, whatever
    /// the page's policy.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        self.next += 1;
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let call = json!({ "id": self.next, "method": "Runtime.evaluate", "params": parameters });
        self.socket.send(Message::text(call.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else {
                continue;
            };
            let answer: Value = text.as_str().parse().unwrap();
            if answer["id"] == self.next {
                return answer["result"]["result"]["value"].clone();
            }
        }
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        eventually(expression, || {
            (self.value(expression) == true).then_some(())
        });
    }
}
