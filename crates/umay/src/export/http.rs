//! OTLP over HTTP/1.1: a POST for each message.

use ::http::header::{self, HeaderValue};
use ::http::{Method, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinSet;

use super::answer::{Accepted, Failed, by_status};
use super::client::{MOST_ANSWER, Parcel, Stream};
use crate::discover::client::{reason, shake};

/// A connection.
pub(super) struct Link {
    send: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with this.
    _driver: JoinSet<()>,
}

impl Link {
    pub(super) async fn open(stream: impl Stream) -> Result<Self, String> {
        let (send, driver) = shake(stream).await.map_err(|error| reason(&error))?;
        Ok(Self {
            send,
            _driver: driver,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.send.is_closed()
    }

    pub(super) async fn ask(
        &mut self,
        parcel: Parcel<'_>,
    ) -> Result<Result<Accepted, Failed>, String> {
        let path = parcel
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let host = parcel.uri.authority().map_or("", |host| host.as_str());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .body(Full::new(parcel.body))
            .map_err(|error| error.to_string())?;
        let fields = request.headers_mut();
        let kind = HeaderValue::from_static("application/x-protobuf");
        fields.insert(header::CONTENT_TYPE, kind);
        if parcel.gzip {
            fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
        fields.insert(header::HOST, host);
        fields.extend(parcel.fields.clone());
        self.send.ready().await.map_err(|error| reason(&error))?;
        let response = self.send.send_request(request).await;
        let (head, body) = response.map_err(|error| reason(&error))?.into_parts();
        let status = head.status.as_u16();
        let retry_after = head.headers.get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        let body = collect(body).await?;
        Ok(by_status(status, retry_after, &body))
    }
}

/// The body, if it is not too long.
async fn collect(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| reason(&error))?;
        if let Some(data) = frame.data_ref() {
            all.extend_from_slice(data);
        }
        if all.len() > MOST_ANSWER {
            return Err(format!("the answer has more than {MOST_ANSWER} bytes"));
        }
    }
    Ok(all)
}
