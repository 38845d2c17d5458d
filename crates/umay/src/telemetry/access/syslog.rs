//! Lines as messages of syslog (RFC 5424): as datagrams to a unix socket or over UDP (RFC 5426), or over TCP with
//! the length before each (RFC 6587 section 3.4.1), and over TLS as well (RFC 5425).

mod link;
mod secure;

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, process};

use umay_core::config::written_syslog;
use umay_core::model;

use super::clock::Clock;
use link::{Link, State};
pub use secure::SyslogTls;

/// Facility `local0` and severity `informational`: 16 × 8 + 6 (RFC 5424 section 6.2.1).
const PRIORITY: u32 = 134;
/// After a failure it is not tried again for so long, and after more of them for longer and longer. So long a new
/// connection has to last before it counts as good.
const PAUSE: Duration = Duration::from_secs(1);
/// But not longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The way to a syslog.
pub(super) struct Syslog {
    to: model::Syslog,
    tls: Option<SyslogTls>,
    open: Option<Open>,
    /// Not tried before this.
    next: Option<Instant>,
    /// How long it is left alone after the next failure.
    pause: Duration,
    clock: Clock,
    /// What comes between the time and the message.
    sender: String,
    message: Vec<u8>,
    out: Vec<u8>,
}

/// An open connection.
struct Open {
    link: Link,
    since: Instant,
    /// How often something was sent on it.
    sends: u64,
    /// How many messages.
    sent: u64,
}

/// What came of messages that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// They are on their way, on a connection that may turn out not to be wanted.
    Perhaps,
    /// They are on their way, on a connection that has lasted.
    Surely,
}

impl Syslog {
    /// One that is connected to when there is something to tell; `tls` if that is spoken to it.
    pub(super) fn new(to: &model::Syslog, tls: Option<SyslogTls>) -> Self {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            to: to.clone(),
            tls,
            open: None,
            next: None,
            pause: PAUSE,
            clock: Clock::new(),
            sender: sender(name.trim(), process::id()),
            message: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Where it is, as it is written in a document.
    pub(super) fn place(&self) -> String {
        written_syslog(&self.to)
    }

    /// Sends each line as a message. An error says how many of them are lost.
    pub(super) fn send(&mut self, lines: &[u8]) -> Result<Sent, (io::Error, u64)> {
        let lines: &[u8] = lines.strip_suffix(b"\n").unwrap_or(lines);
        let all = lines.split(|byte| *byte == b'\n');
        let count = all.clone().count() as u64;
        let mut open = self
            .good()
            .map_err(|(error, before)| (error, count + before))?;
        let lasted = open.sends > 0 && open.since.elapsed() >= PAUSE;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        match self.send_on(&mut open.link, all, now.unwrap_or_default()) {
            Ok(lost) => {
                open.sends += 1;
                open.sent += count - lost;
                self.open = Some(open);
                if lost > 0 {
                    let error = io::Error::new(ErrorKind::InvalidInput, "a line was too long");
                    return Err((error, lost));
                }
                if !lasted {
                    return Ok(Sent::Perhaps);
                }
                self.pause = PAUSE;
                Ok(Sent::Surely)
            }
            Err((error, sent)) => {
                self.failed();
                Err((error, count.saturating_sub(sent)))
            }
        }
    }

    /// The connection that there is, if it is still good, or another. An error says how many messages that were sent
    /// before are lost.
    fn good(&mut self) -> Result<Open, (io::Error, u64)> {
        if let Some(mut open) = self.open.take() {
            let young = open.since.elapsed() < PAUSE;
            match open.link.state() {
                State::Open => return Ok(open),
                // It may do so when it starts anew, or when it is tired of waiting. If it does nothing else, it is not to
                // be bothered with each line.
                State::Closed if young && open.sends < 2 => {
                    self.failed();
                    let what = "it has closed the connection at once";
                    return Err((io::Error::new(ErrorKind::ConnectionAborted, what), 0));
                }
                State::Closed => {}
                State::Refused(error) => {
                    self.failed();
                    // Who does not want us has not read what came with the last of the handshake.
                    let lost = if young || open.sends < 2 {
                        open.sent
                    } else {
                        0
                    };
                    return Err((error, lost));
                }
            }
        }
        if self.next.is_some_and(|next| Instant::now() < next) {
            let what = "the syslog was not there";
            return Err((io::Error::new(ErrorKind::NotConnected, what), 0));
        }
        match Link::open(&self.to, self.tls.as_ref()) {
            Ok(link) => Ok(Open {
                link,
                since: Instant::now(),
                sends: 0,
                sent: 0,
            }),
            Err(error) => {
                self.failed();
                Err((error, 0))
            }
        }
    }

    /// Leaves it alone for a while.
    fn failed(&mut self) {
        self.next = Some(Instant::now() + self.pause);
        // A socket of this machine costs nobody anything.
        if !matches!(self.to, model::Syslog::Unix(_)) {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tells how many lines were too long for a datagram. An error says how many were sent before it.
    fn send_on<'l>(
        &mut self,
        link: &mut Link,
        lines: impl Iterator<Item = &'l [u8]>,
        now: Duration,
    ) -> Result<u64, (io::Error, u64)> {
        self.out.clear();
        let (mut sent, mut lost) = (0, 0);
        for line in lines {
            self.message.clear();
            // Writing to a vector cannot fail.
            let _ = write!(self.message, "<{PRIORITY}>1 ");
            self.clock.write(&mut self.message, now);
            self.message.extend_from_slice(self.sender.as_bytes());
            self.message.extend_from_slice(line);
            if link.is_stream() {
                let _ = write!(self.out, "{} ", self.message.len());
                self.out.extend_from_slice(&self.message);
                continue;
            }
            match link.send(&self.message) {
                Ok(()) => sent += 1,
                Err(error) if error.raw_os_error() == Some(MESSAGE_SIZE) => lost += 1,
                Err(error) => return Err((error, sent)),
            }
        }
        if link.is_stream() {
            link.send(&self.out).map_err(|error| (error, 0))?;
        }
        Ok(lost)
    }
}

/// `EMSGSIZE`: no datagram can be so long.
const MESSAGE_SIZE: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// Host, program, process, and that there is neither an id nor data of a structure.
fn sender(host: &str, process: u32) -> String {
    // RFC 5424 section 6: printable ASCII without spaces, 255 bytes at most.
    let good = matches!(host.len(), 1..=255) && host.bytes().all(|byte| byte.is_ascii_graphic());
    let host = if good { host } else { "-" };
    format!(" {host} umay {process} - - ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_cannot_be_told_is_left_out() {
        assert_eq!(sender("a.example", 7), " a.example umay 7 - - ");
        let long = "a".repeat(256);
        for host in ["", "a b", "a\u{fc}", &*long] {
            assert_eq!(sender(host, 7), " - umay 7 - - ", "{host}");
        }
    }
}
