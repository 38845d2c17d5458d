//! What became of configurations.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;

use super::cell::SharedCounter;
use super::encode::seconds;
use super::page::Page;

/// What became of configurations that were read, the first and those that were read while the process ran.
#[derive(Debug, Default)]
pub struct ConfigMetrics {
    reloaded: SharedCounter,
    refused: SharedCounter,
    /// The last one that was read is not served.
    is_refused: AtomicBool,
    served: ArcSwapOption<Served>,
}

/// The one that is served.
#[derive(Debug)]
struct Served {
    since: SystemTime,
    sha256: LazyLock<String, Box<dyn FnOnce() -> String + Send>>,
}

impl ConfigMetrics {
    /// A configuration is served from now on; `sha256` is that of what `umay config show` prints, in hexadecimal. It
    /// is asked for with the first scrape: with ten thousand routes that takes a while, which no start is to wait for.
    pub fn serve(&self, sha256: impl FnOnce() -> String + Send + 'static) {
        let since = SystemTime::now();
        let sha256 = LazyLock::new(Box::new(sha256) as Box<_>);
        self.served.store(Some(Served { since, sha256 }.into()));
    }

    /// Counts one that was read while the process ran, and is served.
    pub fn reload(&self) {
        self.reloaded.add(1);
        self.is_refused.store(false, Relaxed);
    }

    /// Counts one that was read while the process ran, and is not served.
    pub fn refuse(&self) {
        self.refused.add(1);
        self.is_refused.store(true, Relaxed);
    }

    /// Those that were read while the process ran: served, and refused.
    pub fn reloads(&self) -> (u64, u64) {
        (self.reloaded.get(), self.refused.get())
    }
}

impl Page<'_> {
    pub(super) fn configuration(&mut self, config: &ConfigMetrics) {
        let (served, refused) = config.reloads();
        self.counters(
            "umay_config_reloads",
            "Configurations that were read while the process ran, and whether they were served",
            [
                ([("result", "served")], served),
                ([("result", "refused")], refused),
            ],
        );
        self.gauge(
            "umay_config_last_reload_successful",
            "1 if the configuration that was read last is served, 0 if it was refused",
            i64::from(!config.is_refused.load(Relaxed)),
        );
        if let Some(served) = &*config.served.load() {
            self.gauge(
                "umay_config_last_success_timestamp_seconds",
                "Since when the configuration is served, since the Unix epoch",
                seconds(served.since),
            );
            self.info(
                "umay_config",
                "The configuration that is served: the SHA-256 of what umay config show prints, without secrets",
                &[("sha256", &served.sha256)],
            );
        }
    }
}
