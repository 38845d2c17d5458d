//! A scripted endpoint that speaks HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::stream::Stream;
use super::{RUNTIME, Settings};

type Script = Arc<dyn Fn(&mut Stream) -> io::Result<()> + Send + Sync>;

/// An endpoint on a loopback port. Each stream gets a thread that runs the script; an error from
/// the script resets its stream.
pub struct Endpoint {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Script,
    settings: Settings,
    tls: Option<Arc<ServerConfig>>,
    connections: AtomicUsize,
    streams: AtomicUsize,
    orders: watch::Sender<Order>,
}

/// What is to become of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Serve,
    /// Say GOAWAY and let streams finish.
    Leave,
    /// Neither read nor write any more.
    Freeze,
    /// Drop them.
    Cut,
}

impl Endpoint {
    /// Runs `script` on every stream, in the clear.
    pub fn start(script: impl Fn(&mut Stream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_with(None, Settings::default(), script)
    }

    /// The same over TLS, by a configuration that offers `h2`.
    pub fn start_tls(
        tls: Arc<ServerConfig>,
        script: impl Fn(&mut Stream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(tls), Settings::default(), script)
    }

    /// The same with settings of one's own.
    pub fn start_with(
        tls: Option<Arc<ServerConfig>>,
        settings: Settings,
        script: impl Fn(&mut Stream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Arc::new(script),
            settings,
            tls,
            connections: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            orders: watch::Sender::new(Order::Serve),
        });
        RUNTIME.spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Streams accepted so far.
    pub fn streams(&self) -> usize {
        self.shared.streams.load(Ordering::SeqCst)
    }

    /// Says GOAWAY on the connections that there are, and lets their streams finish.
    pub fn leave(&self) {
        self.shared.orders.send_replace(Order::Leave);
    }

    /// Neither reads nor writes from now on, as a process that was stopped.
    pub fn freeze(&self) {
        self.shared.orders.send_replace(Order::Freeze);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.shared.orders.send_replace(Order::Cut);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut orders = shared.orders.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = orders.wait_for(|order| *order == Order::Cut) => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        stream.set_nodelay(true).ok();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        RUNTIME.spawn(async move {
            match &shared.tls {
                None => serve(stream, &shared).await,
                Some(config) => {
                    let acceptor = TlsAcceptor::from(Arc::clone(config));
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, &shared).await;
                    }
                }
            }
        });
    }
}

/// Serves a connection until it ends.
async fn serve<T: AsyncRead + AsyncWrite + Unpin>(stream: T, shared: &Shared) {
    let settings = &shared.settings;
    let mut builder = Builder::new();
    builder
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_concurrent_streams(settings.max_streams);
    if settings.extended_connect {
        builder.enable_connect_protocol();
    }
    // An order that was given before this connection came is not for it.
    let mut orders = shared.orders.subscribe();
    orders.borrow_and_update();
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    loop {
        tokio::select! {
            more = take(&mut connection, shared) => {
                if !more {
                    return;
                }
            }
            changed = orders.changed() => match *orders.borrow() {
                _ if changed.is_err() => return,
                Order::Serve => {}
                Order::Leave => connection.graceful_shutdown(),
                Order::Freeze => break,
                Order::Cut => return,
            },
        }
    }
    orders.wait_for(|order| *order == Order::Cut).await.ok();
}

/// Takes one stream and gives it to a thread. False at the end of the connection.
async fn take<T: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<T, Bytes>,
    shared: &Shared,
) -> bool {
    let Some(Ok((request, respond))) = connection.accept().await else {
        return false;
    };
    shared.streams.fetch_add(1, Ordering::SeqCst);
    let script = Arc::clone(&shared.script);
    let small = thread::Builder::new().stack_size(512 * 1024);
    let spawned = small.spawn(move || {
        let mut stream = Stream::accepted(request, respond);
        if script(&mut stream).is_err() {
            stream.reset(h2::Reason::INTERNAL_ERROR);
        }
    });
    spawned.is_ok()
}
