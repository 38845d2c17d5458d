//! Connections to a syslog, and how they are.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use umay_core::model;

use super::secure::{Secure, SyslogTls};

/// How long a connect, a handshake, or the write of all that there is to tell may take. The queue of the log holds less
/// than that at full speed.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// A peer that has not acknowledged what it was sent is given up after so long (`TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// A connection is asked whether it is still there when it was idle for so long, so that the next lines do not find out.
const IDLE: Duration = Duration::from_secs(30);
/// Reads of what a syslog says, for one look. It has nothing to say.
const READS: usize = 16;

/// A connection.
pub(super) enum Link {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<Secure>),
}

/// How a connection is.
pub(super) enum State {
    Open,
    /// What is written now is lost without a word.
    Closed,
    /// The other side has said why it does not want what it is sent.
    Refused(io::Error),
}

impl Link {
    /// Connects, to the first address of a name that works.
    pub(super) fn open(to: &model::Syslog, tls: Option<&SyslogTls>) -> io::Result<Self> {
        match to {
            model::Syslog::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Unix(socket))
            }
            model::Syslog::Udp(host, port) => first((host, *port), udp).map(Self::Udp),
            model::Syslog::Tcp(host, port) => first((host, *port), tcp).map(Self::Tcp),
            model::Syslog::Tls(host, port, _) => {
                let Some(tls) = tls else {
                    return Err(io::Error::other("there are no settings of TLS"));
                };
                let secure = |address| Secure::open(tcp(address)?, tls);
                first((host, *port), secure).map(|secure| Self::Tls(Box::new(secure)))
            }
        }
    }

    /// True if messages follow each other with their lengths, rather than being sent one by one.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Tls(_))
    }

    /// Sends one message, or, on a stream, all of them.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.send(bytes).map(drop),
            Self::Udp(socket) => socket.send(bytes).map(drop),
            Self::Tcp(stream) => Paced::new(stream).write_all(bytes),
            Self::Tls(secure) => secure.send(bytes),
        }
    }

    /// How it is, found out without waiting. What the other side has said is read, and forgotten.
    pub(super) fn state(&mut self) -> State {
        match self {
            Self::Unix(_) | Self::Udp(_) => State::Open,
            Self::Tcp(stream) => at_once(stream, |mut stream| {
                for _ in 0..READS {
                    match stream.read(&mut [0; 1024]) {
                        Ok(0) => return State::Closed,
                        Ok(_) => {}
                        Err(error) => return of_error(&error),
                    }
                }
                State::Open
            }),
            Self::Tls(secure) => secure.state(),
        }
    }
}

/// Does something that does not wait for the other side.
pub(super) fn at_once(stream: &TcpStream, look: impl FnOnce(&TcpStream) -> State) -> State {
    if stream.set_nonblocking(true).is_err() {
        return State::Closed;
    }
    let state = look(stream);
    match stream.set_nonblocking(false) {
        Ok(()) => state,
        Err(_) => State::Closed,
    }
}

/// What an error of a read that does not wait says.
pub(super) fn of_error(error: &io::Error) -> State {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => State::Open,
        _ => State::Closed,
    }
}

/// How many reads one look may take.
pub(super) fn looks() -> std::ops::Range<usize> {
    0..READS
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address.is_ipv4() {
        true => "0.0.0.0:0",
        false => "[::]:0",
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE).with_interval(IDLE))?;
    Ok(stream)
}

/// The first address of a name that works.
fn first<T>(
    (host, port): (&str, u16),
    connect: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the name of the syslog has no address");
    for address in (host, port).to_socket_addrs()? {
        match connect(address) {
            Ok(link) => return Ok(link),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A connection for [`PATIENCE`], however it moves: who takes a byte at a time does not hold the log up for longer.
pub(super) struct Paced<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl<'a> Paced<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Self {
        let until = Instant::now() + PATIENCE;
        Self { stream, until }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(late()),
            false => Ok(left),
        }
    }
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer).map_err(in_time)
    }
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes).map_err(in_time)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A read or write that has waited for all the time that there was says so, and not "try again".
fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => late(),
        _ => error,
    }
}

fn late() -> io::Error {
    let what = format!("the syslog has not moved on within {PATIENCE:?}");
    io::Error::new(ErrorKind::TimedOut, what)
}
