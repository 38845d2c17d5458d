//! The admin socket: what changes state, for whoever may open a file of Umay's own user.
//!
//! A unix socket that only its owner can open (mode 0600), so that neither the network nor a web page
//! reaches it. It carries plain HTTP/1, one request per connection, and answers in JSON.

use std::fs::{self, Permissions};
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path as FilePath, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::answers::JSON;
use super::{CONNECTIONS, HEAD};
use crate::side::{self, Side};

/// The whole life of a connection: an upgrade is the longest that anything takes.
const LONG: Duration = Duration::from_secs(90);

/// What the socket can do.
#[derive(Clone)]
pub struct Control {
    /// Makes the status document.
    pub status: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Reads the configuration again. Gives a sentence, or why it is refused.
    pub reload: Arc<dyn Fn() -> Reloaded + Send + Sync>,
    /// Starts the program's file and lets it take over. Gives a sentence, or why it did not.
    pub upgrade: Arc<dyn Fn() -> Reloaded + Send + Sync>,
    /// Drains an endpoint of an upstream, by their names, or ends that.
    pub drain: Arc<dyn Fn(String, String, bool) -> Drained + Send + Sync>,
}

/// What came of a reload.
pub type Reloaded = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Requests that are still in flight at the endpoint, or why it could not be drained.
pub type Drained = Pin<Box<dyn Future<Output = Result<u64, String>> + Send>>;

/// The running admin socket. Stops, and takes its file away, when dropped.
#[derive(Debug)]
pub struct Socket {
    /// Its file, unless another process has taken it over.
    path: Option<PathBuf>,
    /// For who takes this process's place; none when that has happened.
    listener: Option<UnixListener>,
    leave: Arc<Notify>,
    side: Side,
}

impl Socket {
    /// Listens at `path`, in place of a socket that nobody listens at any more.
    pub fn start(path: &FilePath, control: Control) -> io::Result<Self> {
        Self::start_at(path, listen(path)?, control)
    }

    /// The same with a socket that is at `path` already.
    pub fn start_at(path: &FilePath, listener: UnixListener, control: Control) -> io::Result<Self> {
        let kept = listener.try_clone()?;
        let leave = Arc::new(Notify::new());
        let told = Arc::clone(&leave);
        let side = Side::start("umay-socket", || {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let app = router(control);
            Ok(side::accept(listener, CONNECTIONS, told, move |stream| {
                let connection = side::http(stream, app.clone(), HEAD, false);
                async move {
                    let _ = tokio::time::timeout(LONG, connection).await;
                }
            }))
        })?;
        Ok(Self {
            path: Some(path.to_owned()),
            listener: Some(kept),
            leave,
            side,
        })
    }

    /// Its socket, while it accepts.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Ends it; see [`super::Admin::stop`].
    pub fn stop(self, most: Duration) {
        if self.listener.is_none() {
            self.side.wait(most);
        }
    }

    /// Accepts no more. What is under way goes on. The file stays if another process was `handed` the socket.
    pub fn leave(&mut self, handed: bool) {
        match self.path.take() {
            Some(path) if !handed => remove(&path),
            _ => {}
        }
        self.listener = None;
        self.leave.notify_one();
    }
}

/// Makes the socket.
fn listen(path: &FilePath) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        let message = "another process listens there";
        return Err(io::Error::new(ErrorKind::AddrInUse, message));
    }
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| {
        use std::os::unix::fs::FileTypeExt;
        found.file_type().is_socket()
    });
    if is_socket {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn remove(path: &FilePath) {
    // If it is gone already, nothing is left to do.
    let _ = fs::remove_file(path);
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            remove(path);
        }
    }
}

fn router(control: Control) -> Router {
    let drain = |drain: bool| {
        move |State(control): State<Control>, Path((upstream, endpoint)): Path<(String, String)>| async move {
            let done = (control.drain)(upstream, endpoint, drain).await;
            answer(done.map(|in_flight| json!({ "draining": drain, "in_flight": in_flight })))
        }
    };
    let reload = |State(control): State<Control>| async move {
        let done = (control.reload)().await;
        answer(done.map(|text| json!({ "done": text })))
    };
    let upgrade = |State(control): State<Control>| async move {
        let done = (control.upgrade)().await;
        answer(done.map(|text| json!({ "done": text })))
    };
    Router::new()
        .route("/reload", post(reload))
        .route("/upgrade", post(upgrade))
        .route(
            "/status",
            get(|State(control): State<Control>| async move { answer(Ok((control.status)())) }),
        )
        .route(
            "/upstreams/{upstream}/endpoints/{endpoint}/drain",
            post(drain(true)),
        )
        .route(
            "/upstreams/{upstream}/endpoints/{endpoint}/undrain",
            post(drain(false)),
        )
        .with_state(control)
}

fn answer(done: Result<Value, String>) -> Response {
    match done {
        Ok(value) => (JSON, format!("{value:#}\n")).into_response(),
        Err(why) => {
            let value = json!({ "error": why });
            (StatusCode::NOT_FOUND, JSON, format!("{value:#}\n")).into_response()
        }
    }
}

/// The target of a request about an endpoint.
pub fn target(upstream: &str, endpoint: &str, action: &str) -> String {
    let escape = |text: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        text.bytes().fold(String::new(), |mut out, byte| {
            if plain(byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
    };
    format!(
        "/upstreams/{}/endpoints/{}/{action}",
        escape(upstream),
        escape(endpoint)
    )
}

/// Asks the Umay that listens at `path` to do something, and gives its answer.
pub fn ask(path: &FilePath, target: &str) -> io::Result<Value> {
    /// The longest that it may take: until a new process serves.
    const WAIT: Duration = Duration::from_secs(75);
    /// More than any answer has.
    const MOST: u64 = 16 << 20;
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nHost: umay\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.take(MOST).read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not Umay that answers"))
}
