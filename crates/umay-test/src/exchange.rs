//! An exchange in whatever version of HTTP, piece by piece, in the hand of the client or of the
//! endpoint: so that one script can be played between all versions.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rustls::ServerConfig;

use crate::http::{self, Fields, Framing, Message};
use crate::http2::{Endpoint, Settings, Stream};
use crate::{Conn, Server};

/// How content is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, and the head says so.
    Empty,
    /// As many bytes.
    Length(usize),
    /// As much as comes.
    Unknown,
}

/// One exchange.
pub struct Exchange<'a> {
    wire: Wire<'a>,
    request: Message,
    sends: Body,
    reads: Reads,
    trailers: Fields,
}

enum Wire<'a> {
    One(Held<'a, Conn>),
    Many(Held<'a, Stream>),
}

/// What this side has still to read, in HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// One's own, or borrowed.
enum Held<'a, T> {
    Own(Box<T>),
    Lent(&'a mut T),
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Own(own) => own,
            Self::Lent(lent) => lent,
        }
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Own(own) => own,
            Self::Lent(lent) => lent,
        }
    }
}

impl Exchange<'static> {
    /// Begins a request in HTTP/1.1 on a connection of its own.
    pub fn over_http1(
        mut conn: Conn,
        [method, host, target]: [&str; 3],
        fields: &[(&str, &str)],
        body: Body,
    ) -> io::Result<Self> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        write_fields(&mut head, fields, body);
        conn.send(head)?;
        let mut exchange = Self::new(Wire::One(Held::Own(Box::new(conn))), body);
        exchange.request.start = format!("{method} {target} HTTP/1.1");
        Ok(exchange)
    }

    /// Goes on with a request whose head was sent on a stream.
    pub fn over_http2(stream: Stream, body: Body) -> Self {
        Self::new(Wire::Many(Held::Own(Box::new(stream))), body)
    }
}

impl<'a> Exchange<'a> {
    fn new(wire: Wire<'a>, sends: Body) -> Self {
        Self {
            wire,
            request: Message::default(),
            sends,
            reads: Reads::Length(0),
            trailers: Fields::new(),
        }
    }

    /// Reads the head of a request in HTTP/1; `None` if no more come.
    fn accept_http1(conn: &'a mut Conn) -> io::Result<Option<Self>> {
        let Ok(head) = conn.read_until("\r\n\r\n") else {
            return Ok(None);
        };
        let parsed = http::head(&head).map_err(io::Error::other)?;
        let (request, _) = parsed.ok_or(ErrorKind::InvalidData)?;
        let framing = http::framing(&request).map_err(io::Error::other)?;
        let mut exchange = Self::new(Wire::One(Held::Lent(conn)), Body::Empty);
        exchange.reads = match framing {
            Framing::None => Reads::Length(0),
            Framing::Length(length) => Reads::Length(length),
            Framing::Chunked => Reads::Chunked,
        };
        exchange.request = request;
        Ok(Some(exchange))
    }

    /// True in HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.wire, Wire::Many(_))
    }

    /// The head of the request, on the endpoint's side.
    pub fn request(&self) -> &Message {
        match &self.wire {
            Wire::One(_) => &self.request,
            Wire::Many(stream) => stream.request(),
        }
    }

    /// The host that the request names.
    pub fn authority(&self) -> Option<&str> {
        let request = self.request();
        request.get(":authority").or_else(|| request.get("host"))
    }

    /// Waits for the next head of the answer: an interim or the final one.
    pub fn head(&mut self) -> io::Result<Message> {
        let conn = match &mut self.wire {
            Wire::Many(stream) => return stream.head(),
            Wire::One(conn) => conn,
        };
        let head = conn.read_until("\r\n\r\n")?;
        let parsed = http::head(&head).map_err(io::Error::other)?;
        let (head, _) = parsed.ok_or(ErrorKind::InvalidData)?;
        let bodiless = matches!(head.status(), 100..=199 | 204 | 304);
        self.reads = match http::framing(&head).map_err(io::Error::other)? {
            _ if bodiless || self.request.method() == "HEAD" => Reads::Length(0),
            Framing::Length(length) => Reads::Length(length),
            Framing::Chunked => Reads::Chunked,
            Framing::None => Reads::UntilEnd,
        };
        Ok(head)
    }

    /// Sends an interim answer.
    pub fn inform(&mut self, status: u16, fields: &[(&str, &str)]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Many(stream) => stream.inform(status, fields),
            Wire::One(conn) => {
                let mut head = format!("HTTP/1.1 {status} Early\r\n");
                write_fields(&mut head, fields, Body::Empty);
                conn.send(head)
            }
        }
    }

    /// Sends the head of the answer.
    pub fn respond(&mut self, status: u16, fields: &[(&str, &str)], body: Body) -> io::Result<()> {
        self.sends = body;
        match &mut self.wire {
            Wire::Many(stream) => {
                let length = length(body);
                let fields = [fields, &length_field(length.as_deref())].concat();
                stream.respond(status, &fields, body == Body::Empty)
            }
            Wire::One(conn) => {
                let mut head = format!("HTTP/1.1 {status} Final\r\n");
                let told = matches!(status, 204 | 304) || self.request.method() == "HEAD";
                if body == Body::Empty && !told {
                    head += "Content-Length: 0\r\n";
                }
                write_fields(&mut head, fields, body);
                conn.send(head)
            }
        }
    }

    /// Sends a piece of the body.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Many(stream) => stream.send(bytes),
            Wire::One(conn) if self.sends == Body::Unknown => {
                let size = format!("{:x}\r\n", bytes.len());
                conn.send([size.as_bytes(), bytes, b"\r\n"].concat())
            }
            Wire::One(conn) => conn.send(bytes),
        }
    }

    /// Ends the body. Trailers only behind one of unknown length.
    pub fn finish(&mut self, trailers: &[(&str, &str)]) -> io::Result<()> {
        match &mut self.wire {
            Wire::One(_) | Wire::Many(_) if self.sends == Body::Empty => Ok(()),
            Wire::Many(stream) => stream.finish(trailers),
            Wire::One(conn) if self.sends == Body::Unknown => {
                let mut end = "0\r\n".to_owned();
                write_fields(&mut end, trailers, Body::Empty);
                conn.send(end)
            }
            Wire::One(_) => Ok(()),
        }
    }

    /// Reads some of the body; `None` at its end.
    pub fn read_some(&mut self) -> io::Result<Option<Vec<u8>>> {
        let conn = match &mut self.wire {
            Wire::Many(stream) => {
                let some = stream.read_some()?;
                if some.is_none() {
                    self.trailers.clone_from(stream.trailers());
                }
                return Ok(some.map(Vec::from));
            }
            Wire::One(conn) => conn,
        };
        match &mut self.reads {
            Reads::Length(0) => Ok(None),
            Reads::Length(left) => {
                let mut piece = vec![0; (*left).min(64 * 1024)];
                let count = conn.read(&mut piece)?;
                if count == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                piece.truncate(count);
                *left -= count;
                Ok(Some(piece))
            }
            Reads::UntilEnd => {
                let piece = conn.read_some()?;
                Ok((!piece.is_empty()).then_some(piece))
            }
            Reads::Chunked => {
                let piece = read_chunk(conn, &mut self.trailers)?;
                if piece.is_none() {
                    self.reads = Reads::Length(0);
                }
                Ok(piece)
            }
        }
    }

    /// Reads the body to its end.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.read_some()? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Reads exactly so many bytes of the body.
    pub fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() < length {
            body.extend(self.read_some()?.ok_or(ErrorKind::UnexpectedEof)?);
        }
        assert_eq!(body.len(), length, "more than was expected");
        Ok(body)
    }

    /// The trailers that came behind the body.
    pub fn trailers(&self) -> Vec<(&str, &str)> {
        let all = self.trailers.iter();
        all.map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// Breaks off: the stream is reset, or the connection.
    pub fn cut(mut self) -> io::Result<()> {
        match &mut self.wire {
            Wire::Many(stream) => stream.reset(h2::Reason::CANCEL),
            Wire::One(conn) => {
                conn.reset_when_dropped()?;
                conn.cut()?;
            }
        }
        Ok(())
    }

    /// Waits until the other side has broken off.
    pub fn wait_gone(&mut self) -> io::Result<()> {
        match &mut self.wire {
            Wire::Many(stream) => stream.wait_reset().map(|_| ()),
            Wire::One(conn) => conn.read_to_end().map(|_| ()),
        }
    }
}

fn read_chunk(conn: &mut Conn, trailers: &mut Fields) -> io::Result<Option<Vec<u8>>> {
    let line = conn.read_until("\r\n")?;
    let size = String::from_utf8_lossy(&line);
    let size = usize::from_str_radix(size.trim_end(), 16).map_err(io::Error::other)?;
    if size > 0 {
        let mut piece = conn.read_exact(size + 2)?;
        piece.truncate(size);
        return Ok(Some(piece));
    }
    loop {
        let line = conn.read_until("\r\n")?;
        let line = String::from_utf8_lossy(&line);
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Ok(None);
        };
        trailers.push((name.to_owned(), value.to_owned()));
    }
}

/// Writes fields, the framing and the end of a head; without a body there is no framing.
fn write_fields(out: &mut String, fields: &[(&str, &str)], body: Body) {
    for (name, value) in fields {
        *out += &format!("{name}: {value}\r\n");
    }
    match body {
        Body::Length(length) => *out += &format!("Content-Length: {length}\r\n"),
        Body::Unknown => *out += "Transfer-Encoding: chunked\r\n",
        Body::Empty => {}
    }
    *out += "\r\n";
}

fn length(body: Body) -> Option<String> {
    match body {
        Body::Length(length) => Some(length.to_string()),
        Body::Empty | Body::Unknown => None,
    }
}

fn length_field(length: Option<&str>) -> Vec<(&'static str, &str)> {
    length.map(|l| ("content-length", l)).into_iter().collect()
}

/// An endpoint in either version that plays one script.
pub enum Peer {
    /// In HTTP/1.1.
    One(Server),
    /// In HTTP/2.
    Many(Endpoint),
}

impl Peer {
    /// Plays `script` for every request in HTTP/1.1, over TLS if there is a configuration for it.
    pub fn http1(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let serve = move |conn: &mut Conn, _: usize| {
            conn.set_deadline(std::time::Duration::from_secs(60));
            while let Some(mut exchange) = Exchange::accept_http1(conn)? {
                script(&mut exchange)?;
            }
            Ok(())
        };
        Self::One(match tls {
            Some(tls) => Server::start_tls(tls, serve),
            None => Server::start(serve),
        })
    }

    /// The same in HTTP/2.
    pub fn http2(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::http2_with(tls, Settings::default(), script)
    }

    /// The same with settings of one's own.
    pub fn http2_with(
        tls: Option<Arc<ServerConfig>>,
        settings: Settings,
        script: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let serve = move |stream: &mut Stream| {
            script(&mut Exchange::new(
                Wire::Many(Held::Lent(stream)),
                Body::Empty,
            ))
        };
        Self::Many(Endpoint::start_with(tls, settings, serve))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        match self {
            Self::One(server) => server.addr(),
            Self::Many(endpoint) => endpoint.addr(),
        }
    }
}
