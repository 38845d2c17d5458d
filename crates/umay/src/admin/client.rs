//! Asking a Umay that runs, through its admin socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime;

use super::unix;
use crate::discover::client::escape;

/// It answers soon or not at all: the longest is an upgrade.
const WAIT: Duration = Duration::from_secs(75);

/// More than any answer has.
const MOST: u64 = 64 << 20;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    method: &'static str,
    target: String,
    body: Option<Value>,
}

impl Question {
    /// To be told something.
    pub fn get(target: impl Into<String>) -> Self {
        Self {
            method: "GET",
            target: target.into(),
            body: None,
        }
    }

    /// That something is done.
    pub fn post(target: impl Into<String>, body: Option<Value>) -> Self {
        Self {
            method: "POST",
            target: target.into(),
            body,
        }
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// True if it was done, or is told.
    pub ok: bool,
    /// The answer's body.
    pub text: String,
    /// The process that listens, as the kernel knows it; `None` if it is in another namespace.
    pub pid: Option<i32>,
}

impl Reply {
    /// The answer as JSON; an error is what Umay says against it.
    pub fn json(&self) -> Result<Value, String> {
        let stranger = || "it is not Umay that answers".to_owned();
        let value: Value = serde_json::from_str(&self.text).map_err(|_| stranger())?;
        match value.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None if self.ok => Ok(value),
            None => Err(stranger()),
        }
    }
}

/// Asks the Umay that listens at `path`.
pub fn ask(path: &Path, question: &Question) -> io::Result<Reply> {
    let mut stream = unix::connect(path, WAIT).map_err(nobody)?;
    let pid = listener(&stream)?;
    let Question {
        method,
        target,
        body,
    } = question;
    let body = body.as_ref().map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: umay\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    // Who refuses early may not read all of it, and has answered all the same.
    let sent = stream.write_all(request.as_bytes());
    let mut text = String::new();
    stream.take(MOST).read_to_string(&mut text)?;
    if text.is_empty() {
        sent?;
    }
    let answer = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split_once("\r\n\r\n"));
    let Some((head, body)) = answer else {
        let message = "it is not Umay that answers";
        return Err(io::Error::new(ErrorKind::InvalidData, message));
    };
    Ok(Reply {
        ok: head.starts_with('2'),
        text: body.to_owned(),
        pid,
    })
}

/// The process that listens at the other end, if it has a number here.
fn listener(stream: &UnixStream) -> io::Result<Option<i32>> {
    stream.set_nonblocking(true)?;
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let within = runtime.enter();
    // The kernel says 0 for one in another namespace.
    let peer = tokio::net::UnixStream::from_std(stream.try_clone()?)?.peer_cred()?;
    drop(within);
    stream.set_nonblocking(false)?;
    Ok(peer.pid().filter(|pid| *pid > 0))
}

/// Says why nobody could be asked, and what to do.
fn nobody(error: io::Error) -> io::Error {
    let message = match error.kind() {
        ErrorKind::NotFound => {
            "there is no socket: does it run, with this path as its admin.socket?"
        }
        ErrorKind::ConnectionRefused => {
            "nobody listens there any more: the file is left of a Umay that was killed, or it is no socket"
        }
        ErrorKind::PermissionDenied => {
            "it is another user's: ask as the user that Umay runs as, or as root"
        }
        ErrorKind::WouldBlock => "whoever listens there does not accept connections",
        _ => return error,
    };
    io::Error::new(error.kind(), message)
}

/// The target of a request about an upstream.
pub fn upstream_target(upstream: &str) -> String {
    format!("/upstreams/{}", escape(upstream))
}

/// The target of a request about an endpoint.
pub fn endpoint_target(upstream: &str, endpoint: &str, action: &str) -> String {
    let upstream = upstream_target(upstream);
    format!("{upstream}/endpoints/{}/{action}", escape(endpoint))
}

/// The body of a request for a weight; `None` is the configured one.
pub fn weight(weight: Option<u32>) -> Value {
    json!({ "weight": weight })
}

/// The body of a request for a level of the event log; `None` is the configured one.
pub fn level(level: Option<&str>, time: Option<&str>) -> Value {
    match time {
        Some(time) => json!({ "level": level, "for": time }),
        None => json!({ "level": level }),
    }
}
