//! The HTTP endpoint of the demo: says hello, shows what the proxy told it, and can be made slow,
//! large, broken or talkative.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use hyper::body::{Bytes, Frame, SizeHint};
use serde_json::{Map, Value, json};

use crate::side;

/// Most that `/bytes` gives: 64 MiB.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Longest that `/delay` waits, in milliseconds.
const MAX_DELAY: u64 = 10_000;

/// Largest WebSocket message that is echoed, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

/// What a proxy tells an endpoint about the client.
const TOLD: [(&str, HeaderName); 7] = [
    ("Host", header::HOST),
    (
        "X-Forwarded-For",
        HeaderName::from_static("x-forwarded-for"),
    ),
    (
        "X-Forwarded-Proto",
        HeaderName::from_static("x-forwarded-proto"),
    ),
    (
        "X-Forwarded-Host",
        HeaderName::from_static("x-forwarded-host"),
    ),
    ("X-Request-Id", HeaderName::from_static("x-request-id")),
    ("Via", header::VIA),
    ("User-Agent", header::USER_AGENT),
];

const PATHS: &str = "There is no such page. There are:
/               hello, and what the proxy told
/headers        the request's head as JSON
/status/{code}  an answer with that status, 200 to 599
/bytes/{n}      n bytes, up to 67108864
/delay/{ms}     an answer after so many milliseconds, up to 10000
/echo           POST: the request's body comes back
/ws             WebSocket: every message comes back
";

/// The endpoint called `name`. Every answer carries the name in `X-Endpoint`.
pub(super) fn router(name: &'static str) -> Router {
    let signed = move |mut response: Response| async move {
        let value = HeaderValue::from_static(name);
        response.headers_mut().insert("x-endpoint", value);
        response
    };
    Router::new()
        .route("/", get(hello))
        .route("/headers", any(headers))
        .route("/status/{code}", any(status))
        .route("/bytes/{count}", get(bytes))
        .route("/delay/{milliseconds}", any(delay))
        .route("/echo", post(echo))
        .route("/ws", get(websocket))
        .fallback((StatusCode::NOT_FOUND, PATHS))
        .layer(middleware::map_response(signed))
        .with_state(name)
}

/// HTML for browsers, plain lines for everybody else.
async fn hello(State(name): State<&'static str>, headers: HeaderMap) -> Response {
    let told = TOLD.map(|(label, header)| (label, lines(&headers, &header)));
    let accept = lines(&headers, &header::ACCEPT);
    if accept.contains("text/html") {
        return Html(hello_page(name, &told)).into_response();
    }
    let mut text = format!("Hello from endpoint {name}.\n");
    for (label, value) in told.iter().filter(|(_, value)| !value.is_empty()) {
        text = text + label + ": " + value + "\n";
    }
    text.into_response()
}

fn hello_page(name: &str, told: &[(&'static str, String)]) -> String {
    let mut page = side::Html::default();
    page.markup(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Umay demo</title>\n<style>:root { color-scheme: light dark; } \
         body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; } \
         th { text-align: left; font-weight: normal; opacity: .7; padding-right: 2rem; } \
         td { overflow-wrap: anywhere; }</style></head>\n<body>\n<h1>Hello from endpoint ",
    );
    page.text(name);
    page.markup(".</h1>\n<p>This is what the proxy told it:</p>\n<table>\n");
    for (label, value) in told {
        page.markup("<tr><th scope=\"row\">").markup(label);
        page.markup("</th><td>");
        page.text(if value.is_empty() { "–" } else { value });
        page.markup("</td></tr>\n");
    }
    page.markup(
        "</table>\n<p>Reload to see the other endpoint take its turn.</p>\n</body>\n</html>\n",
    );
    page.finish()
}

/// The request's head: method, target and fields; fields of one name are joined by commas.
async fn headers(
    State(name): State<&'static str>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let fields: Map<String, Value> = headers
        .keys()
        .map(|key| (key.to_string(), lines(&headers, key).into()))
        .collect();
    let head = json!({
        "endpoint": name,
        "method": method.as_str(),
        "target": uri.to_string(),
        "headers": fields,
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, format!("{head:#}\n")).into_response()
}

async fn status(Path(code): Path<u16>) -> Response {
    match StatusCode::from_u16(code) {
        // These two have no body (RFC 9110 sections 15.3.5 and 15.4.5).
        Ok(status @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) => status.into_response(),
        Ok(status) if (200..600).contains(&code) => (status, format!("{status}\n")).into_response(),
        _ => refused("A status from 200 to 599, please.\n"),
    }
}

async fn bytes(Path(count): Path<u64>) -> Response {
    if count > MAX_BYTES {
        return refused("At most 67108864 bytes (64 MiB), please.\n");
    }
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    (kind, Body::new(Filler::new(count))).into_response()
}

async fn delay(Path(milliseconds): Path<u64>) -> Response {
    if milliseconds > MAX_DELAY {
        return refused("At most 10000 milliseconds, please.\n");
    }
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    format!("Here after {milliseconds} ms.\n").into_response()
}

/// Gives the body back as it comes in, without waiting for its end.
async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body);
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    response
}

async fn websocket(upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .on_upgrade(async |mut socket: WebSocket| {
            // Pings and closing are answered below this.
            while let Some(Ok(message)) = socket.recv().await {
                let echoed = matches!(message, Message::Text(_) | Message::Binary(_));
                if echoed && socket.send(message).await.is_err() {
                    break;
                }
            }
        })
}

fn refused(text: &'static str) -> Response {
    (StatusCode::BAD_REQUEST, text).into_response()
}

/// The values of all fields of one name, joined by commas (RFC 9110 section 5.3).
fn lines(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(", ")
}

/// What `/bytes` repeats; its last byte is a line feed.
const LINE: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";

/// A body of known length that is made while it is sent.
struct Filler {
    left: u64,
    /// Sent again and again, the last time in part.
    block: Bytes,
}

impl Filler {
    fn new(length: u64) -> Self {
        Self {
            left: length,
            block: LINE.repeat(256).into(),
        }
    }
}

impl hyper::body::Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let count = self.left.min(self.block.len() as u64);
        if count == 0 {
            return Poll::Ready(None);
        }
        self.left -= count;
        // `count` is no larger than the block, so the cast cannot truncate.
        Poll::Ready(Some(Ok(Frame::data(self.block.slice(..count as usize)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
