//! Lines as messages of syslog (RFC 5424): as datagrams to a unix socket or over UDP (RFC 5426), or over TCP with
//! the length before each (RFC 6587 section 3.4.1).

use std::io::{self, ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, process};

use umay_core::model;

use super::clock::Clock;

/// Facility `local0` and severity `informational`: 16 × 8 + 6 (RFC 5424 section 6.2.1).
const PRIORITY: u32 = 134;
/// How long a connect or a write may take. The queue of the log holds less than that at full speed.
const PATIENCE: Duration = Duration::from_secs(3);
/// After a failure it is not tried again for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// The way to a syslog.
pub(super) struct Syslog {
    to: model::Syslog,
    link: Option<Link>,
    /// Not tried before this.
    next: Option<Instant>,
    clock: Clock,
    /// What comes between the time and the message.
    sender: String,
    message: Vec<u8>,
    out: Vec<u8>,
}

enum Link {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    pub(super) fn new(to: &model::Syslog) -> Self {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            to: to.clone(),
            link: None,
            next: None,
            clock: Clock::new(),
            sender: sender(name.trim(), process::id()),
            message: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Sends each line as a message. An error says how many of them are lost.
    pub(super) fn send(&mut self, lines: &[u8]) -> Result<(), (io::Error, u64)> {
        let lines: &[u8] = lines.strip_suffix(b"\n").unwrap_or(lines);
        let all = lines.split(|byte| *byte == b'\n');
        let count = all.clone().count() as u64;
        if self.link.as_ref().is_some_and(Link::is_over) {
            self.link = None;
        }
        let link = match self.link.take() {
            Some(link) => Ok(link),
            None => self.connect(),
        };
        let link = link.map_err(|error| (error, count))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        match self.send_on(link, all, now) {
            (link, Ok(0)) => {
                self.link = link;
                Ok(())
            }
            (link, Ok(lost)) => {
                self.link = link;
                let error = io::Error::new(ErrorKind::InvalidInput, "a line was too long");
                Err((error, lost))
            }
            (_, Err((error, sent))) => {
                self.next = Some(Instant::now() + PAUSE);
                Err((error, count.saturating_sub(sent)))
            }
        }
    }

    /// Gives the connection back if it is still good, and tells how many lines were too long for a datagram. An
    /// error says how many were sent before it.
    fn send_on<'l>(
        &mut self,
        mut link: Link,
        lines: impl Iterator<Item = &'l [u8]>,
        now: Duration,
    ) -> (Option<Link>, Result<u64, (io::Error, u64)>) {
        self.out.clear();
        let (mut sent, mut lost) = (0, 0);
        for line in lines {
            self.message.clear();
            // Writing to a vector cannot fail.
            let _ = write!(self.message, "<{PRIORITY}>1 ");
            self.clock.write(&mut self.message, now);
            self.message.extend_from_slice(self.sender.as_bytes());
            self.message.extend_from_slice(line);
            let came = match &link {
                Link::Unix(socket) => socket.send(&self.message),
                Link::Udp(socket) => socket.send(&self.message),
                Link::Tcp(_) => {
                    let _ = write!(self.out, "{} ", self.message.len());
                    self.out.extend_from_slice(&self.message);
                    Ok(0)
                }
            };
            match came {
                Ok(_) => sent += 1,
                Err(error) if error.raw_os_error() == Some(MESSAGE_SIZE) => lost += 1,
                Err(error) => return (None, Err((error, sent))),
            }
        }
        if let Link::Tcp(stream) = &mut link
            && let Err(error) = stream.write_all(&self.out)
        {
            return (None, Err((error, 0)));
        }
        (Some(link), Ok(lost))
    }

    fn connect(&mut self) -> io::Result<Link> {
        if self.next.is_some_and(|next| Instant::now() < next) {
            return Err(io::Error::new(
                ErrorKind::NotConnected,
                "the syslog was not there",
            ));
        }
        let link = connect(&self.to);
        self.next = link.is_err().then(|| Instant::now() + PAUSE);
        link
    }
}

/// `EMSGSIZE`: no datagram can be so long.
const MESSAGE_SIZE: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// Host, program, process, and that there is neither an id nor data of a structure.
fn sender(host: &str, process: u32) -> String {
    // RFC 5424 section 6: printable ASCII without spaces, 255 bytes at most.
    let good = matches!(host.len(), 1..=255) && host.bytes().all(|byte| byte.is_ascii_graphic());
    let host = if good { host } else { "-" };
    format!(" {host} umay {process} - - ")
}

fn connect(to: &model::Syslog) -> io::Result<Link> {
    match to {
        model::Syslog::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(Link::Unix(socket))
        }
        model::Syslog::Udp(host, port) => first((host, *port), |address| {
            let any = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(Link::Udp(socket))
        }),
        model::Syslog::Tcp(host, port) => first((host, *port), |address| {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Link::Tcp(stream))
        }),
    }
}

/// The first address of a name that works.
fn first(
    (host, port): (&str, u16),
    connect: impl Fn(std::net::SocketAddr) -> io::Result<Link>,
) -> io::Result<Link> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the name of the syslog has no address");
    for address in (host, port).to_socket_addrs()? {
        match connect(address) {
            Ok(link) => return Ok(link),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Link {
    /// True if the other side has closed it: what is written then is lost without a word.
    fn is_over(&self) -> bool {
        let Self::Tcp(stream) = self else {
            return false;
        };
        let blocking = |blocking: bool| stream.set_nonblocking(!blocking).is_ok();
        let over = blocking(false)
            && match stream.peek(&mut [0]) {
                Ok(count) => count == 0,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
        !blocking(true) || over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_cannot_be_told_is_left_out() {
        assert_eq!(sender("a.example", 7), " a.example umay 7 - - ");
        let long = "a".repeat(256);
        for host in ["", "a b", "a\u{fc}", &*long] {
            assert_eq!(sender(host, 7), " - umay 7 - - ", "{host}");
        }
    }
}
