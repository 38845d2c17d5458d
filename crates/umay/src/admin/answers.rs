//! The pages of the admin listener and who may see them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::{AdminState, page};
use crate::telemetry::health::Stage;
use crate::telemetry::metrics::Format;

const PLAIN: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
pub(super) const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// Sent with every answer: nothing is guessed, loaded, framed or kept.
const SECURITY: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

const NOT_FOUND: &str = "There is no such page. There are:
/         a page for people
/status   the same as JSON
/metrics  OpenMetrics or Prometheus text
/livez    200 while the process runs
/readyz   200 while it wants new work, else 503
";

const WRONG_HOST: &str = "This page is shown under an IP address or `localhost` only, so that no \
web site can read it through a name of its own (DNS rebinding). Put the address of the admin \
listener into the URL, as in http://127.0.0.1:9901/.\n";

/// All pages.
pub(super) fn router(state: AdminState) -> Router {
    Router::new()
        .route("/", get(people))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/livez", get((PLAIN, "ok\n")))
        .route("/readyz", get(readyz))
        .fallback((StatusCode::NOT_FOUND, PLAIN, NOT_FOUND))
        .layer(middleware::from_fn(guard))
        .with_state(Arc::new(state))
}

async fn people(State(state): State<Arc<AdminState>>) -> Response {
    let policy = [(header::CONTENT_SECURITY_POLICY, page::POLICY.as_str())];
    (policy, Html(page::render(&(state.status)()))).into_response()
}

async fn status(State(state): State<Arc<AdminState>>) -> Response {
    (JSON, format!("{:#}\n", (state.status)())).into_response()
}

async fn metrics(State(state): State<Arc<AdminState>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).map(HeaderValue::to_str);
    let format = Format::accepted_by(accept.and_then(Result::ok).unwrap_or_default());
    let page = state.registry.encode(format);
    ([(header::CONTENT_TYPE, format.content_type())], page).into_response()
}

async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    let stage = state.health.stage();
    let status = match stage {
        Stage::Ready => StatusCode::OK,
        Stage::Starting | Stage::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, PLAIN, format!("{}\n", stage.what())).into_response()
}

/// Stands before every page, and dresses every answer.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    for (name, value) in SECURITY {
        let value = HeaderValue::from_static(value);
        // The page for people has a policy of its own.
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// What there is to say against a request: only GET and HEAD, no body, and for the pages that tell
/// of the configuration a host that nobody else can give this address.
fn refusal(request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, "GET, HEAD")];
        let text = "Only GET and HEAD: nothing can be changed here.\n";
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow, PLAIN, text).into_response());
    }
    if !request.body().is_end_stream() {
        let text = "These pages take no request body.\n";
        return Some((StatusCode::PAYLOAD_TOO_LARGE, PLAIN, text).into_response());
    }
    // Scrapers and probes come by names that the cluster gave, and learn no configuration.
    if matches!(request.uri().path(), "/" | "/status") && !host_is_safe(request.headers()) {
        return Some((StatusCode::FORBIDDEN, PLAIN, WRONG_HOST).into_response());
    }
    None
}

/// True if `Host` is there once and is an IP address or `localhost`. Any other name may be one that
/// a web site lets point here, to be read by its scripts as if it were that site.
fn host_is_safe(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let host = authority.host();
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost") || v6.unwrap_or(host).parse::<IpAddr>().is_ok()
}
