//! One message on its way: sent, and sent again while that may help (OTLP, "Failures").

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout_at};

use super::answer::{Accepted, Failed};
use super::client::{Client, Signal};
use super::thread::Stopped;
use crate::telemetry::metrics::SharedCounter;

/// The first wait before a message is tried again, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What sends messages of one signal.
pub(super) struct Delivery {
    client: Client,
    signal: Signal,
    stopped: Stopped,
    random: RandomState,
}

impl Delivery {
    pub(super) fn new(client: Client, signal: Signal, stopped: Stopped) -> Self {
        Self {
            client,
            signal,
            stopped,
            random: RandomState::new(),
        }
    }

    /// Where the collector is, for people.
    pub(super) fn place(&self) -> String {
        self.client.place()
    }

    /// True if the end has been asked for.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// When it has to be over, if it has to.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *self.stopped.borrow()
    }

    /// Returns when the end is asked for.
    pub(super) async fn end(&mut self) {
        // An error is that nobody is left who could ask.
        let _ = self.stopped.changed().await;
    }

    /// Sends a message, again and again if need be. Each try that fails is added to `failures`; what is returned in the
    /// end could be tried again only if there were time. No try begins after `given_up`.
    pub(super) async fn deliver(
        &mut self,
        message: &[u8],
        given_up: Instant,
        failures: &SharedCounter,
    ) -> Result<Accepted, Failed> {
        let mut wait = FIRST_WAIT;
        loop {
            let failed = match self.send(message).await {
                Ok(accepted) => return Ok(accepted),
                Err(failed) => failed,
            };
            failures.add(1);
            let Some(again) = failed.again else {
                return Err(failed);
            };
            let pause = again.max(self.jittered(wait));
            wait = (wait * 2).min(LONGEST_WAIT);
            let until = Instant::now() + pause;
            let last = self.deadline().unwrap_or(given_up).min(given_up);
            if until >= last || !self.pause(until).await {
                return Err(failed);
            }
        }
    }

    /// Waits; false if there is no time left for that. An end that is asked for meanwhile ends the wait.
    async fn pause(&mut self, until: Instant) -> bool {
        let was_stopped = self.deadline().is_some();
        tokio::select! {
            () = sleep_until(until.into()) => true,
            _ = self.stopped.changed(), if !was_stopped => {
                self.deadline().is_none_or(|deadline| Instant::now() < deadline)
            }
        }
    }

    /// Sends a message, for no longer than the process lives on. An end may be asked for while it is under way.
    async fn send(&mut self, message: &[u8]) -> Result<Accepted, Failed> {
        let mut stopped = self.stopped.clone();
        let mut sent = std::pin::pin!(self.client.send(self.signal, message));
        if stopped.borrow_and_update().is_none() {
            tokio::select! {
                came = &mut sent => return came,
                _ = stopped.changed() => {}
            }
        }
        let deadline = *stopped.borrow();
        let deadline = deadline.unwrap_or_else(Instant::now);
        let late = |_| Err(Failed::for_now("the process ends"));
        timeout_at(deadline.into(), sent).await.unwrap_or_else(late)
    }

    /// Half of a time and a random part of the other half.
    pub(super) fn jittered(&self, wait: Duration) -> Duration {
        let half = wait / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(self.random.hash_one(Instant::now()) % nanos)
    }
}
