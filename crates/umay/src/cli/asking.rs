//! Asking a Umay that runs for its status document: on the admin listener, or on the admin socket.

use std::env;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

#[cfg(feature = "top")]
pub(super) const HELP: &str = "\
Without --admin and --socket it is UMAY_ADMIN__BIND or UMAY_ADMIN__SOCKET, and else 127.0.0.1:9901. What is told:
docs/status.md.";

/// Where the admin listener is unless somebody says otherwise.
const DEFAULT: &str = "127.0.0.1:9901";

/// Umay answers at once, unless it is very busy or stopped.
const WAIT: Duration = Duration::from_secs(5);

/// More than the document of a hundred thousand endpoints has.
const MOST: u64 = 256 << 20;

/// Which Umay is asked.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Which {
    /// The admin listener, as in admin.bind
    #[arg(long, value_name = "ADDR", conflicts_with = "socket")]
    admin: Option<String>,
    /// The admin socket, as in admin.socket
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

/// Where a Umay can be asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// Its admin listener.
    Listener(String),
    /// Its admin socket.
    Socket(PathBuf),
}

impl Which {
    /// What the flags say, and else the environment.
    pub(super) fn place(&self) -> Place {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        self.place_with(variable("UMAY_ADMIN__BIND"), variable("UMAY_ADMIN__SOCKET"))
    }

    fn place_with(&self, bind: Option<String>, socket: Option<String>) -> Place {
        if let Some(socket) = &self.socket {
            return Place::Socket(socket.clone());
        }
        if let Some(admin) = &self.admin {
            return Place::Listener(admin.clone());
        }
        let bind = bind.filter(|bind| bind != "off");
        match (bind, socket) {
            (Some(bind), _) => Place::Listener(bind),
            (None, Some(socket)) => Place::Socket(socket.into()),
            (None, None) => Place::Listener(DEFAULT.to_owned()),
        }
    }
}

impl Place {
    /// Its name, for people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Listener(address) => address.clone(),
            Self::Socket(path) => path.display().to_string(),
        }
    }

    /// Asks for the status document. The error is a sentence without a full stop.
    pub(super) fn ask(&self) -> Result<Value, String> {
        let answer = match self {
            Self::Listener(address) => ask_listener(address)?,
            Self::Socket(path) => UnixStream::connect(path)
                .and_then(|stream| {
                    stream.set_read_timeout(Some(WAIT))?;
                    stream.set_write_timeout(Some(WAIT))?;
                    exchange(stream, "umay")
                })
                .map_err(|error| in_words(&error))?,
        };
        read(&answer)
    }

    /// What to do when nobody answers.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Listener(_) => {
                "is Umay running? Its event log says `admin` and the address when it starts; admin.bind sets it. \
                 Give it with --admin ADDR, or the admin socket with --socket FILE"
            }
            Self::Socket(_) => {
                "is Umay running with admin.socket set to this file, and may you open it? Only the user that Umay \
                 runs as may, and root"
            }
        }
    }
}

fn ask_listener(address: &str) -> Result<Vec<u8>, String> {
    let addresses = address
        .to_socket_addrs()
        .map_err(|_| format!("`{address}` is no address; write it as 127.0.0.1:9901"))?;
    let mut last = format!("`{address}` has no address");
    for address in addresses.map(reachable) {
        let asked = TcpStream::connect_timeout(&address, WAIT).and_then(|stream| {
            stream.set_read_timeout(Some(WAIT))?;
            stream.set_write_timeout(Some(WAIT))?;
            // By its address, for the page is not shown under a name.
            exchange(stream, &address.to_string())
        });
        match asked {
            Ok(answer) => return Ok(answer),
            Err(error) => last = in_words(&error),
        }
    }
    Err(last)
}

/// Who listens on all addresses is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn exchange(mut stream: impl Read + Write, host: &str) -> io::Result<Vec<u8>> {
    let request = format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut stream = stream.take(MOST);
    let mut part = vec![0; 64 << 10];
    // Whoever else answers may not close afterwards.
    while !is_whole(&answer) {
        match stream.read(&mut part)? {
            0 => break,
            length => answer.extend(part.iter().take(length)),
        }
    }
    Ok(answer)
}

/// Where the body of an answer begins.
fn body_at(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    end.map(|end| end + 4)
}

/// True if the length of the body is told, and all of it is there.
fn is_whole(answer: &[u8]) -> bool {
    let Some((head, body)) = body_at(answer).and_then(|at| answer.split_at_checked(at)) else {
        return false;
    };
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be opened".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {} s", WAIT.as_secs())
        }
        _ => error.to_string(),
    }
}

fn read(answer: &[u8]) -> Result<Value, String> {
    let other = || "something else than Umay answers there".to_owned();
    let parts = body_at(answer).and_then(|at| answer.split_at_checked(at));
    let (head, body) = parts.ok_or_else(other)?;
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let body = String::from_utf8_lossy(body);
        let first = body.lines().next().unwrap_or_default();
        return Err(format!("it answers {status}: {first}"));
    }
    let document: Value = serde_json::from_slice(body).map_err(|_| other())?;
    match document.get("stage").is_some_and(Value::is_string) {
        true => Ok(document),
        false => Err(other()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_the_environment() {
        let listener = |address: &str| Place::Listener(address.to_owned());
        let socket = |path: &str| Place::Socket(path.into());
        let which = |admin: &str, socket: &str| Which {
            admin: (!admin.is_empty()).then(|| admin.to_owned()),
            socket: (!socket.is_empty()).then(|| socket.into()),
        };
        for (flags, bind, path, expected) in [
            (which("", ""), None, None, listener(DEFAULT)),
            (which("", ""), Some("[::]:1"), Some("s"), listener("[::]:1")),
            (which("", ""), Some("off"), Some("s"), socket("s")),
            (which("", ""), Some("off"), None, listener(DEFAULT)),
            (which("a:1", ""), Some("b:1"), Some("s"), listener("a:1")),
            (which("", "t"), Some("b:1"), Some("s"), socket("t")),
        ] {
            let place = flags.place_with(bind.map(str::to_owned), path.map(str::to_owned));
            assert_eq!(place, expected, "{flags:?} {bind:?} {path:?}");
        }
    }

    #[test]
    fn all_addresses_are_asked_on_loopback() {
        for (bind, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reachable(bind.parse().unwrap()).to_string(), asked);
        }
    }

    #[test]
    fn an_answer_ends_with_its_length() {
        for (answer, whole) in [
            ("", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", true),
            ("HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\nab", false),
        ] {
            assert_eq!(is_whole(answer.as_bytes()), whole, "{answer}");
        }
    }

    #[test]
    fn only_a_status_document_is_one() {
        let check = |answer: &str, expected: Result<&str, &str>| {
            let read = read(answer.as_bytes());
            let read = read.map(|document| document["stage"].as_str().unwrap().to_owned());
            assert_eq!(
                read,
                expected.map(str::to_owned).map_err(str::to_owned),
                "{answer}"
            );
        };
        let other = Err("something else than Umay answers there");
        check("HTTP/1.1 200 OK\r\n\r\n{\"stage\":\"ready\"}", Ok("ready"));
        check("HTTP/1.1 200 OK\r\n\r\n{\"stage\":1}", other);
        check("HTTP/1.1 200 OK\r\n\r\n{\"stage\":\"re", other);
        check("SSH-2.0\r\n", other);
        check("", other);
        check(
            "HTTP/1.1 404 Not Found\r\n\r\nnothing\nhere",
            Err("it answers 404: nothing"),
        );
    }
}
