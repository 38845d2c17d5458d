//! OTLP over gRPC: a call for each message, over HTTP/2.

use ::http::header::{self, HeaderValue};
use ::http::{HeaderMap, Method, Request};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::{self, SendRequest};
use tokio::task::JoinSet;

use super::answer::{Accepted, Failed, by_code, by_status};
use super::client::{MOST_ANSWER, Parcel, Stream};

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A connection.
pub(super) struct Link {
    send: SendRequest<Bytes>,
    /// Moves the bytes; ends with this.
    driver: JoinSet<()>,
}

impl Link {
    pub(super) async fn open(stream: impl Stream) -> Result<Self, String> {
        let shaken = client::Builder::new()
            .max_header_list_size(16 * 1024)
            .enable_push(false)
            .handshake(stream)
            .await;
        let (send, connection) = shaken.map_err(|error| error.to_string())?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error is the call's too.
            let _ = connection.await;
        });
        Ok(Self { send, driver })
    }

    pub(super) fn is_open(&self) -> bool {
        // It is done as soon as the connection is.
        !self.driver.is_empty()
    }

    pub(super) async fn ask(
        &mut self,
        parcel: Parcel<'_>,
    ) -> Result<Result<Accepted, Failed>, String> {
        let broken = |error: h2::Error| error.to_string();
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = parcel.uri;
        let fields = request.headers_mut();
        fields.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        if parcel.gzip {
            fields.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        fields.extend(parcel.fields.clone());
        let length = u32::try_from(parcel.body.len()).map_err(|error| error.to_string())?;
        let mut message = BytesMut::with_capacity(PREFIX + parcel.body.len());
        message.put_u8(parcel.gzip.into());
        message.put_u32(length);
        message.put_slice(&parcel.body);
        let ready = self.send.clone().ready().await.map_err(broken)?;
        self.send = ready;
        let sent = self.send.send_request(request, false);
        let (answer, mut body) = sent.map_err(broken)?;
        body.send_data(message.freeze(), true).map_err(broken)?;
        let (head, mut body) = answer.await.map_err(broken)?.into_parts();
        let data = collect(&mut body).await?;
        let trailers = body.trailers().await.map_err(broken)?;
        let fields = trailers.as_ref().unwrap_or(&head.headers);
        let message = data.get(PREFIX..).unwrap_or_default();
        Ok(match code(fields).or_else(|| code(&head.headers)) {
            Some(code) => {
                let told = text(fields, "grpc-message").unwrap_or_default();
                let details = fields.get("grpc-status-details-bin");
                by_code(code, told, details.map(HeaderValue::as_bytes), message)
            }
            // Not gRPC: somebody on the way.
            None if !head.status.is_success() => by_status(head.status.as_u16(), None, b""),
            None => Err(Failed::for_now("the answer has no status of gRPC")),
        })
    }
}

fn text<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

fn code(fields: &HeaderMap) -> Option<u32> {
    text(fields, "grpc-status")?.parse().ok()
}

/// All data, if it is not too long.
async fn collect(body: &mut RecvStream) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| error.to_string())?;
        all.extend_from_slice(&data);
        if all.len() > MOST_ANSWER {
            return Err(format!("the answer has more than {MOST_ANSWER} bytes"));
        }
        // The window is for what is still to come.
        let _ = body.flow_control().release_capacity(data.len());
    }
    Ok(all)
}
