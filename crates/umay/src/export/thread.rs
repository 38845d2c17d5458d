//! A thread beside the workers, with a runtime of its own, and how it is brought to its end.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Until when what is left may be sent; nothing while there is no end in sight.
pub(super) type Stopped = watch::Receiver<Option<Instant>>;

/// The thread.
#[derive(Debug)]
pub(super) struct Thread {
    stop: watch::Sender<Option<Instant>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Thread {
    /// Starts it, for what this makes.
    pub(super) fn start<F: Future<Output = ()>>(
        name: &str,
        live: impl FnOnce(Stopped) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(None);
        let (alive, ended) = sync_channel(0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(live(stopped));
                // A name that is still asked for is not waited for.
                runtime.shutdown_background();
                drop(alive);
            })?;
        Ok(Self { stop, ended })
    }

    /// Lets it send what is left, as far as that takes no longer than `patience`, and ends it. False if it has not
    /// ended by then.
    pub(super) fn stop(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.stop.send_replace(Some(deadline));
        // The thread needs a moment after its deadline to say that it has ended.
        let left = patience + Duration::from_millis(50);
        self.ended.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }
}
