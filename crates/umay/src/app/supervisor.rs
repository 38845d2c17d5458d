//! What systemd, or another supervisor that speaks its protocol (`sd_notify(3)`), is told of the process. Nobody is
//! told unless `NOTIFY_SOCKET` says whom.

use sd_notify::NotifyState;

/// Requests are served: at first, or again after a reload.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] says that that is over, whatever came of it.
pub(super) fn reloading() {
    // Needed by `Type=notify-reload`.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Another process serves from now on.
pub(super) fn main_process(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// The process ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor could not be told");
    }
}
