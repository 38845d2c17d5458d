//! Whether the peer of an HTTP/2 connection is still there: one that is silent while it has work is
//! asked for a sign of life (PING), and one that takes nothing is not waited for for ever.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use umay_core::model::Http2;

use super::{Millis, NEVER, Timers, Watch};

/// The pulse of one connection.
pub struct Pulse {
    watch: Rc<Watch>,
    timers: Rc<Timers>,
    pinger: Option<PingPong>,
    /// A sign of life is waited for until then.
    pong_until: Option<Millis>,
    interval: Duration,
    patience: Duration,
    send: Duration,
    /// When it has to be looked at again.
    pub until: Millis,
}

impl Pulse {
    /// For a connection whose peer may take no byte for `send`.
    pub fn new(
        watch: &Rc<Watch>,
        timers: &Rc<Timers>,
        pinger: Option<PingPong>,
        http2: &Http2,
        send: Duration,
    ) -> Self {
        Self {
            watch: Rc::clone(watch),
            timers: Rc::clone(timers),
            pinger,
            pong_until: None,
            interval: http2.ping_interval,
            patience: http2.ping_timeout,
            send,
            until: NEVER,
        }
    }

    /// Ready when the peer is given up. `busy` says that something is expected of it.
    pub fn poll(&mut self, cx: &mut Context<'_>, busy: bool) -> Poll<()> {
        if let (Some(pinger), Some(_)) = (&mut self.pinger, self.pong_until)
            && let Poll::Ready(pong) = pinger.poll_pong(cx)
        {
            self.pong_until = None;
            if pong.is_err() {
                self.pinger = None;
            }
        }
        let stuck = self.watch.stuck();
        let stuck = stuck.map_or(NEVER, |then| Timers::since(then, self.send));
        let pong = self.pong_until.unwrap_or(NEVER);
        if self.timers.is_past(stuck.min(pong)) {
            return Poll::Ready(());
        }
        let mut silent = match &self.pinger {
            Some(_) if busy && self.pong_until.is_none() => {
                Timers::since(self.watch.heard(), self.interval)
            }
            _ => NEVER,
        };
        if self.timers.is_past(silent)
            && let Some(pinger) = &mut self.pinger
        {
            match pinger.send_ping(Ping::opaque()) {
                Ok(()) => self.pong_until = Some(self.timers.after(self.patience)),
                Err(_) => self.pinger = None,
            }
            // It has to be sent.
            cx.waker().wake_by_ref();
            silent = self.pong_until.unwrap_or(NEVER);
        }
        self.until = stuck.min(pong).min(silent);
        Poll::Pending
    }
}
