//! What the admin socket can be asked, and its answers.
//!
//! Whatever changes something is a POST and leaves a line in the event log that says who asked for it (the user and
//! the process, as the kernel knows them), what it was before, and what it is now.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::answers::JSON;
use super::bodies::{config_of, document, level_of, weight_of};

/// What there is: method, path, and what it does.
pub const ROUTES: [(&str, &str, &str); 14] = [
    (
        "GET",
        "/status",
        "the process as it is, as on the admin listener",
    ),
    ("POST", "/reload", "read the configuration again"),
    (
        "POST",
        "/upgrade",
        "let the program's file take over, as SIGUSR2 does",
    ),
    (
        "GET",
        "/upstreams",
        "all upstreams with their endpoints as they are",
    ),
    ("GET", "/upstreams/{upstream}", "one of them"),
    (
        "POST",
        "/upstreams/{upstream}/endpoints/{endpoint}/drain",
        "give it no new requests",
    ),
    (
        "POST",
        "/upstreams/{upstream}/endpoints/{endpoint}/undrain",
        "give it requests again",
    ),
    (
        "POST",
        "/upstreams/{upstream}/endpoints/{endpoint}/weight",
        "set its weight",
    ),
    ("GET", "/log/level", "what of the event log is written"),
    ("POST", "/log/level", "set that"),
    (
        "POST",
        "/explain",
        "what would become of a request or a stream",
    ),
    ("GET", "/config", "the configuration that is served"),
    ("GET", "/drain", "what is open"),
    ("POST", "/drain", "end the process, as SIGTERM does"),
];

/// What the socket can do.
#[derive(Clone)]
pub struct Control {
    /// Makes the status document.
    pub status: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Reads the configuration again. Gives a sentence, or why it is refused.
    pub reload: Arc<dyn Fn() -> Reloaded + Send + Sync>,
    /// Starts the program's file and lets it take over. Gives a sentence, or why it did not.
    pub upgrade: Arc<dyn Fn() -> Reloaded + Send + Sync>,
    /// Does or tells everything else, in the socket's runtime.
    pub answer: Arc<dyn Fn(Asked, Asker) -> Answered + Send + Sync>,
}

/// What came of a reload or an upgrade.
pub type Reloaded = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// What came of anything else.
pub type Answered = Pin<Box<dyn Future<Output = Result<Answer, Refused>> + Send>>;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// How upstreams are: one, or all.
    Upstreams(Option<String>),
    /// A change at an endpoint.
    Endpoint {
        /// Its upstream.
        upstream: String,
        /// Its label.
        endpoint: String,
        /// What is to change.
        change: Change,
    },
    /// What of the event log is written.
    Level,
    /// To write other things into the event log.
    SetLevel {
        /// Which; `None` as configured.
        level: Option<String>,
        /// For how long; `None` until something else is said.
        time: Option<Duration>,
    },
    /// What would become of a request or a stream.
    Explain(Value),
    /// The configuration that is served.
    Config {
        /// With where each value came from.
        origin: bool,
        /// As TOML, not as JSON.
        toml: bool,
    },
    /// What is open.
    Open,
    /// To end.
    Drain,
}

/// A change at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It gets no new requests, or some again.
    Drain(bool),
    /// It gets this weight, or the configured one.
    Weight(Option<u32>),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A document.
    Json(Value),
    /// Text as it is.
    Text(String),
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What kind of reason.
    pub fault: Fault,
    /// A sentence for people.
    pub why: String,
}

/// A kind of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 404: there is no such thing.
    Missing,
    /// 400: it makes no sense.
    Senseless,
    /// 409: not as things are.
    Conflict,
}

impl Fault {
    /// A refusal for this reason.
    pub fn because(self, why: impl Into<String>) -> Refused {
        let why = why.into();
        Refused { fault: self, why }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Missing => StatusCode::NOT_FOUND,
            Self::Senseless => StatusCode::BAD_REQUEST,
            Self::Conflict => StatusCode::CONFLICT,
        }
    }
}

/// Who asks, as the kernel knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The user; `None` if the kernel does not say.
    pub uid: Option<u32>,
    /// The process; `None` if it is in another namespace.
    pub pid: Option<i32>,
}

impl Asker {
    pub(super) fn of(stream: &UnixStream) -> Self {
        let Ok(peer) = stream.peer_cred() else {
            return Self::default();
        };
        Self {
            uid: Some(peer.uid()),
            pid: peer.pid().filter(|pid| *pid > 0),
        }
    }

    /// Writes down what this one has changed.
    pub fn changed(self, what: &str, from: &str, to: &str) {
        let Self { uid, pid } = self;
        tracing::info!(uid, pid, what, from, to, "changed by hand");
    }
}

/// The same answers for this asker.
pub(super) fn asked_by(app: Router, asker: Asker) -> Router {
    app.layer(Extension(asker))
}

/// All answers.
pub(super) fn router(control: Control) -> Router {
    let endpoint = "/upstreams/{upstream}/endpoints/{endpoint}";
    Router::new()
        .route("/status", get(status))
        .route("/reload", post(reload))
        .route("/upgrade", post(upgrade))
        .route("/upstreams", get(upstreams))
        .route("/upstreams/{upstream}", get(upstream))
        .route(
            &format!("{endpoint}/drain"),
            post(|control, asker, path| drain_endpoint(control, asker, path, true)),
        )
        .route(
            &format!("{endpoint}/undrain"),
            post(|control, asker, path| drain_endpoint(control, asker, path, false)),
        )
        .route(&format!("{endpoint}/weight"), post(weight))
        .route("/log/level", get(level).post(set_level))
        .route("/explain", post(explain))
        .route("/config", get(config))
        .route("/drain", get(open).post(drain))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .with_state(control)
}

type Us = State<Control>;
type Who = Extension<Asker>;

async fn status(State(control): Us) -> Response {
    json_of(StatusCode::OK, &(control.status)())
}

async fn reload(State(control): Us, Extension(asker): Who) -> Response {
    asker.changed("configuration", "", "read again");
    done((control.reload)().await)
}

async fn upgrade(State(control): Us, Extension(asker): Who) -> Response {
    asker.changed("program", "", "started anew");
    done((control.upgrade)().await)
}

fn done(came: Result<String, String>) -> Response {
    match came {
        Ok(text) => json_of(StatusCode::OK, &json!({ "done": text })),
        Err(why) => refuse(&Fault::Conflict.because(why)),
    }
}

async fn upstreams(State(control): Us, Extension(asker): Who) -> Response {
    answer(&control, asker, Asked::Upstreams(None)).await
}

async fn upstream(
    State(control): Us,
    Extension(asker): Who,
    Path(upstream): Path<String>,
) -> Response {
    answer(&control, asker, Asked::Upstreams(Some(upstream))).await
}

async fn drain_endpoint(
    State(control): Us,
    Extension(asker): Who,
    Path((upstream, endpoint)): Path<(String, String)>,
    drain: bool,
) -> Response {
    let asked = Asked::Endpoint {
        upstream,
        endpoint,
        change: Change::Drain(drain),
    };
    answer(&control, asker, asked).await
}

async fn weight(
    State(control): Us,
    Extension(asker): Who,
    Path((upstream, endpoint)): Path<(String, String)>,
    request: Request,
) -> Response {
    let body = match document(request.into_body()).await {
        Ok(body) => body,
        Err(refused) => return refused.into_response(),
    };
    match weight_of(&body) {
        Ok(weight) => {
            let change = Change::Weight(weight);
            let asked = Asked::Endpoint {
                upstream,
                endpoint,
                change,
            };
            answer(&control, asker, asked).await
        }
        Err(refused) => refuse(&refused),
    }
}

async fn level(State(control): Us, Extension(asker): Who) -> Response {
    answer(&control, asker, Asked::Level).await
}

async fn set_level(State(control): Us, Extension(asker): Who, request: Request) -> Response {
    let body = match document(request.into_body()).await {
        Ok(body) => body,
        Err(refused) => return refused.into_response(),
    };
    match level_of(&body) {
        Ok(asked) => answer(&control, asker, asked).await,
        Err(refused) => refuse(&refused),
    }
}

async fn explain(State(control): Us, Extension(asker): Who, request: Request) -> Response {
    match document(request.into_body()).await {
        Ok(body) => answer(&control, asker, Asked::Explain(body)).await,
        Err(refused) => refused.into_response(),
    }
}

async fn config(State(control): Us, Extension(asker): Who, request: Request) -> Response {
    match config_of(request.uri().query().unwrap_or_default()) {
        Ok(asked) => answer(&control, asker, asked).await,
        Err(refused) => refuse(&refused),
    }
}

async fn open(State(control): Us, Extension(asker): Who) -> Response {
    answer(&control, asker, Asked::Open).await
}

async fn drain(State(control): Us, Extension(asker): Who) -> Response {
    answer(&control, asker, Asked::Drain).await
}

async fn unknown(request: Request) -> Response {
    let one = |(method, path, what): &(&str, &str, &str)| format!("{method} {path}: {what}");
    let all: Vec<_> = ROUTES.iter().map(one).collect();
    let path = request.uri().path();
    let value = json!({ "error": format!("there is nothing at {path}"), "there_are": all });
    json_of(StatusCode::NOT_FOUND, &value)
}

async fn other_method(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let value = json!({ "error": format!("{path} takes other methods than {method}; what changes something is a POST") });
    // Which, the router adds.
    json_of(StatusCode::METHOD_NOT_ALLOWED, &value)
}

async fn answer(control: &Control, asker: Asker, asked: Asked) -> Response {
    match (control.answer)(asked, asker).await {
        Ok(Answer::Json(value)) => json_of(StatusCode::OK, &value),
        Ok(Answer::Text(text)) => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
        }
        Err(refused) => refuse(&refused),
    }
}

pub(super) fn refuse(refused: &Refused) -> Response {
    json_of(refused.fault.status(), &json!({ "error": refused.why }))
}

pub(super) fn json_of(status: StatusCode, value: &Value) -> Response {
    (status, JSON, format!("{value:#}\n")).into_response()
}
