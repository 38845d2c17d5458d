//! One exchange on an HTTP/2 connection of its own.

use std::pin::pin;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use tokio::time::timeout;

use super::io::Io;
use super::words::http2;
use super::{HEAD, Limit, PARTING};

/// What we take on a stream before we have read it: as much as an answer may have.
const WINDOW: u32 = 16 * 1024;

/// Opens HTTP/2, lets `talk` have it, and closes it in order.
pub(super) async fn exchange<T, F>(
    io: Io,
    limit: Limit,
    talk: impl FnOnce(SendRequest<Bytes>) -> F,
) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW)
        .max_header_list_size(HEAD);
    let open = async { builder.handshake(io).await.map_err(|error| http2(&error)) };
    let (send, connection) = limit.hold(open).await?;
    let mut talk = Box::pin(limit.hold(talk(send)));
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        biased;
        outcome = &mut talk => outcome,
        // Its streams know already.
        _ = &mut connection => return talk.await,
    };
    // Once nobody holds a stream any more, it says GOAWAY and closes.
    drop(talk);
    let _ = timeout(PARTING, connection).await;
    outcome
}

/// Sends a request with all of its body, if it has one.
pub(super) async fn send(
    send: SendRequest<Bytes>,
    head: Request<()>,
    body: Option<Bytes>,
) -> Result<ResponseFuture, String> {
    let mut send = send.ready().await.map_err(|error| http2(&error))?;
    let sent = send.send_request(head, body.is_none());
    let (answer, mut stream) = sent.map_err(|error| http2(&error))?;
    if let Some(body) = body {
        let sent = stream.send_data(body, true);
        sent.map_err(|error| http2(&error))?;
    }
    Ok(answer)
}
