//! A scripted endpoint: accepts, keeps every byte it gets, and answers as the test says.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};

use crate::conn::Conn;
use crate::http::Message;
use crate::tools::eventually;

/// An endpoint on a loopback port. Each connection gets a thread that runs the script; an error
/// from the script only ends its connection.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicUsize,
    ended: AtomicUsize,
    records: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    sockets: Mutex<Vec<TcpStream>>,
}

/// A free port of loopback.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Server {
    /// Runs `script` on every connection, with its number from 0.
    pub fn start(
        script: impl Fn(&mut Conn, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::launch(ANY, None, script)
    }

    /// The same at this address.
    pub fn start_at(
        addr: SocketAddr,
        script: impl Fn(&mut Conn, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::launch(addr, None, script)
    }

    /// The same over TLS. Records hold what was decrypted; a failed handshake leaves an empty one.
    pub fn start_tls(
        tls: Arc<ServerConfig>,
        script: impl Fn(&mut Conn, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::launch(ANY, Some(tls), script)
    }

    /// Answers every request with what `answer` makes of it, on kept-alive connections.
    pub fn http(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::launch(ANY, None, move |conn, _| serve(conn, &answer))
    }

    /// The same over TLS.
    pub fn https(
        tls: Arc<ServerConfig>,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::launch(ANY, Some(tls), move |conn, _| serve(conn, &answer))
    }

    /// Answers 200 with `body` to everything at this address, over TLS if there is a configuration.
    pub fn ok_at(addr: SocketAddr, tls: Option<Arc<ServerConfig>>, body: &str) -> Self {
        let body = body.to_owned();
        Self::launch(addr, tls, move |conn, _| {
            serve(conn, &|_: &Message| ok(&body))
        })
    }

    /// Answers 200 with `body` to everything.
    pub fn ok(body: &str) -> Self {
        let body = body.to_owned();
        Self::http(move |_| ok(&body))
    }

    /// Sends back what it gets, and ends when the peer does.
    pub fn echo() -> Self {
        Self::start(|conn, _| echo(conn))
    }

    fn launch(
        addr: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&mut Conn, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let script = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (shared, script, tls) =
                    (Arc::clone(&of_thread), Arc::clone(&script), tls.clone());
                let number = shared.admit(&stream);
                thread::spawn(move || {
                    run(stream, number, &shared, tls.as_ref(), &*script).ok();
                    shared.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, shared }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections whose script has ended.
    pub fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// Waits until so many scripts have ended.
    #[track_caller]
    pub fn wait_ended(&self, n: usize) {
        eventually(&format!("{n} ended connections"), || {
            (self.ended() >= n).then_some(())
        });
    }

    /// What each connection sent, raw, in the order accepted.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        let records = self.shared.records.lock().unwrap();
        records.iter().map(|r| r.lock().unwrap().clone()).collect()
    }

    /// What all connections sent, one after the other, as text.
    pub fn recorded_text(&self) -> String {
        String::from_utf8_lossy(&self.recorded().concat()).into_owned()
    }
}

impl Shared {
    fn admit(&self, stream: &TcpStream) -> usize {
        if let Ok(copy) = stream.try_clone() {
            self.sockets.lock().unwrap().push(copy);
        }
        let mut records = self.records.lock().unwrap();
        records.push(Arc::default());
        self.accepted.fetch_add(1, Ordering::SeqCst)
    }
}

fn run(
    stream: TcpStream,
    number: usize,
    shared: &Shared,
    tls: Option<&Arc<ServerConfig>>,
    script: &(impl Fn(&mut Conn, usize) -> io::Result<()> + ?Sized),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = stream.try_clone()?;
    let mut conn = Conn::over(stream);
    if let Some(config) = tls {
        conn = conn.accept_tls(config)?;
    }
    conn.record_into(Arc::clone(&shared.records.lock().unwrap()[number]));
    let result = script(&mut conn, number);
    // The copy kept for shutting down must not hold the connection open past its script.
    let lingers = socket2::SockRef::from(&socket).linger()? == Some(Duration::ZERO);
    let mut sockets = shared.sockets.lock().unwrap();
    let peer = socket.peer_addr();
    sockets.retain(|s| match (s.peer_addr(), &peer) {
        (Ok(a), Ok(b)) => a != *b,
        _ => false,
    });
    drop(sockets);
    if !lingers && result.is_ok() {
        conn.half_close().ok();
    }
    result
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.addr).ok();
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

/// An address that refuses connections for as long as this lives.
#[derive(Debug)]
pub struct Refusing(Socket);

impl Refusing {
    /// Takes a port without listening on it.
    pub fn new() -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into())
    }

    /// The same at this IP address.
    pub fn on(ip: IpAddr) -> Self {
        Self(bound(ip))
    }

    /// The address.
    pub fn addr(&self) -> SocketAddr {
        address(&self.0)
    }
}

impl Default for Refusing {
    fn default() -> Self {
        Self::new()
    }
}

/// An address where connecting never ends: its queue is full and nobody accepts.
#[derive(Debug)]
pub struct Stuck {
    socket: Socket,
    _fillers: Vec<TcpStream>,
}

impl Stuck {
    /// Fills the queue.
    pub fn new() -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into())
    }

    /// The same at this IP address.
    pub fn on(ip: IpAddr) -> Self {
        let socket = bound(ip);
        socket.listen(0).unwrap();
        let (addr, wait) = (address(&socket), Duration::from_millis(300));
        let fill = || TcpStream::connect_timeout(&addr, wait).ok();
        let fillers = std::iter::from_fn(fill).take(64).collect();
        Self {
            socket,
            _fillers: fillers,
        }
    }

    /// The address.
    pub fn addr(&self) -> SocketAddr {
        address(&self.socket)
    }
}

impl Default for Stuck {
    fn default() -> Self {
        Self::new()
    }
}

fn bound(ip: IpAddr) -> Socket {
    let any = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(any), Type::STREAM, None).unwrap();
    socket.bind(&any.into()).unwrap();
    socket
}

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// A 200 with this body.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    answer("200 OK", "", body)
}

/// A response with a Content-Length; `fields` are whole lines, each with its CRLF.
pub fn answer(status: &str, fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn serve(conn: &mut Conn, answer: &impl Fn(&Message) -> Vec<u8>) -> io::Result<()> {
    conn.set_deadline(Duration::from_secs(600));
    while let Some(request) = conn.read_request()? {
        conn.send(answer(&request))?;
    }
    Ok(())
}

fn echo(conn: &mut Conn) -> io::Result<()> {
    loop {
        let got = conn.read_some()?;
        if got.is_empty() {
            return Ok(());
        }
        conn.send(got)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::End;

    #[test]
    fn keeps_the_bytes_of_each_connection_apart() {
        let server = Server::echo();
        for text in ["one", "two"] {
            let mut conn = Conn::connect(server.addr()).unwrap();
            conn.send(text).unwrap();
            conn.half_close().unwrap();
            assert_eq!(conn.read_to_end().unwrap(), (text.into(), End::Clean));
        }
        server.wait_ended(2);
        assert_eq!(server.recorded(), [b"one", b"two"]);
    }

    #[test]
    fn ends_in_order_or_by_a_reset_as_the_script_says() {
        let server = Server::start(|conn, number| {
            conn.read_some()?;
            if number == 1 {
                conn.reset_when_dropped()?;
            }
            conn.send("part")
        });
        for end in [End::Clean, End::Cut] {
            let mut conn = Conn::connect(server.addr()).unwrap();
            conn.send("x").unwrap();
            // A reset may overtake what was sent before it.
            assert_eq!(conn.read_to_end().unwrap().1, end);
        }
    }

    #[test]
    fn some_addresses_refuse_and_some_never_answer() {
        let refusing = Refusing::new();
        let error = TcpStream::connect(refusing.addr()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let stuck = Stuck::new();
        let wait = Duration::from_millis(100);
        let error = TcpStream::connect_timeout(&stuck.addr(), wait).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
