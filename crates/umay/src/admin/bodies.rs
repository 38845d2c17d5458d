//! What requests to the admin socket say besides their path: documents and queries, read strictly.

use axum::body::{self, Body, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use umay_core::config;

use super::HEAD;
use super::requests::{Asked, Fault, Refused, json_of, refuse};

/// Bytes that the body of a request may have.
const BODY: usize = 64 * 1024;

/// Why a body is not taken.
pub(super) enum Unread {
    /// It is too long, or was cut.
    TooLong,
    /// It did not come in time.
    Late,
    /// It makes no sense.
    Refused(Refused),
}

impl From<Refused> for Unread {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Unread {
    pub(super) fn into_response(self) -> Response {
        match self {
            Self::TooLong => {
                let value = json!({ "error": format!("a body has {BODY} bytes at most") });
                json_of(StatusCode::PAYLOAD_TOO_LARGE, &value)
            }
            Self::Late => {
                let value = json!({ "error": format!("the body did not come within {HEAD:?}") });
                json_of(StatusCode::REQUEST_TIMEOUT, &value)
            }
            Self::Refused(refused) => refuse(&refused),
        }
    }
}

/// The document that a body is, whatever it calls itself.
pub(super) async fn document(body: Body) -> Result<Value, Unread> {
    if body.size_hint().lower() > BODY as u64 {
        return Err(Unread::TooLong);
    }
    let bytes = tokio::time::timeout(HEAD, body::to_bytes(body, BODY)).await;
    let bytes = bytes
        .map_err(|_| Unread::Late)?
        .map_err(|_| Unread::TooLong)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        let why = format!("the body is no JSON ({error}); docs/admin.md shows it");
        Fault::Senseless.because(why)
    })?;
    match value.is_object() {
        true => Ok(value),
        false => Err(Fault::Senseless
            .because("the body is no JSON object")
            .into()),
    }
}

/// Refuses members that nobody reads: they are a mistake of whoever asks.
fn only(body: &Value, known: &[&str]) -> Result<(), Refused> {
    let members = body.as_object().into_iter().flatten();
    let mut others = members.filter(|(name, _)| !known.contains(&name.as_str()));
    match others.next() {
        None => Ok(()),
        Some((name, _)) => {
            let why = format!("`{name}` is unknown; there are: {}", known.join(", "));
            Err(Fault::Senseless.because(why))
        }
    }
}

pub(super) fn weight_of(body: &Value) -> Result<Option<u32>, Refused> {
    only(body, &["weight"])?;
    match body.get("weight") {
        Some(Value::Null) => Ok(None),
        Some(value) => {
            let weight = value.as_u64().and_then(|weight| u32::try_from(weight).ok());
            let weight = weight.filter(|weight| *weight <= config::MOST_WEIGHT);
            weight.map(Some).ok_or_else(|| {
                let most = config::MOST_WEIGHT;
                let why = format!("a weight is a whole number from 0 to {most}, not {value}");
                Fault::Senseless.because(why)
            })
        }
        None => {
            let why = "which weight? {\"weight\": 5}, or {\"weight\": null} for the configured one";
            Err(Fault::Senseless.because(why))
        }
    }
}

pub(super) fn level_of(body: &Value) -> Result<Asked, Refused> {
    only(body, &["level", "for"])?;
    let level = match body.get("level") {
        Some(Value::Null) => None,
        Some(Value::String(level)) => Some(level.clone()),
        _ => {
            let why =
                "which level? {\"level\": \"debug\"}, or {\"level\": null} for the configured one";
            return Err(Fault::Senseless.because(why));
        }
    };
    let time = match body.get("for") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            let time = config::duration(text);
            Some(time.map_err(|why| Fault::Senseless.because(why))?)
        }
        Some(_) => return Err(Fault::Senseless.because("`for` is text, such as \"10m\"")),
    };
    Ok(Asked::SetLevel { level, time })
}

pub(super) fn config_of(query: &str) -> Result<Asked, Refused> {
    let (mut origin, mut toml) = (false, false);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part {
            "origin" => origin = true,
            "format=toml" => toml = true,
            "format=json" => toml = false,
            _ => {
                let why =
                    format!("`{part}` is unknown; there are origin, format=toml, format=json");
                return Err(Fault::Senseless.because(why));
            }
        }
    }
    Ok(Asked::Config { origin, toml })
}
