//! What runs beside the workers: one thread with a small runtime, and plain HTTP/1 over hyper on it.
//!
//! The admin listener and the demo's endpoints stand on this, never the proxy itself: nothing here
//! is on a request's path, so it is short rather than fast.

mod html;
#[cfg(test)]
pub(crate) mod raw;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::{Notify, Semaphore, oneshot};

pub(crate) use html::Html;

/// How long to wait after `accept` failed. Nearly always descriptors have run out, and others have
/// to close theirs first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What hyper may hold per connection in each direction; also the cap on a request's head.
const BUFFER: usize = 16 * 1024;

/// A thread with a runtime of its own. Dropping it ends whatever it does and waits for its end.
#[derive(Debug)]
pub(crate) struct Side {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Disconnected when the work is done.
    ended: Receiver<()>,
}

impl Side {
    /// Starts a thread called `name` that does `work` until the [`Side`] is dropped. `work` is made
    /// here, so that its errors are the caller's, but within the runtime, so that it can register
    /// sockets.
    pub(crate) fn start<F>(name: &str, work: impl FnOnce() -> io::Result<F>) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = {
            let _within = runtime.enter();
            work()?
        };
        let (stop, stopped) = oneshot::channel();
        let (alive, ended) = sync_channel(0);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = work => {}
                    }
                });
                // The runtime goes here, and with it every task that was spawned on it.
                drop(runtime);
                drop::<SyncSender<()>>(alive);
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            ended,
        })
    }

    /// Waits until its work is done by itself, so long at most.
    pub(crate) fn wait(&self, most: Duration) {
        // Nothing is ever sent, so this is the end of the wait or of the work.
        let _ = self.ended.recv_timeout(most);
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Dropping the sender is the signal, so the thread also ends if its owner panics.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error means that the thread panicked, which has been reported on standard error.
            let _ = thread.join();
        }
    }
}

/// Hands a bound listener to the current runtime.
pub(crate) fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// What connections come to.
pub(crate) trait Door: Send + Sync + 'static {
    /// A connection.
    type Stream: Send + 'static;

    /// Waits for the next.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Without it small answers are late, not wrong.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Accepts connections, at most `most` at a time, and gives each to `handle` in a task of
/// its own. While all places are taken, clients wait in the kernel's queue. Told to `leave`, it accepts no more and
/// returns when the last connection is over.
pub(crate) async fn accept<D: Door, F>(
    door: D,
    most: u32,
    leave: Arc<Notify>,
    handle: impl Fn(D::Stream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most as usize));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let next = tokio::select! {
            next = door.next() => next,
            () = leave.notified() => break,
        };
        match next {
            Ok(stream) => {
                let connection = handle(stream);
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(door);
    // It is never closed, so this ends when all are back.
    let _ = places.acquire_many(most).await;
}

/// Serves one HTTP/1 connection. A request's head has to arrive within `head`; `keep_alive` says
/// whether another may follow it.
pub(crate) async fn http<S>(stream: S, app: Router, head: Duration, keep_alive: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .keep_alive(keep_alive)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .with_upgrades();
    // An error is the peer's: it left, stalled, or does not speak HTTP.
    let _ = connection.await;
}
