//! `umay top` in a real terminal: it starts, shows numbers, ends, and gives the terminal back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use umay_test::{Server, eventually, programs, umay};

/// A shell in a terminal of its own, by `script`.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn run(commands: &str) -> Self {
        let mut command = Command::new(programs::find("script"));
        command.args(["-qefc", commands, "/dev/null"]);
        command
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (keys, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let seen = Arc::new(Mutex::new(String::new()));
        let to = Arc::clone(&seen);
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut part) {
                to.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&part[..length]));
            }
        });
        Self { child, keys, seen }
    }

    /// Waits for something without blanks: over these the cursor is moved.
    #[track_caller]
    fn wait(&self, text: &str) {
        let end = || self.seen.lock().unwrap().clone();
        let found = std::panic::catch_unwind(|| {
            eventually(text, || end().contains(text).then_some(()));
        });
        let end = end();
        let start = end.len().saturating_sub(2000);
        let last = String::from_utf8_lossy(&end.as_bytes()[start..]).into_owned();
        assert!(found.is_ok(), "no {text:?} at the end of {last:?}");
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_umay");

/// What stands after a program that has given the terminal back: its code, and that lines are read as before.
const AFTER: &str =
    "; echo code=$?; stty -a | grep -o ' icanon' ; stty -a | grep -o ' echo '; echo all-told";

#[test]
fn it_shows_numbers_and_quits() {
    let endpoint = Server::ok("hi");
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"http://{}\"\n",
        endpoint.addr()
    );
    for _ in 0..11 {
        umay.get("a.test", "/");
    }
    umay.wait_metric("umay_http_responses_total", &[], 11.0);
    let admin = umay.admin();
    let mut terminal = Terminal::run(&format!(
        "stty rows 30 cols 110; {PROGRAM} top --admin {admin} --interval 0.1{AFTER}"
    ));
    // The other screen, and what is on it.
    terminal.wait("\u{1b}[?1049h");
    terminal.wait("ready");
    terminal.press("3");
    terminal.wait("everything");
    terminal.press("?");
    terminal.wait("┌ keys ─");
    terminal.press("xq");
    terminal.wait("\u{1b}[?1049l");
    terminal.wait("code=0");
    terminal.wait(" icanon");
    terminal.wait(" echo ");
    terminal.wait("all-told");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for signal in ["TERM", "HUP", "INT"] {
        let terminal = Terminal::run(&format!(
            "stty rows 24 cols 80; timeout --foreground -s {signal} 1 {PROGRAM} top --admin {free} --interval 0.1{AFTER}"
        ));
        // Nobody answers, which is no reason to end.
        terminal.wait("not answering, trying again");
        terminal.wait("nobody listens there");
        terminal.wait("\u{1b}[?1049l");
        terminal.wait(" icanon");
        terminal.wait(" echo ");
        terminal.wait("all-told");
    }
}

#[test]
fn a_pipe_is_no_terminal() {
    let output = Command::new(PROGRAM)
        .arg("top")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        error,
        "error: umay top needs a terminal; umay status writes the same as text\n"
    );
}
