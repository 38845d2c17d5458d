//! `umay drain`: the end of a Umay that runs, in order.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use super::socket::Socket;
use crate::admin::Question;

/// Between two looks at what is left.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct Drain {
    /// Wait until the process is gone, and show how many connections are left
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Asks for it.
pub(super) fn main(args: &Drain) -> anyhow::Result<ExitCode> {
    let reply = args.socket.reply(&Question::post("/drain", None))?;
    let answer = reply.json().map_err(anyhow::Error::msg)?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let already = answer.get("already").and_then(Value::as_bool);
    let begun = match already.unwrap_or_default() {
        true => "It is draining already",
        false => "It drains",
    };
    let open = open(&answer).unwrap_or_default();
    let (accepts, cuts) = (text("accepts_for"), text("cuts_after"));
    writeln!(
        io::stdout(),
        "{begun}: it accepts for {accepts} more at most, what is open may finish for {cuts} after that, and then is cut; open connections: {open}."
    )?;
    if args.wait {
        let pid = answer.get("pid").and_then(Value::as_i64);
        // In another namespace the number is another one's.
        let same = reply.pid.filter(|have| Some(i64::from(*have)) == pid);
        wait(&args.socket, pid, same.and_then(Pid::from_raw))?;
        writeln!(io::stdout(), "It is gone.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open(answer: &Value) -> Option<u64> {
    answer.get("connections").and_then(Value::as_u64)
}

/// Waits until the process is gone: until the kernel says so, or, where it cannot, until nobody answers for it.
fn wait(socket: &Socket, number: Option<i64>, pid: Option<Pid>) -> anyhow::Result<()> {
    // If it is gone already, nobody has that number, or somebody who is not asked about.
    let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut progress = Progress::default();
    loop {
        let answer = socket.ask(&Question::get("/drain"));
        // Another one may listen there already.
        let ours = |answer: &Value| answer.get("pid").and_then(Value::as_i64) == number;
        let left = answer.ok().filter(ours).as_ref().and_then(open);
        progress.show(left)?;
        let gone = match &process {
            Some(process) => {
                let mut watched = [PollFd::new(process, PollFlags::IN)];
                let look = Timespec::try_from(LOOK)?;
                poll(&mut watched, Some(&look))? > 0
            }
            None if left.is_none() => true,
            None => {
                thread::sleep(LOOK);
                false
            }
        };
        if gone {
            return progress.end();
        }
    }
}

/// How many connections are left: a line that is written over on a terminal, and else a line for each change.
#[derive(Default)]
struct Progress {
    shown: Option<u64>,
}

impl Progress {
    fn show(&mut self, left: Option<u64>) -> anyhow::Result<()> {
        if left.is_none() || left == self.shown {
            return Ok(());
        }
        self.shown = left;
        let left = left.unwrap_or_default();
        let mut out = io::stderr();
        match out.is_terminal() {
            true => write!(out, "\r\u{1b}[Kopen connections: {left}")?,
            false => writeln!(out, "open connections: {left}")?,
        }
        Ok(())
    }

    fn end(&self) -> anyhow::Result<()> {
        let mut out = io::stderr();
        if self.shown.is_some() && out.is_terminal() {
            write!(out, "\r\u{1b}[K")?;
        }
        Ok(())
    }
}
