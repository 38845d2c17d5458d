//! A connection that a test holds in its hand, as client or as endpoint: raw bytes, with or
//! without TLS, and a deadline on every wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use socket2::{Domain, Socket, Type};

use crate::http::{self, Message};
use crate::tools::DEADLINE;

/// One connection. Every read and write gives up with an error after its deadline.
#[derive(Debug)]
pub struct Conn {
    stream: Stream,
    buffer: Vec<u8>,
    end: Option<End>,
    deadline: Duration,
    record: Option<Arc<Mutex<Vec<u8>>>>,
    requests: usize,
}

/// How the peer ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: FIN, and `close_notify` under TLS.
    Clean,
    /// By a reset, or under TLS without `close_notify`.
    Cut,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Conn {
    /// Connects to `to`.
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, DEADLINE)?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Connects from this address of loopback, for tests that need more ports than one has.
    pub fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&to.into(), DEADLINE)?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self::over(socket.into()))
    }

    /// Takes over a connected socket.
    pub fn over(stream: TcpStream) -> Self {
        Self {
            stream: Stream::Plain(stream),
            buffer: Vec::new(),
            end: None,
            deadline: DEADLINE,
            record: None,
            requests: 0,
        }
    }

    /// Connects and speaks TLS; `name` is verified, and sent unless the configuration says no.
    pub fn connect_tls(to: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        Self::connect(to)?.into_tls(config, name)
    }

    /// Begins TLS as a client. Bytes that were read ahead must have been taken.
    pub fn into_tls(self, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let mut socket = self.plain_socket()?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        set_deadline(&socket, self.deadline)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        let stream = Stream::Client(Box::new(StreamOwned::new(tls, socket)));
        Ok(Self { stream, ..self })
    }

    /// Begins TLS as a server.
    pub fn accept_tls(self, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut socket = self.plain_socket()?;
        let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        set_deadline(&socket, self.deadline)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        let stream = Stream::Server(Box::new(StreamOwned::new(tls, socket)));
        Ok(Self { stream, ..self })
    }

    fn plain_socket(&self) -> io::Result<TcpStream> {
        match &self.stream {
            Stream::Plain(socket) => socket.try_clone(),
            _ => Err(io::Error::other("TLS already")),
        }
    }

    /// Copies everything that is read from now on.
    pub(crate) fn record_into(&mut self, record: Arc<Mutex<Vec<u8>>>) {
        self.record = Some(record);
    }

    /// Changes how long a wait may last.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket().set_write_timeout(Some(self.deadline))?;
        let stream: &mut dyn Write = match &mut self.stream {
            Stream::Plain(s) => s,
            Stream::Client(s) => s.as_mut(),
            Stream::Server(s) => s.as_mut(),
        };
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    /// Sends one byte at a time, each in a packet of its own.
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        for byte in bytes.as_ref() {
            self.send([*byte])?;
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Waits for more bytes and puts them into the buffer. False at the end.
    fn fill(&mut self, until: Instant) -> io::Result<bool> {
        if self.end.is_some() {
            return Ok(false);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.timed_out());
        }
        set_deadline(self.socket(), left)?;
        let mut block = vec![0; 64 * 1024];
        let got = match &mut self.stream {
            Stream::Plain(s) => s.read(&mut block),
            Stream::Client(s) => s.read(&mut block),
            Stream::Server(s) => s.read(&mut block),
        };
        match got {
            Ok(0) => self.end = Some(End::Clean),
            Ok(n) => {
                self.buffer.extend_from_slice(&block[..n]);
                if let Some(record) = &self.record {
                    record.lock().unwrap().extend_from_slice(&block[..n]);
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(self.timed_out());
            }
            Err(e) if is_cut(&e) => self.end = Some(End::Cut),
            Err(e) => return Err(e),
        }
        Ok(self.end.is_none())
    }

    fn timed_out(&self) -> io::Error {
        let have = String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(600)]);
        let text = format!("nothing within {:?}; have {have:?}", self.deadline);
        io::Error::new(ErrorKind::TimedOut, text)
    }

    fn ended(&self, wanted: &str) -> io::Error {
        let have = String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(600)]);
        let text = format!("wanted {wanted}, but {:?}; have {have:?}", self.end);
        io::Error::new(ErrorKind::UnexpectedEof, text)
    }

    /// Waits until `take` finds what it wants in the buffer: `Some(n)` gives the first `n` bytes.
    fn read_when(
        &mut self,
        wanted: &str,
        mut take: impl FnMut(&[u8]) -> Option<usize>,
    ) -> io::Result<Vec<u8>> {
        let until = Instant::now() + self.deadline;
        loop {
            if let Some(n) = take(&self.buffer) {
                return Ok(self.buffer.drain(..n).collect());
            }
            if !self.fill(until)? {
                return Err(self.ended(wanted));
            }
        }
    }

    /// Reads until `mark` has come, and it too.
    pub fn read_until(&mut self, mark: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        let mark = mark.as_ref();
        self.read_when(&String::from_utf8_lossy(mark), |bytes| {
            http::find(bytes, mark).map(|at| at + mark.len())
        })
    }

    /// Reads exactly `n` bytes.
    pub fn read_exact(&mut self, n: usize) -> io::Result<Vec<u8>> {
        self.read_when(&format!("{n} bytes"), |bytes| {
            (bytes.len() >= n).then_some(n)
        })
    }

    /// Reads whatever is there, at least one byte; empty at the end.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        let until = Instant::now() + self.deadline;
        while self.buffer.is_empty() && self.fill(until)? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads and forgets `n` bytes, whatever they are, without keeping them in memory.
    pub fn skip(&mut self, mut n: u64) -> io::Result<()> {
        while n > 0 {
            let got = self.read_some()?;
            if got.is_empty() {
                return Err(self.ended(&format!("{n} more bytes")));
            }
            let used = n.min(got.len() as u64);
            self.buffer = got[used as usize..].to_vec();
            n -= used;
        }
        Ok(())
    }

    /// Reads a request, strictly. `None` if the peer ended before one began.
    pub fn read_request(&mut self) -> io::Result<Option<Message>> {
        let request = self.read_message("a request", |bytes, _| http::request(bytes))?;
        self.requests += usize::from(request.is_some());
        Ok(request)
    }

    /// Requests that were read so far.
    pub fn request_count(&self) -> usize {
        self.requests
    }

    /// Reads the response to a request with `method`, strictly.
    pub fn read_response(&mut self, method: &str) -> io::Result<Message> {
        self.read_message("a response", |bytes, eof| {
            http::response(bytes, method, eof)
        })?
        .ok_or_else(|| self.ended("a response"))
    }

    fn read_message(
        &mut self,
        wanted: &str,
        parse: impl Fn(&[u8], bool) -> http::Read,
    ) -> io::Result<Option<Message>> {
        let until = Instant::now() + self.deadline;
        loop {
            match parse(&self.buffer, self.end == Some(End::Clean)) {
                Ok(Some((message, n))) => {
                    self.buffer.drain(..n);
                    return Ok(Some(message));
                }
                Ok(None) if self.end.is_some() && self.buffer.is_empty() => return Ok(None),
                Ok(None) if self.end.is_some() => return Err(self.ended(wanted)),
                Ok(None) => {
                    self.fill(until)?;
                }
                Err(why) => {
                    let text = String::from_utf8_lossy(&self.buffer);
                    let text = format!("{wanted} is not proper: {why} in {text:?}");
                    return Err(io::Error::new(ErrorKind::InvalidData, text));
                }
            }
        }
    }

    /// Sends a request and reads its response.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> io::Result<Message> {
        let request = request.as_ref();
        self.send(request)?;
        let method = String::from_utf8_lossy(request);
        self.read_response(method.split(' ').next().unwrap_or_default())
    }

    /// Reads all until the peer ends, and tells how it did.
    pub fn read_to_end(&mut self) -> io::Result<(Vec<u8>, End)> {
        let until = Instant::now() + self.deadline;
        while self.fill(until)? {}
        let bytes = std::mem::take(&mut self.buffer);
        Ok((bytes, self.end.unwrap_or(End::Clean)))
    }

    /// True if neither a byte nor an end comes for so long. For what must *not* happen.
    pub fn stays_silent(&mut self, time: Duration) -> bool {
        if !self.buffer.is_empty() || self.end.is_some() {
            return false;
        }
        match self.fill(Instant::now() + time) {
            Ok(_) => false,
            Err(e) => e.kind() == ErrorKind::TimedOut,
        }
    }

    /// How the peer ended, if it has and that was read.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Ends the sending side: `close_notify` under TLS, then FIN.
    pub fn half_close(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(_) => {}
            Stream::Client(s) => {
                s.conn.send_close_notify();
                s.flush()?;
            }
            Stream::Server(s) => {
                s.conn.send_close_notify();
                s.flush()?;
            }
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Ends both sides without a word of TLS: FIN only.
    pub fn cut(&self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Both)
    }

    /// Makes the end of the connection, when it is dropped, a reset.
    pub fn reset_when_dropped(&self) -> io::Result<()> {
        socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO))
    }

    /// A second handle on the same connection without TLS, for writing while the first one reads.
    pub fn twin(&self) -> io::Result<Self> {
        self.plain_socket().map(Self::over)
    }

    /// Keeps the kernel's receive buffer small, so that a stalled reader is felt early.
    pub fn shrink_receive_buffer(&self) -> io::Result<()> {
        socket2::SockRef::from(self.socket()).set_recv_buffer_size(16 * 1024)
    }

    /// Gives back memory that an idle connection does not need.
    pub fn shrink(&mut self) {
        self.buffer.shrink_to_fit();
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(s) => s,
            Stream::Client(s) => &s.sock,
            Stream::Server(s) => &s.sock,
        }
    }

    /// The TLS connection, on a client.
    pub fn tls(&self) -> Option<&ClientConnection> {
        match &self.stream {
            Stream::Client(s) => Some(&s.conn),
            _ => None,
        }
    }

    /// The leaf certificate that the server showed.
    pub fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        let chain = self.tls()?.peer_certificates()?;
        Some(chain.first()?.clone().into_owned())
    }
}

impl Read for Conn {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let until = Instant::now() + self.deadline;
        while self.buffer.is_empty() && self.fill(until)? {}
        let n = out.len().min(self.buffer.len());
        out[..n].copy_from_slice(&self.buffer[..n]);
        self.buffer.drain(..n);
        Ok(n)
    }
}

impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn set_deadline(socket: &TcpStream, time: Duration) -> io::Result<()> {
    // Zero means "for ever" to the kernel, so never ask for it.
    let time = time.max(Duration::from_millis(1));
    socket.set_read_timeout(Some(time))?;
    socket.set_write_timeout(Some(time))
}

fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof
    )
}
