//! HTTP/2 connections to an endpoint: each carries many requests at once, more are opened as they
//! fill up, and one that the endpoint wants to leave gets no more.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use tokio::sync::Notify;
use umay_core::model::{Http2, Limits};
use umay_core::reason::Reason;

use super::connect::{Connected, Took};
use super::room::Berth;
use super::{Failure, Link, Local, Share};
use crate::conn::{
    Answered, Conn, Deadline, Io, Millis, Pulse, SEND_BUFFER, Stream, Timers, Watch, Watched,
    header_list, until,
};
use crate::worker::Worker;

/// One worker's HTTP/2 connections to one endpoint.
#[derive(Default)]
pub(super) struct Multiplexes {
    open: RefCell<Vec<Rc<Multiplex>>>,
    /// One is being opened; whoever needs one waits for it.
    opening: Cell<bool>,
    opened: Notify,
    /// Times that opening has ended, and how it did the last time.
    round: Cell<u64>,
    failure: RefCell<Option<Failure>>,
    /// Whether the endpoint speaks HTTP/2, as the last connection has shown.
    pub(super) speaks: Cell<Option<bool>>,
}

/// A connection.
struct Multiplex {
    send: SendRequest<Bytes>,
    watch: Rc<Watch>,
    load: Rc<Load>,
}

/// What a connection has to do.
#[derive(Default)]
struct Load {
    streams: Cell<u32>,
    /// Since when there is no stream.
    idle_since: Cell<Millis>,
    closed: Cell<bool>,
}

/// A place for one request on a connection.
pub struct Ticket {
    lane: Lane,
    send: SendRequest<Bytes>,
    watch: Rc<Watch>,
    /// The connection was there already.
    pub reused: bool,
    /// How long it took to open; `None` if it was open.
    pub connect: Option<Took>,
    share: Rc<Share>,
    /// The connection is over TLS.
    pub secure: bool,
}

/// One of a connection's streams, counted.
struct Lane {
    load: Rc<Load>,
    timers: Rc<Timers>,
}

impl Lane {
    fn new(load: &Rc<Load>, timers: &Rc<Timers>) -> Self {
        load.streams.set(load.streams.get() + 1);
        Self {
            load: Rc::clone(load),
            timers: Rc::clone(timers),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let left = self.load.streams.get() - 1;
        self.load.streams.set(left);
        if left == 0 {
            self.load.idle_since.set(self.timers.now());
        }
    }
}

/// The answer to a request that was sent on a stream; keeps the stream's place.
pub struct Awaited {
    /// The head of the answer.
    pub response: ResponseFuture,
    /// The same, if it has come and nobody has taken it.
    come: Option<Box<Result<Answered, h2::Error>>>,
    _lane: Lane,
}

impl Awaited {
    /// The next head of an answer on its stream.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<Result<Answered, h2::Error>> {
        match self.come.take() {
            Some(come) => Poll::Ready(*come),
            None => stream.poll_response(cx, &mut self.response),
        }
    }

    /// Ready when there is one to take, or there will be none; true if there is.
    fn poll_come(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<bool> {
        let come = ready!(self.poll(cx, stream));
        let is_answer = come.is_ok();
        self.come = Some(Box::new(come));
        Poll::Ready(is_answer)
    }
}

impl Link {
    /// Ready when something of an answer has come, or will not; true if it has.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match (&mut self.awaited, self.conn.io_mut().stream_mut()) {
            (Some(awaited), Some(stream)) => awaited.poll_come(cx, stream),
            _ => self
                .conn
                .poll_fill(cx)
                .map(|read| read.is_ok_and(|count| count > 0)),
        }
    }
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Awaited")
    }
}

impl Ticket {
    /// True if a WebSocket can be asked for (RFC 8441).
    pub fn takes_websockets(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// Sends the head of the request; `end` if nothing follows it.
    pub fn send(mut self, head: http::Request<()>, end: bool) -> Result<Link, Failure> {
        let unsent = |error: h2::Error| {
            let detail = error.to_string();
            Failure::new(Reason::UpstreamRefusedStream, detail)
        };
        let (response, send) = self.send.send_request(head, end).map_err(unsent)?;
        let stream = Stream::requesting(send, end, self.watch);
        let conn = Conn::new(Io::Stream(Box::new(stream)), &self.share.worker.buffers);
        let awaited = Awaited {
            response,
            come: None,
            _lane: self.lane,
        };
        Ok(Link::on_stream(conn, awaited, self.reused, self.connect))
    }
}

impl Multiplex {
    fn room(&self, most: u32) -> bool {
        let theirs = u32::try_from(self.send.current_max_send_streams()).unwrap_or(u32::MAX);
        // Streams that the endpoint does not read can use up what it takes on the connection.
        let takes = !self.is_leaving() && !self.watch.is_dry();
        takes && self.load.streams.get() < most.min(theirs)
    }

    fn is_leaving(&self) -> bool {
        self.load.closed.get() || self.watch.last_stream().is_some()
    }
}

impl Multiplexes {
    /// Closes what has been idle too long, and forgets what is gone.
    pub(super) fn sweep(&self, worker: &Worker, left: bool) {
        self.open.borrow_mut().retain(|multiplex| {
            let load = &multiplex.load;
            let until = Timers::since(load.idle_since.get(), worker.timeouts.upstream_idle);
            let idle = load.streams.get() == 0;
            !(idle && (left || multiplex.is_leaving() || worker.timers.is_past(until)))
        });
    }

    /// True if there is room on one, or soon will be.
    pub(super) fn has_room(&self, most: u32) -> bool {
        let open = self.open.borrow();
        self.opening.get() || open.iter().any(|multiplex| multiplex.room(most))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }
}

/// Told that opening has ended, however it ends.
struct Opening<'a>(&'a Multiplexes);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.round.set(self.0.round.get() + 1);
        self.0.opened.notify_waiters();
    }
}

/// What became of the wish for an HTTP/2 connection.
pub(super) enum Turn<'a> {
    /// There is room on one.
    Ticket(Ticket),
    /// It is up to the caller to open one.
    Open(OpenTurn<'a>),
    /// The endpoint has turned out to speak HTTP/1 only.
    Http1,
}

/// The right to open a connection while others wait.
pub(super) struct OpenTurn<'a> {
    opening: Opening<'a>,
}

impl Share {
    /// Finds room for a request, or waits for the connection that is being opened.
    pub(super) async fn turn<'a>(
        self: &Rc<Self>,
        local: &'a Rc<Local>,
        deadline: &Deadline,
    ) -> Result<Turn<'a>, Failure> {
        let multiplexes = &local.multiplexes;
        deadline.set(self.worker.timeouts.connect);
        loop {
            if let Some(ticket) = self.ticket(local) {
                return Ok(Turn::Ticket(ticket));
            }
            if multiplexes.speaks.get() == Some(false) {
                return Ok(Turn::Http1);
            }
            if !multiplexes.opening.replace(true) {
                *multiplexes.failure.borrow_mut() = None;
                let opening = Opening(multiplexes);
                return Ok(Turn::Open(OpenTurn { opening }));
            }
            let round = multiplexes.round.get();
            let waited = until(deadline, multiplexes.opened.notified()).await;
            if waited.is_none() {
                let detail = "the connection that was being opened was not ready in time";
                return Err(Failure::new(Reason::ConnectTimeout, detail));
            }
            let failure = multiplexes.failure.borrow();
            if let (Some(failure), true) = (&*failure, multiplexes.round.get() == round + 1) {
                return Err(failure.clone());
            }
        }
    }

    /// A place on a connection that is open and has room.
    pub(super) fn ticket(self: &Rc<Self>, local: &Rc<Local>) -> Option<Ticket> {
        let most = self.worker.http2.max_streams;
        let open = local.multiplexes.open.borrow();
        let multiplex = open.iter().find(|multiplex| multiplex.room(most))?;
        self.worker.metrics.pool.reused.inc();
        Some(self.place_on(multiplex, local, true, None))
    }

    fn place_on(
        self: &Rc<Self>,
        multiplex: &Multiplex,
        local: &Local,
        reused: bool,
        connect: Option<Took>,
    ) -> Ticket {
        Ticket {
            lane: Lane::new(&multiplex.load, &self.worker.timers),
            send: multiplex.send.clone(),
            watch: Rc::clone(&multiplex.watch),
            reused,
            connect,
            share: Rc::clone(self),
            secure: local.endpoint.address.scheme.is_tls(),
        }
    }

    /// Begins HTTP/2 on a new connection and gives the first place on it. Waits for the endpoint's
    /// first frame, so that its settings are known, and that it speaks HTTP/2 at all.
    pub(super) async fn begin(
        self: &Rc<Self>,
        connected: Connected,
        local: &Local,
        deadline: &Deadline,
    ) -> Result<Ticket, Failure> {
        let Connected {
            conn,
            took,
            berth,
            life,
        } = connected;
        let worker = &self.worker;
        let watch = Watch::endpoint(&worker.timers);
        let io = Watched::new(conn, &watch);
        deadline.set(worker.timeouts.connect);
        let builder = builder(&worker.http2, &worker.limits);
        let shaken = until(deadline, builder.handshake(io)).await;
        let (send, mut connection) = match shaken {
            Some(Ok(pair)) => pair,
            Some(Err(error)) => return Err(no_http2(&error.to_string())),
            None => return Err(no_http2("no byte was taken")),
        };
        let greeted = poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                let detail = ended.map_or_else(|e| e.to_string(), |()| "it closed".to_owned());
                return Poll::Ready(Err(no_http2(&detail)));
            }
            if watch.poll_greeted(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let late = || Err(no_http2("no frame came in time"));
            deadline.poll(cx).map(|()| late())
        });
        greeted.await?;
        let multiplex = Rc::new(Multiplex {
            send,
            watch: Rc::clone(&watch),
            load: Rc::new(Load {
                idle_since: Cell::new(worker.timers.now()),
                ..Load::default()
            }),
        });
        let over = Over {
            load: Rc::clone(&multiplex.load),
            worker: Rc::clone(worker),
        };
        life.hand_over();
        let driven = drive(connection, watch, over, berth);
        self.drivers.borrow_mut().spawn_local(driven);
        let open = &local.multiplexes.open;
        open.borrow_mut().push(Rc::clone(&multiplex));
        Ok(self.place_on(&multiplex, local, false, Some(took)))
    }
}

impl OpenTurn<'_> {
    /// Tells those who wait that it went wrong, and why.
    pub(super) fn failed(self, failure: &Failure) {
        *self.opening.0.failure.borrow_mut() = Some(failure.clone());
    }

    /// Tells those who wait what the endpoint speaks.
    pub(super) fn speaks(self, http2: bool) {
        self.opening.0.speaks.set(Some(http2));
    }
}

fn no_http2(detail: &str) -> Failure {
    let detail = format!("HTTP/2 did not begin: {detail}");
    Failure::new(Reason::UpstreamMalformed, detail)
}

fn builder(http2: &Http2, limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    let most = u64::from(http2.stream_window) * u64::from(http2.max_streams);
    let window = u32::try_from(most.min((1 << 31) - 1)).unwrap_or(u32::MAX);
    builder
        .enable_push(false)
        .initial_window_size(http2.stream_window)
        .initial_connection_window_size(window.max(http2.connection_window))
        .initial_max_send_streams(http2.max_streams as usize)
        .max_frame_size(http2.max_frame)
        .max_header_list_size(header_list(http2, limits))
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// Tells that a connection is over, however that came.
struct Over {
    load: Rc<Load>,
    worker: Rc<Worker>,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.load.closed.set(true);
        self.worker.metrics.pool.closed.inc();
    }
}

/// Keeps a connection going until it ends.
async fn drive(
    mut connection: Connection<Watched, Bytes>,
    watch: Rc<Watch>,
    over: Over,
    _berth: Option<Berth>,
) {
    let Over { load, worker } = &over;
    let deadline = worker.timers.deadline();
    let mut pulse = Pulse::new(
        &watch,
        &worker.timers,
        connection.ping_pong(),
        &worker.http2,
        worker.timeouts.send,
    );
    poll_fn(|cx| {
        // How it ended is told to each of its streams.
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if pulse.poll(cx, load.streams.get() > 0).is_ready() {
            return Poll::Ready(());
        }
        deadline.set_at(pulse.until);
        if deadline.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}
