//! A client's HTTP/1 connection: wait, read a head, answer it, and again.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use umay_core::reason::Reason;
use umay_h1::{self as h1, Scan};

use super::exchange::{Exchange, Head, Next};
use super::record::Record;
use super::scratch::Scratch;
use super::{Http, head_limits};
use crate::conn::{Conn, Deadline};
use crate::drain::Phase;
use crate::site::Client;

/// A client's connection.
pub struct Connection(Exchange);

impl Connection {
    pub(super) fn new(http: &Rc<Http>, client: Client, conn: Conn, deadline: Deadline) -> Self {
        Self(Exchange {
            http: Rc::clone(http),
            client: Rc::new(client),
            conn,
            deadline,
        })
    }

    /// Serves requests until the connection is to end, and ends it.
    pub async fn serve(&mut self) {
        let next = loop {
            if self.0.conn.unread().is_empty() && !self.wait().await {
                break Next::Close;
            }
            let mut scratch = self.0.http.scratches.take();
            // Boxed: an exchange needs ten times what waiting for the next one does, and most
            // connections wait. The box costs less than a hundredth of the exchange.
            let next = Box::pin(self.exchange(&mut scratch)).await;
            self.0.http.scratches.give_back(scratch);
            if next != Next::Again {
                break next;
            }
        };
        let (conn, deadline) = (&mut self.0.conn, &self.0.deadline);
        match next {
            Next::Again | Next::Close => conn.close(deadline).await,
            Next::Linger => conn.linger(deadline).await,
            Next::Reset => conn.reset(),
            Next::Cut => {}
        }
    }

    /// Waits for the first byte of a request, holding nothing. False if the connection is to end.
    async fn wait(&mut self) -> bool {
        let Exchange {
            http,
            client,
            conn,
            deadline,
        } = &mut self.0;
        deadline.set_idle(http.worker.timeouts.keep_alive);
        let came = poll_fn(|cx| {
            if let Poll::Ready(filled) = conn.poll_fill(cx) {
                return Poll::Ready(filled.is_ok_and(|count| count > 0));
            }
            // An old configuration is not to be held by who only waits.
            Exchange::go_over(http, client);
            let phase = client.phase(http.worker.drain.phase());
            if deadline.is_shed() || phase >= Phase::Draining {
                return Poll::Ready(false);
            }
            deadline.poll(cx).map(|()| false)
        })
        .await;
        deadline.set_busy();
        came
    }

    /// One request and its answer.
    async fn exchange(&mut self, scratch: &mut Scratch) -> Next {
        let mut record = Record::new();
        self.0.renew();
        let Some(head) = self.read_head(scratch, &mut record).await else {
            return Next::Close;
        };
        if !matches!(head, Head::Whole) {
            scratch.request.clear();
        }
        self.0.run(scratch, head, &mut record).await
    }

    /// Reads a head; `None` if the client left, or was asked to leave, without having asked for
    /// anything.
    async fn read_head(&mut self, scratch: &mut Scratch, record: &mut Record) -> Option<Head> {
        let Exchange {
            http,
            conn,
            deadline,
            ..
        } = &mut self.0;
        let worker = &http.worker;
        let limits = head_limits(&worker.limits);
        let mut scan = Scan::default();
        deadline.set(worker.timeouts.header);
        let mut waited = false;
        let head = poll_fn(|cx| {
            loop {
                match h1::parse_request(conn.unread(), &mut scan, &limits, &mut scratch.request) {
                    Ok(Some(length)) => {
                        conn.consume(length);
                        return Poll::Ready(Some(Head::Whole));
                    }
                    Ok(None) => {}
                    Err(malformed) => {
                        let (reason, what) = (malformed.reason(), malformed.what());
                        return Poll::Ready(Some(Head::Refused(reason, what)));
                    }
                }
                if conn.is_full() {
                    conn.compact();
                }
                match conn.poll_fill(cx) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    // An empty line and no more is no request.
                    Poll::Ready(_) if conn.unread().trim_ascii().is_empty() => {
                        return Poll::Ready(None);
                    }
                    Poll::Ready(_) => return Poll::Ready(Some(Head::Gone)),
                    Poll::Pending => break,
                }
            }
            if worker.drain.phase() == Phase::Cutting {
                return Poll::Ready(Some(Head::Refused(Reason::Draining, "")));
            }
            waited = true;
            let late = || Head::Refused(Reason::RequestTimeout, "the head took too long");
            deadline.poll(cx).map(|()| Some(late()))
        })
        .await;
        // Most heads come at once, and need no look at the clock.
        record.header = waited.then(|| record.started.elapsed());
        deadline.set_busy();
        head
    }
}
