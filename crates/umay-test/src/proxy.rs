//! A running Umay: the real program, on free ports, with its logs at hand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::conn::Conn;
use crate::http::Message;
use crate::succession::{gone, is_ours};
use crate::tools::{TempDir, eventually};

/// How to start Umay. One worker and an admin listener on a free port unless said otherwise; no
/// `UMAY_` variable comes from outside.
#[derive(Debug)]
pub struct Setup {
    program: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// A program that becomes Umay, with its arguments.
    under: Vec<String>,
    dir: TempDir,
}

/// A running Umay. Killed when dropped.
#[derive(Debug)]
pub struct Umay {
    pub(crate) child: Child,
    /// Those that took its place, one after the other.
    pub(crate) successors: Vec<Pid>,
    listening: Vec<(String, SocketAddr)>,
    pub(crate) admin: Option<SocketAddr>,
    seen: Arc<Seen>,
    readers: Vec<JoinHandle<()>>,
    _dir: TempDir,
}

/// How a Umay ended that could not start.
#[derive(Debug)]
pub struct Failure {
    /// Its exit code.
    pub code: i32,
    /// Its standard error.
    pub stderr: String,
}

#[derive(Debug, Default)]
struct Seen {
    stdout: Mutex<String>,
    log: Mutex<Vec<Value>>,
    events: Mutex<String>,
}

impl Setup {
    /// Starts from the program's path; see [`umay!`](crate::umay).
    pub fn new(program: &str) -> Self {
        let env = [
            ("UMAY_WORKERS", "1"),
            ("UMAY_ADMIN__BIND", "127.0.0.1:0"),
            // Tests that write a file want to say when it is read.
            ("UMAY_WATCH", "false"),
        ];
        let env = env.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            program: PathBuf::from(program),
            args: Vec::new(),
            env: env.into(),
            under: Vec::new(),
            dir: TempDir::new(),
        }
    }

    /// `run --config` with this text.
    pub fn config(self, text: impl AsRef<str>) -> Self {
        let path = self.dir.write("umay.toml", text.as_ref());
        self.args(["run", "--config", path.to_str().unwrap()])
    }

    /// Arguments of the command line.
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// A variable of the environment.
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.insert(key.to_owned(), value.into());
        self
    }

    /// No such variable, although there is one by default.
    pub fn without(mut self, key: &str) -> Self {
        self.env.remove(key);
        self
    }

    /// Worker threads.
    pub fn workers(self, workers: usize) -> Self {
        self.env("UMAY_WORKERS", workers.to_string())
    }

    /// The limit on open files, soft and hard.
    pub fn open_files(self, soft: u64, hard: u64) -> Self {
        self.under(["prlimit", &format!("--nofile={soft}:{hard}")])
    }

    /// A program that becomes Umay, so that the process id stays, with its arguments.
    pub fn under<A: Into<String>>(mut self, program: impl IntoIterator<Item = A>) -> Self {
        self.under.extend(program.into_iter().map(Into::into));
        self
    }

    fn command(&self) -> Command {
        let mut command = match self.under.split_first() {
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        for (key, _) in std::env::vars_os() {
            if ["UMAY_", "OTEL_"]
                .iter()
                .any(|own| key.to_string_lossy().starts_with(own))
            {
                command.env_remove(key);
            }
        }
        command
            .args(&self.args)
            .envs(&self.env)
            .current_dir(self.dir.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it ends before.
    #[track_caller]
    pub fn start(self) -> Umay {
        let mut child = self.command().spawn().unwrap();
        let seen = Arc::new(Seen::default());
        let readers = vec![
            seen.follow(child.stdout.take().unwrap(), Seen::printed),
            seen.follow(child.stderr.take().unwrap(), Seen::said),
        ];
        let mut umay = Umay {
            child,
            successors: Vec::new(),
            listening: Vec::new(),
            admin: None,
            seen,
            readers,
            _dir: self.dir,
        };
        eventually("umay to be ready", || {
            let events = umay.events();
            let ready = events
                .lines()
                .any(|l| l.split_whitespace().any(|w| w == "ready"));
            if !ready && let Some(status) = umay.child.try_wait().unwrap() {
                panic!("umay ended with {status}:\n{}", umay.events());
            }
            ready.then_some(())
        });
        for line in umay.events().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.contains(&"listening") {
                umay.listening
                    .extend(Some((member(&words, "listener"), address(&words))));
            } else if words.contains(&"admin") {
                umay.admin = Some(address(&words));
            }
        }
        umay
    }

    /// Runs it to its end, which is to be a failure.
    ///
    /// # Panics
    /// If it gets ready instead.
    #[track_caller]
    pub fn fails(self) -> Failure {
        let mut child = self.command().spawn().unwrap();
        let seen = Arc::new(Seen::default());
        let reader = seen.follow(child.stderr.take().unwrap(), Seen::said);
        let code = eventually("umay to end", || {
            let status = child.try_wait().unwrap();
            if status.is_none() && seen.events.lock().unwrap().contains(" ready ") {
                child.kill().ok();
            }
            status
        });
        reader.join().unwrap();
        let stderr = seen.events.lock().unwrap().clone();
        assert!(!code.success(), "umay succeeded:\n{stderr}");
        let code = code
            .code()
            .unwrap_or_else(|| panic!("umay started:\n{stderr}"));
        Failure { code, stderr }
    }
}

impl Umay {
    /// Where its only listener is.
    ///
    /// # Panics
    /// If it has none or several.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        let [(_, addr)] = self.listening[..] else {
            panic!("not one listener: {:?}", self.listening);
        };
        addr
    }

    /// Where the listener with this name is.
    #[track_caller]
    pub fn at(&self, listener: &str) -> SocketAddr {
        let found = self.listening.iter().find(|(name, _)| name == listener);
        found
            .unwrap_or_else(|| panic!("no {listener} in {:?}", self.listening))
            .1
    }

    /// Connects to its only listener.
    #[track_caller]
    pub fn connect(&self) -> Conn {
        Conn::connect(self.addr()).unwrap()
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, host: &str, target: &str) -> Message {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.connect().ask(request).unwrap()
    }

    /// Where the admin listener is.
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin listener")
    }

    /// A page of the admin listener.
    #[track_caller]
    pub fn admin_get(&self, path: &str) -> Message {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        Conn::connect(self.admin()).unwrap().ask(request).unwrap()
    }

    /// The sum of all series of a metric that have these labels.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum(&self.admin_get("/metrics").text(), name, labels)
    }

    /// Waits until a metric has this value.
    #[track_caller]
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        let mut last = f64::NAN;
        let what = format!("{name}{labels:?} to be {wanted}");
        eventually(&what, || {
            last = self.metric(name, labels);
            (last == wanted).then_some(())
        });
    }

    /// The access log so far.
    pub fn log(&self) -> Vec<Value> {
        self.seen.log.lock().unwrap().clone()
    }

    /// Waits for a line of the access log.
    #[track_caller]
    pub fn wait_log(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually("a line of the access log", || {
            let log = self.seen.log.lock().unwrap();
            log.iter().find(|line| is_it(line)).cloned()
        })
    }

    /// Waits for the line of the access log about this path.
    #[track_caller]
    pub fn wait_path(&self, path: &str) -> Value {
        self.wait_log(|line| line["path"] == path)
    }

    /// Waits for the line of the access log with this reason.
    #[track_caller]
    pub fn wait_reason(&self, reason: &str) -> Value {
        self.wait_log(|line| line["reason"] == reason)
    }

    /// All that it wrote to standard output.
    pub fn stdout(&self) -> String {
        self.seen.stdout.lock().unwrap().clone()
    }

    /// All that it wrote to standard error: the event log.
    pub fn events(&self) -> String {
        self.seen.events.lock().unwrap().clone()
    }

    /// Waits until the event log has a line with this text.
    #[track_caller]
    pub fn wait_event(&self, text: &str) -> String {
        eventually(&format!("{text:?} in the event log"), || {
            let events = self.seen.events.lock().unwrap();
            events
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
    }

    /// Writes another configuration in place of the one that it was started with, as
    /// [`Setup::config`] did.
    pub fn rewrite(&self, text: impl AsRef<str>) {
        // In one step, as editors do.
        let path = self._dir.write("umay.toml.new", text.as_ref());
        std::fs::rename(path, self._dir.path().join("umay.toml")).unwrap();
    }

    /// The same, lets it read that (SIGHUP), and waits for what comes of it: true if it is served.
    #[track_caller]
    pub fn reload(&self, text: impl AsRef<str>) -> bool {
        let count = |result: &str| self.metric("umay_config_reloads_total", &[("result", result)]);
        let before = (count("served"), count("refused"));
        self.rewrite(text);
        self.signal(Signal::HUP);
        eventually("what comes of a reload", || {
            let now = (count("served"), count("refused"));
            (now != before).then_some(now.0 > before.0)
        })
    }

    /// Where a listener that came later is.
    #[track_caller]
    pub fn listening(&self, listener: &str) -> SocketAddr {
        eventually("a listener", || {
            let status = self.admin_get("/status").text();
            let status: Value = serde_json::from_str(&status).unwrap();
            let all = status["listeners"].as_array().unwrap().clone();
            let found = all.iter().find(|l| l["name"] == listener)?;
            found["addr"].as_str().unwrap().parse().ok()
        })
    }

    /// Its process id; after an upgrade that of the process that serves now.
    pub fn pid(&self) -> u32 {
        u32::try_from(self.process().as_raw_nonzero().get()).unwrap()
    }

    fn process(&self) -> Pid {
        let last = self.successors.last().copied();
        last.unwrap_or_else(|| Pid::from_child(&self.child))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    /// Waits for its end and gives its exit code. All that it wrote has been read then.
    #[track_caller]
    pub fn wait_exit(&mut self) -> i32 {
        let status = eventually("umay to end", || self.child.try_wait().unwrap());
        // What took its place holds the same pipes.
        for successor in &self.successors {
            eventually("what took its place to end", || {
                gone(*successor).then_some(())
            });
        }
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
            .code()
            .unwrap_or_else(|| panic!("umay ended with {status}"))
    }

    /// Sends SIGTERM and waits for its end.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.wait_exit()
    }
}

impl Drop for Umay {
    fn drop(&mut self) {
        for successor in &self.successors {
            // One that ended may have left its number to another process.
            if is_ours(*successor) {
                kill_process(*successor, Signal::KILL).ok();
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            let out = self.stdout();
            let start = out.len().saturating_sub(4000);
            let tail = out.get(start..).unwrap_or(&out);
            eprintln!(
                "umay wrote to stderr:\n{}\nand to stdout:\n{tail}",
                self.events()
            );
        }
    }
}

impl Seen {
    fn follow(
        self: &Arc<Self>,
        from: impl Read + Send + 'static,
        take: fn(&Self, &str),
    ) -> JoinHandle<()> {
        let seen = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n') {
                let Ok(line) = line else { break };
                take(&seen, &String::from_utf8_lossy(&line));
            }
        })
    }

    fn printed(&self, line: &str) {
        *self.stdout.lock().unwrap() += &format!("{line}\n");
        if line.starts_with('{') {
            let value = serde_json::from_str(line);
            // A line that is no JSON is a fault, but not of the test that happens to read it.
            self.log
                .lock()
                .unwrap()
                .push(value.unwrap_or_else(|_| Value::from(line)));
        }
    }

    fn said(&self, line: &str) {
        *self.events.lock().unwrap() += &format!("{line}\n");
    }
}

/// The value of `key=value` in a line of the event log.
fn member(words: &[&str], key: &str) -> String {
    let found = words
        .iter()
        .find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
    let value = found.unwrap_or_else(|| panic!("no {key} in {words:?}"));
    value.trim_matches('"').to_owned()
}

fn address(words: &[&str]) -> SocketAddr {
    member(words, "addr").parse().unwrap()
}

/// Adds up the series of a metric in Prometheus's text format.
fn sum(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let is_it = |series: &str| {
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        let has = |(key, value): &(&str, &str)| {
            let pair = format!("{key}=\"{value}\"");
            rest.starts_with(&pair) || rest.contains(&format!(",{pair}"))
        };
        found == name && labels.iter().all(has)
    };
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| is_it(series))
        .map(|(_, value)| value.parse::<f64>().unwrap())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_series_that_are_asked_for() {
        let page = "# TYPE a counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4.5\nab_total 9\n";
        assert_eq!(sum(page, "a_total", &[]), 7.5);
        assert_eq!(sum(page, "a_total", &[("y", "3")]), 4.5);
        assert_eq!(sum(page, "a_total", &[("x", "1"), ("y", "2")]), 3.0);
        assert_eq!(sum(page, "ab_total", &[]), 9.0);
        assert_eq!(sum(page, "b_total", &[]), 0.0);
    }

    /// A stand-in that says what Umay says.
    fn stand_in(dir: &TempDir, script: &str) -> Setup {
        let path = dir.write("umay", format!("#!/bin/sh\n{script}"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        Setup::new(path.to_str().unwrap())
    }

    #[test]
    fn reads_addresses_and_logs_and_waits_for_the_end() {
        let dir = TempDir::new();
        let script = r#"
            trap 'echo bye >&2; exit 3' TERM
            echo 'T INFO umay: listening listener="web" addr=127.0.0.1:5' >&2
            echo 'T INFO umay: admin addr=127.0.0.1:6' >&2
            echo "T INFO umay: ready workers=$UMAY_WORKERS" >&2
            echo '{"path":"/a"}'
            while :; do sleep 0.01; done
        "#;
        let mut umay = stand_in(&dir, script).start();
        assert_eq!(umay.at("web"), "127.0.0.1:5".parse().unwrap());
        assert_eq!((umay.addr().port(), umay.admin().port()), (5, 6));
        assert_eq!(umay.wait_path("/a")["path"], "/a");
        assert!(umay.wait_event("ready").ends_with("workers=1"));
        assert_eq!(umay.stop(), 3);
        assert!(umay.events().ends_with("bye\n"));
    }

    #[test]
    fn a_failed_start_tells_its_code_and_words() {
        let dir = TempDir::new();
        let failure = stand_in(&dir, "echo no >&2; exit 1").fails();
        assert_eq!((failure.code, &*failure.stderr), (1, "no\n"));
    }

    #[test]
    fn sets_the_limit_on_open_files() {
        let dir = TempDir::new();
        let failure = stand_in(&dir, "ulimit -n >&2; exit 1")
            .open_files(50, 60)
            .fails();
        assert_eq!(failure.stderr, "50\n");
    }
}
