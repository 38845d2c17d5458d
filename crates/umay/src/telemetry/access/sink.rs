//! Where the lines of the access log end up.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use umay_core::model::{self, Rotate};

use super::rotation::LogFile;
use super::syslog::{Sent, Syslog, SyslogTls};

/// An open end of the log.
pub(super) struct Sink {
    out: Out,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

enum Out {
    Stream(Box<dyn Write + Send>),
    File(LogFile),
    Syslog(Box<Syslog>),
}

impl Sink {
    /// Standard output, or whatever a test reads.
    pub(super) fn stream(out: Box<dyn Write + Send>) -> Self {
        Self::new(Out::Stream(out))
    }

    /// A file, put aside and deleted as told.
    pub(super) fn file(
        path: &Path,
        rotate: Rotate,
        retention: Option<Duration>,
        now: SystemTime,
    ) -> io::Result<Self> {
        let file = LogFile::open(path, rotate, retention, now)?;
        Ok(Self::new(Out::File(file)))
    }

    /// A syslog, which is connected to when there is something to tell; `tls` if that is spoken to it.
    pub(super) fn syslog(to: &model::Syslog, tls: Option<SyslogTls>) -> Self {
        Self::new(Out::Syslog(Box::new(Syslog::new(to, tls))))
    }

    fn new(out: Out) -> Self {
        Self { out, torn: false }
    }

    /// Writes whole lines, so many, and returns how many are lost. Says once when writing begins to fail and once
    /// when it works again.
    pub(super) fn write(&mut self, lines: &[u8], count: u64) -> u64 {
        let written = match &mut self.out {
            Out::Syslog(syslog) => syslog.send(lines),
            Out::Stream(out) => whole(write(out, lines, self.torn), count),
            Out::File(file) => whole(write(file, lines, self.torn), count),
        };
        match written {
            // Whether it works again will be seen.
            Ok(Sent::Perhaps) => 0,
            Ok(Sent::Surely) => {
                if self.torn {
                    tracing::info!("the access log can be written again");
                }
                self.torn = false;
                0
            }
            Err((error, lost)) => {
                if !self.torn {
                    let to = self.out.place();
                    tracing::error!(%error, to, "the access log cannot be written; its lines are dropped");
                }
                self.torn = true;
                lost
            }
        }
    }

    /// Opens a file anew, after it was renamed.
    pub(super) fn reopen(&mut self, now: SystemTime) {
        if let Out::File(file) = &mut self.out
            && file.reopen(now)
        {
            self.torn = false;
        }
    }

    /// Does what time asks for. Returns how long nothing else will have to be done; `None` if it never will.
    pub(super) fn look_after(&mut self, now: SystemTime) -> Option<Duration> {
        match &mut self.out {
            Out::File(file) => file.look_after(now),
            Out::Stream(_) | Out::Syslog(_) => None,
        }
    }
}

impl Out {
    /// Where it is, for people.
    fn place(&self) -> String {
        match self {
            Self::Stream(_) => "standard output".to_owned(),
            Self::File(file) => file.path().display().to_string(),
            Self::Syslog(syslog) => syslog.place(),
        }
    }
}

/// What came of so many lines that were written at once.
fn whole(written: io::Result<()>, count: u64) -> Result<Sent, (io::Error, u64)> {
    match written {
        Ok(()) => Ok(Sent::Surely),
        Err(error) => Err((error, count)),
    }
}

fn write(out: &mut impl Write, lines: &[u8], torn: bool) -> io::Result<()> {
    if torn {
        // The next line must not continue the one that was torn.
        out.write_all(b"\n")?;
    }
    out.write_all(lines)?;
    out.flush()
}
