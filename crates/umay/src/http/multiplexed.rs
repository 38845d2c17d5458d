//! A client's HTTP/2 connection (RFC 9113): its streams are taken as they come, each is an exchange
//! in a task of its own, and the connection is watched: for floods, for silence, for a drain.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use tokio::task::JoinSet;
use umay_core::model::{Http2, Limits};
use umay_core::reason;

use super::Http;
use super::exchange::{Exchange, Head, Next};
use super::head2::{self, Arrived};
use super::record::Record;
use super::scratch::Scratch;
use crate::conn::{
    Conn, Deadline, Io, Millis, NEVER, Pulse, SEND_BUFFER, Stream, Timers, Watch, Watched,
    header_list, until,
};
use crate::drain::Phase;
use crate::site::Client;
use crate::story::Story;

/// A connection and its streams.
struct Multiplexed {
    http: Rc<Http>,
    client: Rc<Client>,
    connection: h2::server::Connection<Watched, Bytes>,
    streams: JoinSet<()>,
    watch: Rc<Watch>,
    deadline: Deadline,
    pulse: Pulse,
    /// Since when there is no stream.
    idle_since: Option<Millis>,
    /// The connection's window, for all streams.
    window: u32,
    /// There has been a stream.
    used: bool,
    leaving: bool,
    /// Cut off, or about to be.
    over: Option<(reason::Reason, String)>,
}

impl Http {
    /// Serves a client's connection that speaks HTTP/2, from its preface on.
    pub async fn multiplexed(self: &Rc<Self>, client: Client, conn: Conn, deadline: Deadline) {
        let worker = &self.worker;
        let watch = Watch::client(&worker.timers, worker.http2.allowance);
        let io = Watched::new(conn, &watch);
        deadline.set(worker.timeouts.header);
        let builder = builder(&worker.http2, &worker.limits);
        let shaken = until(&deadline, builder.handshake(io)).await;
        let mut connection = match shaken {
            Some(Ok(connection)) => connection,
            Some(Err(error)) => return self.broken(&client, &error.to_string()),
            None => {
                let detail = "the preface took too long";
                let story = Story::of("http/2");
                return story.tell(worker, &client, reason::Reason::RequestTimeout, detail);
            }
        };
        let mut multiplexed = Multiplexed {
            http: Rc::clone(self),
            client: Rc::new(client),
            pulse: Pulse::new(
                &watch,
                &worker.timers,
                connection.ping_pong(),
                &worker.http2,
                worker.timeouts.send,
            ),
            connection,
            streams: JoinSet::new(),
            watch,
            deadline,
            idle_since: None,
            window: worker.http2.connection_window,
            used: false,
            leaving: false,
            over: None,
        };
        poll_fn(|cx| multiplexed.poll(cx)).await;
        multiplexed.end().await;
    }

    fn broken(&self, client: &Client, detail: &str) {
        let story = Story::of("http/2");
        story.tell(
            &self.worker,
            client,
            reason::Reason::ConnectionBroken,
            detail,
        );
    }
}

fn builder(http2: &Http2, limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .max_concurrent_streams(http2.max_streams)
        .max_frame_size(http2.max_frame)
        .max_header_list_size(header_list(http2, limits))
        .max_send_buffer_size(SEND_BUFFER)
        // What the watch counts it counts better: by time, and with a word for each.
        .max_pending_accept_reset_streams(http2.allowance.resets as usize)
        .max_local_error_reset_streams(None)
        .enable_connect_protocol();
    builder
}

/// Which word says why the library gave a connection up. It has caps of its own, and says in GOAWAY
/// which of them it was.
fn why_broken(words: &[u8]) -> reason::Reason {
    let all: [(&[u8], _); 4] = [
        (b"too_many_cont", reason::Reason::ContinuationFlood),
        (b"too_many_data", reason::Reason::EmptyDataFlood),
        (b"too_many_rese", reason::Reason::RapidReset),
        (b"header_list_w", reason::Reason::RequestHeadTooLarge),
    ];
    let found = all.iter().find(|(name, _)| words.starts_with(name));
    found.map_or(reason::Reason::ConnectionBroken, |(_, reason)| *reason)
}

impl Multiplexed {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Exchange::go_over(&mut self.http, &mut self.client);
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.accept(request, respond);
                    self.look();
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.fail(error.to_string());
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            let caught = self.look();
            if !(caught | self.leave()) {
                break;
            }
        }
        while let Poll::Ready(Some(_)) = self.streams.poll_join_next(cx) {}
        if self.http.worker.drain.phase() == Phase::Cutting && self.streams.is_empty() {
            return Poll::Ready(());
        }
        self.poll_life(cx)
    }

    /// Looks at what the watch has seen; true if there is something to be sent for it.
    fn look(&mut self) -> bool {
        let silent = self.watch.take_silent();
        for (count, reason, detail) in [
            (
                silent.malformed,
                reason::Reason::RequestMalformed,
                "a stream was reset for breaking the rules of HTTP/2",
            ),
            (
                silent.refused,
                reason::Reason::TooManyStreams,
                "a stream beyond the cap was refused",
            ),
            (
                silent.too_large,
                reason::Reason::RequestHeadTooLarge,
                "a stream was refused for its head",
            ),
        ] {
            for _ in 0..count {
                let story = Story::of("http/2");
                story.tell(&self.http.worker, &self.client, reason, detail);
            }
        }
        if let (Some(abuse), None) = (self.watch.abuse(), &self.over) {
            self.over = Some((abuse.reason(), String::new()));
            self.leaving = true;
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            return true;
        }
        false
    }

    fn fail(&mut self, detail: String) {
        // What the library gave up for may have been seen coming.
        self.look();
        if let (None, Some(words)) = (&self.over, self.watch.ended()) {
            self.over = Some((why_broken(&words), detail));
        }
    }

    /// Says that no more streams are taken, once that is so; true if that has to be sent.
    fn leave(&mut self) -> bool {
        let phase = self.client.phase(self.http.worker.drain.phase());
        let shed = self.deadline.is_shed();
        // Whoever has just come, when another process began to accept, would have come for nothing.
        let over = phase >= Phase::Draining || (phase == Phase::Succeeded && self.used);
        if self.leaving || !(over || shed) {
            return false;
        }
        self.leaving = true;
        self.connection.graceful_shutdown();
        true
    }

    /// Takes a stream.
    fn accept(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.used = true;
        let (head, recv) = request.into_parts();
        let ended = recv.is_end_stream();
        let stream = Stream::serving(recv, respond, Rc::clone(&self.watch));
        self.widen();
        let worker = &self.http.worker;
        let mut exchange = Exchange {
            http: Rc::clone(&self.http),
            client: Rc::clone(&self.client),
            conn: Conn::new(Io::Stream(Box::new(stream)), &worker.buffers),
            deadline: worker.timers.deadline(),
        };
        exchange.renew();
        let mut scratch = self.http.scratches.take();
        let head = self.read_head(&head, ended, &mut scratch);
        // Boxed: a task is moved several times on its way into and out of the runtime.
        self.streams
            .spawn_local(Box::pin(serve(exchange, scratch, head)));
    }

    fn read_head(&self, head: &http::request::Parts, ended: bool, scratch: &mut Scratch) -> Head {
        let worker = &self.http.worker;
        let trusted = &self.client.site.listener.trusted_proxies;
        let peer = self.client.peer.ip();
        let schemes: &[&str] = match self.client.tls {
            // Who is trusted may speak for another connection.
            _ if trusted.iter().any(|net| net.contains(&peer)) => &["http", "https"],
            Some(_) => &["https"],
            None => &["http"],
        };
        let arrived = Arrived {
            ended,
            schemes,
            random: worker.random_128(),
        };
        match head2::request_in(head, &arrived, &worker.limits, &mut scratch.request) {
            Ok(()) => Head::Whole,
            Err((reason, detail)) => Head::Refused(reason, detail),
        }
    }

    /// Gives the connection's window room for all bodies that may come: those that nobody takes must
    /// not use up the room of the others. What one of them can hold is capped by its own window.
    fn widen(&mut self) {
        const MOST: u32 = (1 << 31) - 1;
        let http2 = &self.http.worker.http2;
        let all = self.watch.uploads().saturating_mul(http2.stream_window);
        let window = all.max(http2.connection_window).min(MOST);
        if std::mem::replace(&mut self.window, window) != window {
            self.connection.set_target_window_size(window);
        }
    }

    /// Ready when the connection is to be dropped: nothing is done on it, or nobody is there.
    fn poll_life(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let worker = &self.http.worker;
        let idle = self.streams.is_empty();
        if self.pulse.poll(cx, !idle).is_ready() {
            let detail = "no answer to a PING, or no byte taken".to_owned();
            self.over = Some((reason::Reason::ConnectionUnresponsive, detail));
            return Poll::Ready(());
        }
        let now = worker.timers.now();
        self.idle_since = idle.then(|| self.idle_since.unwrap_or(now));
        let idle_until = self
            .idle_since
            .map_or(NEVER, |then| Timers::since(then, worker.http2.idle));
        if worker.timers.is_past(idle_until) {
            // It had its time to go after the first word.
            if std::mem::replace(&mut self.leaving, true) {
                return Poll::Ready(());
            }
            self.idle_since = Some(now);
            self.connection.graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        if idle && !self.leaving {
            self.deadline.set_idle(worker.http2.idle);
        } else {
            self.deadline.set_busy();
        }
        self.deadline.set_at(self.pulse.until.min(idle_until));
        if self.deadline.poll(cx).is_ready() {
            // What that means is found out above.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Lets the streams tell what became of them, and tells what became of the connection.
    async fn end(mut self) {
        self.look();
        // They have all been told: the connection is gone.
        drop(self.connection);
        while self.streams.join_next().await.is_some() {}
        if let Some((reason, detail)) = self.over {
            let story = Story::of("http/2");
            story.tell(&self.http.worker, &self.client, reason, &detail);
        }
    }
}

/// Serves one stream.
async fn serve(mut exchange: Exchange, mut scratch: Box<Scratch>, head: Head) {
    let next = exchange.run(&mut scratch, head, &mut Record::new()).await;
    exchange.http.scratches.give_back(scratch);
    match next {
        Next::Again | Next::Close => {}
        // A reset on the heels of an answer makes some clients forget the answer.
        Next::Linger => exchange.conn.linger(&exchange.deadline).await,
        Next::Cut | Next::Reset => exchange.conn.reset(),
    }
}
