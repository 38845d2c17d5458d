//! Listeners: sockets that accept connections, one per worker and address.
//!
//! Every worker has a socket of its own on each address (`SO_REUSEPORT`), so the kernel spreads the
//! connections and no worker waits for another.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::conn::await_first;
use crate::drain::Phase;
use crate::front::Front;
use crate::original;
use crate::site::{Client, Door};
use crate::telemetry::metrics::Registry;
use crate::worker::Worker;

/// Connections that may wait to be accepted; the kernel has a cap of its own (`somaxconn`).
const BACKLOG: i32 = 4096;

/// Connections that are accepted before others get a turn.
const BURST: usize = 64;

/// Opens sockets on one address until there are `count` with those that are there already, which have been taken over
/// from another process. With port 0 the kernel chooses one for all of them.
/// Transparent ones get connections to any address that TPROXY catches.
pub fn bind(
    address: SocketAddr,
    count: usize,
    transparent: bool,
    mut sockets: Vec<std::net::TcpListener>,
) -> io::Result<Vec<std::net::TcpListener>> {
    for place in 0..sockets.len().max(count) {
        if let Some(socket) = sockets.get(place) {
            socket.set_nonblocking(true)?;
            SockRef::from(socket).set_tcp_nodelay(true)?;
            continue;
        }
        // Where nobody else may bind beside it, all accept at the same one.
        if let Some(socket) = sockets.first()
            && !SockRef::from(socket).reuse_port()?
        {
            sockets.push(socket.try_clone()?);
            continue;
        }
        let address = match sockets.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            // `[::]` and `0.0.0.0` may both be listened on, as two listeners.
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        // The first one is bound alone: with `SO_REUSEPORT` from the start, another process's
        // port would be shared in silence instead of refused.
        if sockets.is_empty() && address.port() != 0 {
            probe(address)?;
        }
        socket.set_reuse_port(true)?;
        if transparent {
            let set = match address {
                SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
                SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
            };
            set.map_err(|error| io::Error::new(error.kind(), NOT_TRANSPARENT))?;
        }
        // What is accepted inherits it, which saves a call for each.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

/// What to do about a listener that may not be transparent.
const NOT_TRANSPARENT: &str = "`transparent = true` needs the capability CAP_NET_ADMIN or CAP_NET_RAW: run as root, give it \
     (AmbientCapabilities=CAP_NET_ADMIN in a unit of systemd, or setcap cap_net_admin+ep on the program), \
     or use a redirect in place of TPROXY, which needs none";

/// Fails if somebody listens on the address already.
fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

/// One worker's socket of a listener.
#[derive(Debug)]
pub struct Acceptor {
    worker: Rc<Worker>,
    /// As it is now.
    front: Rc<RefCell<Rc<Front>>>,
    door: Rc<Door>,
    socket: TcpListener,
    /// Where that is bound.
    bound: SocketAddr,
    registry: Arc<Registry>,
    /// Connections that the process may have open, as it is now.
    most: Rc<Cell<usize>>,
    /// Told when the listener is gone.
    closed: Rc<Notify>,
}

impl Acceptor {
    /// Takes over a socket from [`bind`]. To be called in the worker's runtime.
    pub fn new(
        worker: &Rc<Worker>,
        front: &Rc<RefCell<Rc<Front>>>,
        door: &Rc<Door>,
        socket: std::net::TcpListener,
        registry: &Arc<Registry>,
        most: &Rc<Cell<usize>>,
    ) -> io::Result<Self> {
        Ok(Self {
            worker: Rc::clone(worker),
            front: Rc::clone(front),
            door: Rc::clone(door),
            bound: socket.local_addr()?,
            socket: TcpListener::from_std(socket)?,
            registry: Arc::clone(registry),
            most: Rc::clone(most),
            closed: Rc::default(),
        })
    }

    /// To be told when the listener is gone.
    pub fn closed(&self) -> Rc<Notify> {
        Rc::clone(&self.closed)
    }

    /// Accepts until the worker drains. What waits in the backlog then is still accepted, for the
    /// kernel would reset it.
    pub async fn run(self, mut drain: tokio::sync::watch::Receiver<Phase>) {
        let mut accepted = 0;
        loop {
            let stream = tokio::select! {
                biased;
                stream = self.socket.accept() => stream,
                _ = drain.wait_for(|phase| *phase >= Phase::Succeeded) => break,
                () = self.closed.notified() => break,
            };
            match stream {
                Ok((stream, peer)) => self.accepted(stream, peer),
                Err(error) => self.failed(&error).await,
            }
            accepted += 1;
            if accepted % BURST == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        while let std::task::Poll::Ready(Ok((stream, peer))) = self.socket.poll_accept(&mut cx) {
            self.accepted(stream, peer);
        }
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr) {
        let metrics = &self.worker.metrics.connections;
        metrics.accepted.inc();
        if self.registry.open_connections() >= self.most.get() {
            // Room is made for the next one; for this one it comes too late.
            self.worker.timers.shed(SHED);
            metrics.refused.inc();
            return drop(stream);
        }
        await_first(&stream);
        let site = self.door.site();
        let original = match &*site {
            site if site.wants_original => {
                original::destination(&stream, self.bound, site.listener.transparent)
            }
            _ => None,
        };
        let client = Client {
            original,
            site,
            door: Rc::clone(&self.door),
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            id: self.worker.random(),
            accepted: Instant::now(),
            tls: None,
        };
        let front = Rc::clone(&self.front.borrow());
        spawn_local(front.serve(stream, client, self.worker.drain.hold()));
    }

    /// Backs off when the process is out of something, and makes room.
    async fn failed(&self, error: &io::Error) {
        const OUT: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        const BACK_OFF: Duration = Duration::from_millis(20);
        self.worker.metrics.connections.accept_errors.inc();
        let out = Errno::from_io_error(error).is_some_and(|errno| OUT.contains(&errno));
        if out {
            let shed = self.worker.timers.shed(SHED);
            tracing::warn!(
                listener = self.door.site().listener.name,
                %error,
                shed,
                "cannot accept: idle connections were closed to make room (raise the limit on open files, or set limits.connections)"
            );
            tokio::time::sleep(BACK_OFF).await;
        }
        // Other errors are about the one connection that was to be accepted, and it is gone.
    }
}

/// Idle connections that are closed at once to make room.
const SHED: usize = 32;
