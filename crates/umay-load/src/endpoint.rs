//! The endpoint: echoes WebSocket messages and gRPC calls, and counts what it has done.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::client::field;
use crate::counts::Counts;
use crate::ws;

/// The call that is told what the endpoint sees; all others are told what they have said.
const SEEN: &str = "/load.Echo/Seen";
/// What a proxy adds, or should.
const ADDED: [&str; 3] = ["via", "x-forwarded-for", "x-forwarded-proto"];

#[derive(Default)]
struct Seen {
    accepted: AtomicU64,
    /// Messages echoed and calls that were right.
    answered: AtomicU64,
}

impl Seen {
    fn accept(&self) -> u64 {
        self.accepted.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves until it is stopped.
pub(crate) async fn run(at_ws: SocketAddr, at_grpc: SocketAddr) -> anyhow::Result<Counts> {
    let (http, grpc) = (listen(at_ws)?, listen(at_grpc)?);
    let seen = Arc::new(Seen::default());
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = grpc.accept().await {
            let _ = stream.set_nodelay(true);
            let number = counted.accept();
            tokio::spawn(calls(stream, Arc::clone(&counted), number));
        }
    });
    loop {
        let (stream, _) = http.accept().await?;
        stream.set_nodelay(true)?;
        let number = seen.accept();
        tokio::spawn(messages(stream, Arc::clone(&seen), number));
    }
}

fn listen(at: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    Ok(socket.listen(4096)?)
}

/// One request of HTTP/1.1: the counts, or an upgrade and then messages.
async fn messages(mut stream: TcpStream, seen: Arc<Seen>, number: u64) -> Option<()> {
    let mut came = BytesMut::new();
    let end = loop {
        if stream.read_buf(&mut came).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(came.split_to(end).to_vec()).ok()?;
    if field(&head, "sec-websocket-key") != Some(ws::KEY) {
        let body = format!(
            "{}\n{}\n",
            seen.accepted.load(Ordering::Relaxed),
            seen.answered.load(Ordering::Relaxed)
        );
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.ok()?;
        return stream.write_all(body.as_bytes()).await.ok();
    }
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSeen-Connection: {number}\r\n",
        ws::ACCEPT
    );
    for name in ADDED {
        let value = field(&head, name).unwrap_or_default();
        answer.push_str(&format!("Seen-{name}: {value}\r\n"));
    }
    answer.push_str("\r\n");
    stream.write_all(answer.as_bytes()).await.ok()?;
    echo(&mut stream, &mut came, &seen).await
}

async fn echo(stream: &mut TcpStream, came: &mut BytesMut, seen: &Seen) -> Option<()> {
    let mut out = BytesMut::new();
    loop {
        let mut closed = false;
        while let Some((opcode, payload)) = ws::unmasked(came).ok()? {
            closed |= opcode == 8;
            // A ping is answered with a pong, everything else with its like.
            let opcode = if opcode == 9 { 10 } else { opcode };
            out.extend_from_slice(&[0x80 | opcode]);
            match u8::try_from(payload.len()) {
                Ok(length) if length < 126 => out.extend_from_slice(&[length]),
                _ => {
                    out.extend_from_slice(&[126]);
                    out.extend_from_slice(&u16::try_from(payload.len()).ok()?.to_be_bytes());
                }
            }
            out.extend_from_slice(&payload);
            if !closed {
                seen.answer();
            }
        }
        if !out.is_empty() {
            stream.write_all(&out).await.ok()?;
            out.clear();
        }
        if closed || stream.read_buf(came).await.ok()? == 0 {
            return stream.shutdown().await.ok();
        }
    }
}

/// A connection of HTTP/2 with the calls on it.
async fn calls(stream: TcpStream, seen: Arc<Seen>, number: u64) -> Option<()> {
    let mut conn = h2::server::Builder::new()
        .max_concurrent_streams(1024)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .handshake::<_, Bytes>(stream)
        .await
        .ok()?;
    while let Some(accepted) = conn.accept().await {
        let (request, respond) = accepted.ok()?;
        tokio::spawn(call(request, respond, Arc::clone(&seen), number));
    }
    Some(())
}

async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: Arc<Seen>,
    number: u64,
) -> Option<()> {
    let (head, body) = request.into_parts();
    let Some(message) = message(body).await else {
        respond.send_reset(Reason::CANCEL);
        return None;
    };
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    if !is_call(&head.headers, &message) {
        // INVALID_ARGUMENT
        headers.insert("grpc-status", HeaderValue::from_static("3"));
        return respond.send_response(response, true).ok().map(drop);
    }
    let answer = if head.uri.path() == SEEN {
        told(&head.headers, number)
    } else {
        message
    };
    let mut out = respond.send_response(response, false).ok()?;
    out.reserve_capacity(answer.len());
    while out.capacity() < answer.len() {
        poll_fn(|cx| out.poll_capacity(cx)).await?.ok()?;
    }
    out.send_data(answer, false).ok()?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    out.send_trailers(trailers).ok()?;
    seen.answer();
    Some(())
}

/// The whole body.
async fn message(mut body: RecvStream) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        let _ = body.flow_control().release_capacity(piece.len());
        whole.extend_from_slice(&piece);
    }
    Some(whole.freeze())
}

/// Whether it is a unary call: one message with its length before it.
fn is_call(headers: &HeaderMap, message: &[u8]) -> bool {
    let is = |name, value: &str| headers.get(name).is_some_and(|found| found == value);
    let whole = message
        .split_first_chunk::<5>()
        .is_some_and(|(prefix, rest)| {
            let [compressed, length @ ..] = prefix;
            *compressed == 0 && u32::from_be_bytes(*length) as usize == rest.len()
        });
    whole && is("content-type", "application/grpc") && is("te", "trailers")
}

/// A message with what the endpoint sees: a line for its connection, one for each field.
fn told(headers: &HeaderMap, number: u64) -> Bytes {
    let mut lines = format!("{number}\n");
    for name in ADDED {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        lines.push_str(value.unwrap_or_default());
        lines.push('\n');
    }
    let mut message = BytesMut::from(&[0][..]);
    message.extend_from_slice(&(lines.len() as u32).to_be_bytes());
    message.extend_from_slice(lines.as_bytes());
    message.freeze()
}
