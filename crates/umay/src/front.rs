//! The way of a connection from its accept to the room that serves it: detect, open TLS, detect
//! again, and hand it over.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};
use umay_core::detect::{ClientHello, Hello, Verdict, client_hello};
use umay_core::model::Protocol;
use umay_core::reason::Reason;

use crate::conn::{Conn, Deadline, Io, Plain, until};
use crate::detect::{Found, GRACE, detect};
use crate::drain::Open;
use crate::http::Http;
use crate::site::Client;
use crate::story::Story;
use crate::tcp::{Stream, Tcp};
use crate::telemetry::metrics::Detected;
use crate::tls::{self, Choice, PeerFacts, ServerTls};
use crate::upstream::Upstreams;
use crate::worker::Worker;

/// What one worker does with the connections that it accepts.
#[derive(Debug)]
pub struct Front {
    worker: Rc<Worker>,
    http: Rc<Http>,
    tcp: Tcp,
}

impl Front {
    /// The front of this worker.
    pub fn new(worker: &Rc<Worker>, upstreams: &Rc<Upstreams>) -> Rc<Self> {
        Rc::new(Self {
            worker: Rc::clone(worker),
            http: Http::new(worker, upstreams),
            tcp: Tcp::new(worker, upstreams),
        })
    }

    /// What takes its place, with these.
    pub fn succeed(&self, worker: &Rc<Worker>, upstreams: &Rc<Upstreams>) -> Rc<Self> {
        Rc::new(Self {
            worker: Rc::clone(worker),
            http: self.http.succeed(worker, upstreams),
            tcp: Tcp::new(worker, upstreams),
        })
    }

    /// Serves a connection from its accept to its end. It is counted as `open` from the accept on, for a worker that
    /// has nothing open may end.
    pub async fn serve(self: Rc<Self>, stream: TcpStream, client: Client, open: Open) {
        let _open = open;
        let _active = self.worker.metrics.connections.active.hold();
        let arrival = Box::new(Arrival {
            client,
            conn: Conn::new(Io::Plain(Plain::new(stream)), &self.worker.buffers),
            deadline: self.worker.timers.deadline(),
        });
        // Boxed: what leads to the serving room needs much for a moment, and a connection that
        // waits for its next request little for long.
        let Some((arrival, found)) = Box::pin(self.arrive(arrival)).await else {
            return;
        };
        if !arrival.is_http(found) {
            return Box::pin(self.hand_over(arrival, found)).await;
        }
        let Arrival {
            client,
            conn,
            deadline,
        } = *arrival;
        let mut connection = self.http.connection(client, conn, deadline);
        connection.serve().await;
    }

    /// Finds out what a connection speaks, inside of TLS if there is TLS. `None` if it is over.
    async fn arrive(&self, mut arrival: Box<Arrival>) -> Option<(Box<Arrival>, Found)> {
        let site = Arc::clone(&arrival.client.site);
        let table = &site.table;
        if table.only_stream() && site.tls.is_none() && !table.has_passthrough() {
            return Some((arrival, Found::Spoken(Verdict::Opaque)));
        }
        let found = self.detect(&mut arrival).await;
        if found != Found::Spoken(Verdict::Tls) {
            return Some((arrival, found));
        }
        // Boxed, for a handshake needs ten times what the rest of this does.
        let mut arrival = Box::new(Box::pin(self.tls(*arrival)).await?);
        let spoken = arrival
            .client
            .tls
            .as_ref()
            .and_then(|tls| tls.alpn.as_deref());
        let found = match spoken {
            Some(b"h2") => self.told(Detected::Http2, Verdict::Http2),
            Some(b"http/1.1" | b"http/1.0") => self.told(Detected::Http1, Verdict::Http1),
            _ if table.only_stream() => Found::Spoken(Verdict::Opaque),
            _ => self.detect(&mut arrival).await,
        };
        Some((arrival, found))
    }

    /// What ALPN has told needs no look at bytes, but counts as well.
    fn told(&self, what: Detected, verdict: Verdict) -> Found {
        self.worker.metrics.detection.done(what, Duration::ZERO);
        Found::Spoken(verdict)
    }

    async fn detect(&self, arrival: &mut Arrival) -> Found {
        let stream = arrival.client.stream_route(Protocol::Tcp);
        let silent = stream.map(|route| {
            let wait = self.worker.timeouts.detect;
            if route.is_server_first(&arrival.client) {
                wait.min(GRACE)
            } else {
                wait
            }
        });
        detect(&self.worker, &mut arrival.conn, silent, &arrival.deadline).await
    }

    /// Gives a connection that is not HTTP/1 to the room that serves it, or refuses it.
    async fn hand_over(&self, arrival: Box<Arrival>, found: Found) {
        let Arrival {
            client,
            mut conn,
            deadline,
        } = *arrival;
        let (proto, protocol) = match found {
            Found::Gone => return conn.close(&deadline).await,
            Found::Spoken(Verdict::Http2) if client.site.table.serves_http() => {
                return Box::pin(self.http.multiplexed(client, conn, deadline)).await;
            }
            Found::Spoken(Verdict::Mqtt) => ("mqtt", Protocol::Mqtt),
            Found::Spoken(_) | Found::Silent | Found::Stalled => ("tcp", Protocol::Tcp),
        };
        if let Some(route) = client.stream_route(protocol) {
            let stream = Stream {
                client: &client,
                conn,
                proto,
                route,
            };
            return self.tcp.serve(stream, &deadline).await;
        }
        let reason = match found {
            Found::Silent | Found::Stalled => Reason::DetectTimeout,
            Found::Spoken(_) | Found::Gone => Reason::NoRoute,
        };
        self.refuse(&client, proto, reason, "");
        conn.close(&deadline).await;
    }

    fn refuse(&self, client: &Client, proto: &'static str, reason: Reason, detail: &str) {
        Story::of(proto).tell(&self.worker, client, reason, detail);
    }

    /// Opens TLS, or passes it through. `None` if the connection is over.
    async fn tls(&self, arrival: Arrival) -> Option<Arrival> {
        let Arrival {
            client,
            mut conn,
            deadline,
        } = arrival;
        deadline.set(self.worker.timeouts.handshake);
        let hello = match self.hello(&mut conn, &deadline).await {
            Ok(hello) => hello,
            Err((reason, detail)) => {
                self.worker.metrics.tls.failed(reason);
                self.refuse(&client, "tls", reason, detail);
                return None;
            }
        };
        let site = Arc::clone(&client.site);
        let table = &site.table;
        let sni = hello.sni.as_deref();
        let raw = match &site.tls {
            _ if table.has_passthrough() && table.match_passthrough(sni).is_some() => {
                table.match_passthrough(sni)
            }
            Some(tls) => return self.handshake(client, conn, deadline, tls, &hello).await,
            // TLS is as good as any other bytes for a stream.
            None => table.match_stream(Protocol::Tcp, sni, None),
        };
        let route = raw.and_then(|idx| site.route(idx));
        let Some(route) = route.filter(|route| route.takes_streams()) else {
            // A fatal alert: handshake_failure.
            const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
            self.refuse(&client, "tls", Reason::TlsNotConfigured, "");
            self.last_words(conn, &ALERT, &deadline).await;
            return None;
        };
        let stream = Stream {
            client: &client,
            conn,
            proto: "tls",
            route,
        };
        self.tcp.serve(stream, &deadline).await;
        None
    }

    async fn handshake(
        &self,
        client: Client,
        conn: Conn,
        deadline: Deadline,
        tls: &ServerTls,
        hello: &ClientHello,
    ) -> Option<Arrival> {
        let metrics = &self.worker.metrics.tls;
        let config = match tls.choose(hello.sni.as_deref(), &hello.alpn) {
            Choice::Accept { config, .. } => Arc::clone(config),
            Choice::Refuse {
                reason,
                alert,
                detail,
            } => {
                metrics.failed(reason);
                self.refuse(&client, "tls", reason, &detail);
                self.last_words(conn, &alert, &deadline).await;
                return None;
            }
        };
        let started = Instant::now();
        let (plain, buffers) = conn.into_plain()?;
        let accept = TlsAcceptor::from(config).accept(plain);
        // The deadline that was set for the hello is for the whole handshake.
        let (reason, detail) = match until(&deadline, accept).await {
            Some(Ok(stream)) => {
                let facts = PeerFacts::of(stream.get_ref().1);
                metrics.done(facts.version, facts.resumed, started.elapsed());
                let io = Io::Tls(Box::new(TlsStream::from(stream)));
                return Some(Arrival {
                    client: Client {
                        tls: Some(Box::new(facts)),
                        ..client
                    },
                    conn: Conn::new(io, &buffers),
                    deadline,
                });
            }
            Some(Err(error)) => tls::accept_reason(&error),
            None => (Reason::HandshakeTimeout, String::new()),
        };
        metrics.failed(reason);
        self.refuse(&client, "tls", reason, &detail);
        None
    }

    /// Sends bytes and ends the connection.
    async fn last_words(&self, mut conn: Conn, bytes: &[u8], deadline: &Deadline) {
        // Whether they arrive or not, the connection ends.
        let _ = conn
            .write_all(bytes, deadline, self.worker.timeouts.send)
            .await;
        conn.linger(deadline).await;
    }

    /// Reads the ClientHello, which stays with the connection.
    async fn hello(
        &self,
        conn: &mut Conn,
        deadline: &Deadline,
    ) -> Result<ClientHello, (Reason, &'static str)> {
        let read = poll_fn(|cx| {
            loop {
                match client_hello(conn.unread()) {
                    Hello::Hello(hello) => return Poll::Ready(Ok(hello)),
                    Hello::Malformed(word) => return Poll::Ready(Err(word)),
                    Hello::NeedMore if conn.is_full() => return Poll::Ready(Err("hello_too_long")),
                    Hello::NeedMore => {}
                }
                match ready!(conn.poll_fill(cx)) {
                    Ok(count) if count > 0 => {}
                    _ => return Poll::Ready(Err("the client left")),
                }
            }
        });
        match until(deadline, read).await {
            Some(read) => read.map_err(|word| (Reason::HandshakeFailed, word)),
            None => Err((Reason::HandshakeTimeout, "the hello took too long")),
        }
    }
}

/// A connection that is being looked at.
#[derive(Debug)]
struct Arrival {
    client: Client,
    conn: Conn,
    deadline: Deadline,
}

impl Arrival {
    /// True for HTTP/1, also if it has gone wrong: where no stream can go on, what is not anything
    /// else can only be that, and the HTTP room says what is wrong with it.
    fn is_http(&self, found: Found) -> bool {
        let nothing_else = || self.client.stream_route(Protocol::Tcp).is_none();
        let http = match found {
            Found::Spoken(Verdict::Http1) => true,
            Found::Spoken(Verdict::Opaque) | Found::Stalled => nothing_else(),
            Found::Spoken(_) | Found::Silent | Found::Gone => false,
        };
        http && self.client.site.table.serves_http()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    fn size_with<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// What a connection costs for as long as it is open, besides its TLS state: each of ten
    /// thousand idle ones pays for it.
    #[test]
    fn connections_stay_small() {
        let serve = size_with(Front::serve);
        assert!(serve <= 640, "a connection's task has {serve} bytes");
        let stream = size(Front::hand_over);
        assert!(stream <= 1664, "a stream needs {stream} bytes more");
    }
}
