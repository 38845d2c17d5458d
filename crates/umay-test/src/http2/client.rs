//! A client's connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, Reason};
use http::Request;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsConnector;

use super::stream::{Stream, broken};
use super::{RUNTIME, Settings, wait};

/// A connection that carries many requests. Closed when dropped, with all of its streams.
#[derive(Clone)]
pub struct Client {
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

struct Shared {
    orders: Arc<Orders>,
    /// How the connection ended, once it has.
    end: watch::Receiver<Option<Result<(), h2::Error>>>,
}

#[derive(Default)]
struct Orders {
    freeze: Notify,
    close: Notify,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.orders.close.notify_one();
    }
}

impl Client {
    /// Connects and speaks HTTP/2 without having been offered it.
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        Self::connect_with(to, None, Settings::default())
    }

    /// Connects and speaks HTTP/2 over TLS, for a configuration that offers `h2`.
    pub fn connect_tls(to: SocketAddr, tls: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        Self::connect_with(to, Some((tls, name)), Settings::default())
    }

    /// The same with settings of one's own.
    pub fn connect_with(
        to: SocketAddr,
        tls: Option<(&Arc<ClientConfig>, &str)>,
        settings: Settings,
    ) -> io::Result<Self> {
        wait(async {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            let Some((config, name)) = tls else {
                return Self::over(stream, settings).await;
            };
            let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(name, stream).await?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err(io::Error::other("h2 was not agreed on"));
            }
            Self::over(stream, settings).await
        })?
    }

    async fn over<T>(stream: T, settings: Settings) -> io::Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(settings.max_streams as usize)
            .initial_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window);
        let shaken = builder.handshake(stream).await;
        let (send, mut connection) = shaken.map_err(broken)?;
        // The answer to a PING comes behind the peer's settings.
        if let Some(mut pings) = connection.ping_pong() {
            tokio::select! {
                        ended = &mut connection => ended.map_err(broken)?,
            pong = pings.ping(Ping::opaque()) => {
                pong.map_err(broken)?;
            }
                    }
        }
        let (told, end) = watch::channel(None);
        let orders = Arc::<Orders>::default();
        RUNTIME.spawn(drive(connection, Arc::clone(&orders), told));
        let shared = Arc::new(Shared { orders, end });
        Ok(Self { send, shared })
    }

    /// Sends the head of a request for a whole URL; `end` if nothing follows it. A `:protocol` among
    /// the fields makes it an extended CONNECT.
    pub fn call(
        &self,
        method: &str,
        url: &str,
        fields: &[(&str, &str)],
        end: bool,
    ) -> io::Result<Stream> {
        let mut head = Request::builder().method(method).uri(url);
        for (name, value) in fields {
            head = match *name {
                ":protocol" => head.extension(Protocol::from(*value)),
                name => head.header(name, *value),
            };
        }
        self.call_with(head.body(()).map_err(io::Error::other)?, end)
    }

    /// The same for a head that was made already.
    pub fn call_with(&self, head: Request<()>, end: bool) -> io::Result<Stream> {
        let ready = wait(self.send.clone().ready())?;
        let mut ready = ready.map_err(broken)?;
        let (response, send) = ready.send_request(head, end).map_err(broken)?;
        Ok(Stream::asked(response, send, end))
    }

    /// Stops to read and to write, as a process that was stopped does.
    pub fn freeze(&self) {
        self.shared.orders.freeze.notify_one();
    }

    /// Waits until the connection is over; tells the code of an end that was not in order.
    pub fn wait_end(&self) -> io::Result<Option<Reason>> {
        let mut end = self.shared.end.clone();
        wait(async {
            let ended = end.wait_for(Option::is_some).await;
            let ended = ended.map_err(io::Error::other)?;
            match &*ended {
                Some(Err(error)) => Ok(error.reason()),
                _ => Ok(None),
            }
        })?
    }
}

/// Keeps the connection going until it is over, to be closed or to be frozen.
async fn drive<T>(
    mut connection: Connection<T, Bytes>,
    orders: Arc<Orders>,
    told: watch::Sender<Option<Result<(), h2::Error>>>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        ended = &mut connection => {
            told.send(Some(ended)).ok();
        }
        () = orders.close.notified() => {}
        () = orders.freeze.notified() => orders.close.notified().await,
    }
}
