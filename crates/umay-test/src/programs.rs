//! Real programs from Debian's packages: found, run, and started as peers on free ports.

use std::ffi::OsStr;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::tools::{TempDir, eventually, unique_address};
use crate::{Page, Pair};

/// Where a program is.
///
/// # Panics
/// If it is not installed.
#[track_caller]
pub fn find(name: &str) -> PathBuf {
    // Daemons live where not everybody's PATH leads.
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = places.map(|dir| dir.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed; `make test` installs it"))
}

/// Runs a program to its end with this standard input.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>, input: &[u8]) -> Output {
    let mut child = Command::new(find(name))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A program that does not want its input closes it.
        stdin.write_all(&input).ok();
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs curl; gives what it printed.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn curl<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> String {
    let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
    let fixed = ["-sS", "--noproxy", "*", "--max-time", "120"].map(Into::into);
    let output = run("curl", fixed.into_iter().chain(args), b"");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl: {}: {error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program that runs as a peer. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    name: String,
    args: Vec<String>,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its directory.
    pub dir: TempDir,
}

impl Program {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts a program that listens on `addr` and waits until it does.
    fn start(name: &str, args: &[&str], addr: SocketAddr, dir: TempDir) -> Self {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut program = Self {
            child: spawn(name, &args, &dir),
            name: name.to_owned(),
            args,
            addr,
            dir,
        };
        program.await_listening();
        program
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with the same directory and address, after [`Self::kill`].
    #[track_caller]
    pub fn start_again(&mut self) {
        self.child = spawn(&self.name, &self.args, &self.dir);
        self.await_listening();
    }

    #[track_caller]
    fn await_listening(&mut self) {
        let (name, log) = (self.name.clone(), self.dir.path().join("stderr"));
        eventually(&format!("{name} to listen"), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{name}: {status}: {}", fs::read_to_string(&log).unwrap());
            }
            TcpStream::connect(self.addr).ok()
        });
    }
}

fn spawn(name: &str, args: &[String], dir: &TempDir) -> Child {
    Command::new(find(name))
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// nginx with these directives in its `server` block, and `files` below its root.
#[track_caller]
pub fn nginx(server: &str, files: &[(&str, &[u8])]) -> Program {
    nginx_that_listens("", server, files)
}

/// The same with options for its `listen`: `ssl http2`.
#[track_caller]
pub fn nginx_that_listens(options: &str, server: &str, files: &[(&str, &[u8])]) -> Program {
    let (dir, addr) = (TempDir::new(), unique_address());
    for (name, content) in files {
        dir.write(&format!("root/{name}"), content);
    }
    dir.write(
        "nginx.conf",
        format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;
             events {{ worker_connections 1024; }}
             http {{
                 access_log access.log;
                 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                 uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                 client_max_body_size 0;
                 server {{ listen {addr} {options}; root root; {server} }}
             }}"
        ),
    );
    let prefix = dir.path().to_str().unwrap().to_owned();
    let args = ["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"];
    Program::start("nginx", &args, addr, dir)
}

/// nghttpd with these options, in the clear or with a certificate, and `files` below its root.
#[track_caller]
pub fn nghttpd(tls: Option<&Pair>, options: &[&str], files: &[(&str, &[u8])]) -> Program {
    nghttpd_at(unique_address(), tls, options, files)
}

/// The same at this address.
#[track_caller]
pub fn nghttpd_at(
    addr: SocketAddr,
    tls: Option<&Pair>,
    options: &[&str],
    files: &[(&str, &[u8])],
) -> Program {
    let dir = TempDir::new();
    dir.write("root/.keep", "");
    for (name, content) in files {
        dir.write(&format!("root/{name}"), content);
    }
    let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
    let mut args = vec!["--htdocs=root", "--address", &ip];
    args.extend(options);
    match tls {
        None => args.extend(["--no-tls", &*port]),
        Some(pair) => args.extend([
            &*port,
            pair.key.to_str().unwrap(),
            pair.cert.to_str().unwrap(),
        ]),
    }
    Program::start("nghttpd", &args, addr, dir)
}

/// Runs a script of `crates/umay/tests/python` to its end; gives what it printed.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn python(script: &str, args: &[&str]) -> String {
    let (interpreter, script) = scripted(script);
    let args = [&[script.as_str()], args].concat();
    let output = run(&interpreter, args, b"");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Starts a script of the same place that listens on the address that it is given.
#[track_caller]
pub fn python_endpoint(script: &str) -> Program {
    python_endpoint_with(script, &[])
}

/// The same with more arguments behind the address.
#[track_caller]
pub fn python_endpoint_with(script: &str, args: &[&str]) -> Program {
    python_endpoint_at(unique_address(), script, args)
}

/// The same at an address where one was before.
#[track_caller]
pub fn python_endpoint_at(addr: SocketAddr, script: &str, args: &[&str]) -> Program {
    let (interpreter, script) = scripted(script);
    let address = addr.to_string();
    let args = [&[script.as_str(), &address], args].concat();
    Program::start(&interpreter, &args, addr, TempDir::new())
}

/// The interpreter that has what the scripts need, and where a script is.
#[track_caller]
fn scripted(script: &str) -> (String, String) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let interpreter = root.join("target/python/bin/python");
    assert!(
        interpreter.is_file(),
        "{} is not there; `make python` makes it",
        interpreter.display()
    );
    let script = root.join("crates/umay/tests/python").join(script);
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    (text(interpreter), text(script))
}

/// A browser without a window that shows a page, whoever has issued its certificate. Killed when
/// dropped.
#[track_caller]
pub fn browse(url: &str) -> Browser {
    let dir = TempDir::new();
    let child = Command::new(find("chromium"))
        .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-dev-shm-usage", "--disable-background-networking"])
        .args(["--no-first-run", "--ignore-certificate-errors"])
        .args(["--no-proxy-server", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", dir.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("stderr")).unwrap())
        .spawn()
        .unwrap();
    Browser { child, _dir: dir }
}

/// A browser.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    _dir: TempDir,
}

impl Browser {
    /// The page that it shows, to be asked.
    #[track_caller]
    pub fn page(&self) -> Page {
        Page::of(self._dir.path())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A mosquitto that lets everybody in.
#[track_caller]
pub fn mosquitto() -> Program {
    mosquitto_as("", unique_address())
}

/// The same with more lines for its listener, such as those that make it speak TLS.
#[track_caller]
pub fn mosquitto_with(listener: &str) -> Program {
    mosquitto_as(listener, unique_address())
}

/// The same at this address.
#[track_caller]
pub fn mosquitto_at(addr: SocketAddr) -> Program {
    mosquitto_as("", addr)
}

#[track_caller]
fn mosquitto_as(listener: &str, addr: SocketAddr) -> Program {
    let dir = TempDir::new();
    let conf = format!(
        "listener {} {}\n{listener}allow_anonymous true\nmax_queued_messages 0\nuser {}\n",
        addr.port(),
        addr.ip(),
        // Started as root it would change to a user who cannot read the directory.
        if rustix::process::geteuid().is_root() {
            "root"
        } else {
            "nobody"
        }
    );
    dir.write("mosquitto.conf", conf);
    Program::start("mosquitto", &["-c", "mosquitto.conf"], addr, dir)
}

/// dnsmasq that knows the names of `hosts` (lines of `ADDRESS NAME`) and whatever the other lines of its
/// configuration say, for a second at a time. It alone knows names in `test`, so that others there do not
/// exist; all other names it refuses to look up. See [`Program::rewrite`].
#[track_caller]
pub fn dnsmasq(hosts: &str, conf: &str) -> Program {
    let (dir, addr) = (TempDir::new(), unique_address());
    dir.write("hosts", hosts);
    dir.write("dnsmasq.conf", dnsmasq_conf(&dir, addr, conf));
    let args = ["--keep-in-foreground", "--conf-file=dnsmasq.conf"];
    Program::start("dnsmasq", &args, addr, dir)
}

fn dnsmasq_conf(dir: &TempDir, addr: SocketAddr, more: &str) -> String {
    // Started as root it would change to a user who cannot read the directory.
    let user = if rustix::process::geteuid().is_root() {
        "user=root\ngroup=root"
    } else {
        ""
    };
    format!(
        "port={}\nlisten-address={}\nbind-interfaces\n{user}\npid-file=\nno-resolv\nno-hosts\n\
         addn-hosts={}/hosts\nlocal-ttl=1\nlocal=/test/\n{more}\n",
        addr.port(),
        addr.ip(),
        dir.path().display(),
    )
}

impl Program {
    /// Gives dnsmasq other hosts and other lines, and has it start again with them.
    #[track_caller]
    pub fn rewrite(&mut self, hosts: &str, conf: &str) {
        self.dir.write("hosts", hosts);
        self.dir
            .write("dnsmasq.conf", dnsmasq_conf(&self.dir, self.addr, conf));
        self.kill();
        self.start_again();
    }
}

/// Prometheus with this configuration and these files beside it.
#[track_caller]
pub fn prometheus(config: &str, files: &[(&str, &[u8])]) -> Program {
    prometheus_with("", config, files)
}

/// The same with features that have to be asked for.
#[track_caller]
pub fn prometheus_with(features: &str, config: &str, files: &[(&str, &[u8])]) -> Program {
    let (dir, addr) = (TempDir::new(), unique_address());
    dir.write("prometheus.yml", config);
    for (name, content) in files {
        dir.write(name, content);
    }
    let args = [
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--log.level=warn",
        &format!("--web.listen-address={addr}"),
        &format!("--enable-feature={features}"),
    ];
    Program::start("prometheus", &args, addr, dir)
}

/// rsyslog that takes messages over TLS (RFC 5425) from who shows a certificate of this authority with the name `from`,
/// and writes them, as they came, into its file `messages`.
#[track_caller]
pub fn rsyslog(pair: &Pair, ca: &Path, from: &str) -> Program {
    let (dir, addr) = (TempDir::new(), unique_address());
    let (ca, cert, key) = (ca.display(), pair.cert.display(), pair.key.display());
    let (host, port) = (addr.ip(), addr.port());
    let messages = dir.path().join("messages");
    let conf = format!(
        "global(workDirectory=\"{}\" maxMessageSize=\"64k\" defaultNetstreamDriver=\"gtls\"
             defaultNetstreamDriverCAFile=\"{ca}\" defaultNetstreamDriverCertFile=\"{cert}\"
             defaultNetstreamDriverKeyFile=\"{key}\")
         module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\"
             streamDriver.authMode=\"x509/name\" permittedPeer=[\"{from}\"])
         input(type=\"imtcp\" address=\"{host}\" port=\"{port}\")
         template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")
         action(type=\"omfile\" file=\"{}\" template=\"raw\")\n",
        dir.path().display(),
        messages.display()
    );
    dir.write("rsyslog.conf", conf);
    let args = ["-n", "-f", "rsyslog.conf", "-i", "NONE"];
    Program::start("rsyslogd", &args, addr, dir)
}

/// etcd with one member, in the clear.
#[track_caller]
pub fn etcd() -> Program {
    let (dir, addr, peer) = (TempDir::new(), unique_address(), unique_address());
    let (client, peer) = (format!("http://{addr}"), format!("http://{peer}"));
    let args = [
        "--name=one",
        "--data-dir=data",
        "--logger=zap",
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=one={peer}"),
    ];
    Program::start("etcd", &args, addr, dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_fails_with_a_way_out() {
        let panic = std::panic::catch_unwind(|| find("no-such-program")).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("make test"), "{text}");
    }

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let output = run("cat", ["-"], b"hello");
        assert_eq!(output.stdout, b"hello");
    }

    #[test]
    fn nginx_serves_a_file_to_curl() {
        let nginx = nginx("", &[("a.txt", b"hello")]);
        let text = curl([format!("http://{}/a.txt", nginx.addr)]);
        assert_eq!(text, "hello");
    }

    #[test]
    fn mosquitto_takes_a_message_to_a_subscriber() {
        let broker = mosquitto();
        let (host, port) = (broker.addr.ip().to_string(), broker.addr.port().to_string());
        let to = ["-h", &host, "-p", &port, "-t", "a", "-q", "1"];
        let sent = run(
            "mosquitto_pub",
            to.into_iter().chain(["-m", "x", "-r"]),
            b"",
        );
        assert!(sent.status.success(), "{sent:?}");
        let got = run(
            "mosquitto_sub",
            to.into_iter().chain(["-C", "1", "-W", "10"]),
            b"",
        );
        assert_eq!(got.stdout, b"x\n");
    }
}
