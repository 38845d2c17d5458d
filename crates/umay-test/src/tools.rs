//! Small things every test needs: a deadline instead of a sleep, a directory that goes away, and
//! what the kernel says about a process.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long a test waits for something that should take milliseconds. Long, because machines that
/// run tests are busy; a test that passes never waits for it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Asks until there is an answer.
///
/// # Panics
/// After [`DEADLINE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A door that a test opens, and at which its endpoints wait.
#[derive(Clone, Debug, Default)]
pub struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    /// Waits until it is open.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        let shut = |open: &mut bool| !*open;
        let (open, _) = self.0.1.wait_timeout_while(open, DEADLINE, shut).unwrap();
        assert!(*open, "nobody has opened the door");
    }

    /// Opens it, for good.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// A directory that is removed with its content when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes a new one below the system's directory for temporary files.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("umay-test-{}-{n}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it, with the directories above it, and tells where.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// An address of loopback that only the caller uses: the IP address belongs to this call alone, so
/// nobody takes the port before a program that is to be started listens on it.
pub fn unique_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = process::id().to_be_bytes();
    // The last byte is neither 0 nor 255 for the first 254 calls of a process.
    let ip = Ipv4Addr::new(127, high.max(1), low, n as u8);
    let probe = TcpListener::bind((ip, 0)).unwrap();
    probe.local_addr().unwrap()
}

/// Resident memory of a process, in bytes.
pub fn rss(pid: u32) -> u64 {
    1024 * status_number(pid, "VmRSS:")
}

/// The largest resident memory that a process had, in bytes.
pub fn peak_rss(pid: u32) -> u64 {
    1024 * status_number(pid, "VmHWM:")
}

/// What a process has taken of the processors, in user and kernel, to a hundredth of a second.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Fields 14 and 15, counted behind the program's name.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let times = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = times.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

fn status_number(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Raises this process's limit on open files as far as it may go, and tells how far that is.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Without a limit there is one all the same, but none that a test could reach.
    let most = limit.maximum.unwrap_or(1 << 20);
    let raised = Rlimit {
        current: Some(most),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    most
}

/// Open file descriptors of a process.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// How many files a process waits for, for each of its polls (epoll).
pub fn polled_files(pid: u32) -> Vec<usize> {
    let polls: BTreeSet<BTreeSet<String>> = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .map(|info| {
            let targets = info.lines().filter(|line| line.starts_with("tfd:"));
            let number = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
            targets.filter_map(number).collect()
        })
        .collect();
    // A poll that has two descriptors is there once.
    polls.iter().map(BTreeSet::len).collect()
}
