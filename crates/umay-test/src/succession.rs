//! Upgrades of a running Umay: processes that take the place of others.

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::proxy::Umay;
use crate::tools::eventually;

impl Umay {
    /// Lets the program take over from itself (SIGUSR2), and waits for what comes of it: an error is why it did not.
    #[track_caller]
    pub fn upgrade(&mut self) -> Result<(), String> {
        let before = self.events().len();
        self.signal(Signal::USR2);
        self.upgraded(before)
    }

    /// Waits for what comes of an upgrade, of which nothing is said in the first bytes of the event log.
    #[track_caller]
    pub fn upgraded(&mut self, before: usize) -> Result<(), String> {
        let pid = eventually("what comes of an upgrade", || {
            let events = self.events();
            let mut lines = events.get(before..)?.lines();
            lines.find_map(|line| {
                if let Some((_, why)) = line.split_once("not upgraded, this process serves on: ") {
                    return Some(Err(why.to_owned()));
                }
                let (_, rest) = line.split_once(": Process ")?;
                let (pid, _) = rest.split_once(" serves; this one, ")?;
                Some(Ok(Pid::from_raw(pid.parse().ok()?)?))
            })
        })?;
        self.successors.push(pid);
        if self.admin.is_some() {
            // What is asked at the same moment can still be answered by the one before.
            eventually("an answer of the new process", || {
                let status: Value = self.admin_get("/status").text().parse().ok()?;
                (status["pid"].as_u64() == Some(u64::from(self.pid()))).then_some(())
            });
        }
        Ok(())
    }

    /// Waits until all processes but the one that serves now have ended.
    #[track_caller]
    pub fn wait_former(&mut self) {
        if let Some((_, former)) = self.successors.split_last() {
            for process in former {
                eventually("a former process to end", || gone(*process).then_some(()));
            }
            assert_eq!(self.wait_first_exit(), 0);
        }
    }

    /// The process that it was started as, and whether it has ended, and how.
    #[track_caller]
    pub fn wait_first_exit(&mut self) -> i32 {
        let status = eventually("the first umay to end", || self.child.try_wait().unwrap());
        status
            .code()
            .unwrap_or_else(|| panic!("umay ended with {status}"))
    }
}

/// True if a process has ended; who has to be told of that may not have looked yet.
pub(crate) fn gone(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.map_or(true, |stat| {
        let state = stat.rsplit(')').next().unwrap_or_default();
        state.trim_start().starts_with('Z')
    })
}

/// True if a process is a Umay that another Umay has started.
pub(crate) fn is_ours(process: Pid) -> bool {
    let environ = std::fs::read(format!("/proc/{}/environ", process.as_raw_nonzero()));
    let environ = environ.unwrap_or_default();
    String::from_utf8_lossy(&environ).contains("_UMAY_SUCCEEDS=1")
}
