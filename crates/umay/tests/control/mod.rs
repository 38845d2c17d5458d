//! Umay with an admin socket, asked by its own commands and byte by byte.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use umay_test::{DEADLINE, GET, Server, TempDir, Umay, umay};

/// Umay, its endpoints, and its socket.
pub(crate) struct Scene {
    pub(crate) umay: Umay,
    pub(crate) dir: TempDir,
    pub(crate) servers: Vec<Server>,
}

/// Its configuration without its listener.
pub(crate) fn config(dir: &TempDir, servers: &[Server], more: &str) -> String {
    let to: Vec<_> = servers
        .iter()
        .map(|server| format!("http://{}", server.addr()))
        .collect();
    let socket = dir.path().join("umay.sock");
    format!(
        "listen = \"127.0.0.1:0\"\nto = \"web\"\nadmin.socket = {socket:?}\n\
         [upstream.web]\nto = {to:?}\n{more}\n"
    )
}

/// Umay with so many endpoints, which say their number, in upstream `web`; `more` is of that.
pub(crate) fn scene(count: usize, more: &str) -> Scene {
    let dir = TempDir::new();
    let servers: Vec<_> = (0..count).map(|n| Server::ok(&n.to_string())).collect();
    let umay = umay!().config(config(&dir, &servers, more)).start();
    Scene { umay, dir, servers }
}

/// What the socket has answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let value = serde_json::from_str(&self.body);
        value.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

impl Scene {
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("umay.sock")
    }

    /// The address of an endpoint, as people write it.
    pub(crate) fn at(&self, index: usize) -> String {
        self.servers[index].addr().to_string()
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends these bytes and reads to the end.
    #[track_caller]
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect();
        // One who is refused early may close before all is sent.
        let _ = stream.write_all(bytes.as_ref());
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Reply {
            status: head.get(9..12).unwrap_or("0").parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// One request.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> Reply {
        let length = body.len();
        self.raw(format!(
            "{method} {target} HTTP/1.1\r\nHost: umay\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// The same about an endpoint of `web`.
    #[track_caller]
    pub(crate) fn ask_endpoint(&self, index: usize, action: &str, body: &str) -> Reply {
        let target = format!("/upstreams/web/endpoints/{}/{action}", self.at(index));
        self.ask("POST", &target, body)
    }

    /// Runs `umay` with these words and this socket.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_umay"))
            .args(words)
            .arg("--socket")
            .arg(self.socket())
            .output()
            .unwrap()
    }

    /// The same, which is to go well; gives what it says.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let done = self.command(words);
        assert!(done.status.success(), "{words:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// The same, which is to fail; gives what it complains of.
    #[track_caller]
    pub(crate) fn complains(&self, words: &[&str]) -> String {
        let done = self.command(words);
        assert!(!done.status.success(), "{words:?}: {done:?}");
        String::from_utf8(done.stderr).unwrap()
    }

    /// `/status` of the admin listener.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.umay.admin_get("/status").text()).unwrap()
    }

    /// What is set by hand.
    #[track_caller]
    pub(crate) fn by_hand(&self) -> Vec<Value> {
        self.status()["set_by_hand"].as_array().unwrap().clone()
    }

    /// How many of so many requests each endpoint has answered.
    #[track_caller]
    pub(crate) fn shares(&self, requests: usize) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        let mut conn = self.umay.connect();
        for _ in 0..requests {
            *shares.entry(conn.ask(GET).unwrap().text()).or_default() += 1;
        }
        shares
    }
}
