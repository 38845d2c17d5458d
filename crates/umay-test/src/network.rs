//! Hosts of a network that exists for one test: network namespaces, with wires between them.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{process, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::programs;

/// A host. Gone when dropped, with what the test has put into its rules and routes.
#[derive(Debug)]
pub struct Host {
    name: String,
}

impl Host {
    /// A host of its own, with loopback.
    ///
    /// # Panics
    /// If this process may not make any.
    #[track_caller]
    pub fn new(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("umay-{}-{n}-{label}", process::id());
        let made = programs::run("ip", ["netns", "add", &name], b"");
        assert!(
            made.status.success(),
            "cannot make a network namespace, which this test needs (run it as root): {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let host = Self { name };
        host.ip("link set lo up");
        host
    }

    /// Does something as a program of the host would: sockets that are opened, and programs and
    /// threads that are started, belong to it.
    pub fn enter<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                what()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs `ip` on it, with arguments that are separated by spaces.
    #[track_caller]
    pub fn ip(&self, args: &str) {
        let args = ["-n", &self.name].into_iter().chain(args.split(' '));
        done("ip", args, "");
    }

    /// Gives rules of netfilter to it.
    #[track_caller]
    pub fn nft(&self, rules: &str) {
        self.enter(|| done("nft", ["-f", "-"], &format!("{rules}\n")));
    }

    /// Its rules of netfilter.
    #[track_caller]
    pub fn rules(&self) -> String {
        self.enter(|| done("nft", ["list", "ruleset"], ""))
    }

    /// Sets a variable of the kernel, such as `net/ipv4/ip_forward`.
    #[track_caller]
    pub fn set(&self, variable: &str, value: &str) {
        self.enter(|| {
            std::fs::write(format!("/proc/sys/{variable}"), value)
                .unwrap_or_else(|error| panic!("{variable}: {error}"));
        });
    }

    /// Puts a wire between two hosts: a network of IPv4 and one of IPv6 with this number, in which
    /// this host has the first address and is the other one's way to everywhere.
    #[track_caller]
    pub fn wire(&self, other: &Self, number: u8) {
        let (ours, theirs) = (format!("net{number}"), &other.name);
        self.ip(&format!(
            "link add {ours} type veth peer name {ours} netns {theirs}"
        ));
        for (host, at) in [(self, 1), (other, 2)] {
            for ip in addresses(number, at, 0).map(|address| address.ip()) {
                let (length, nodad) = if ip.is_ipv4() {
                    (24, "")
                } else {
                    (64, " nodad")
                };
                host.ip(&format!("addr add {ip}/{length} dev {ours}{nodad}"));
            }
            host.ip(&format!("link set {ours} up"));
        }
        for ip in addresses(number, 1, 0).map(|address| address.ip()) {
            other.ip(&format!("route add default via {ip}"));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        programs::run("ip", ["netns", "del", &self.name], b"");
    }
}

/// The addresses of a host on the wire with this number, IPv4 and IPv6, with a port.
pub fn addresses(wire: u8, host: u16, port: u16) -> [SocketAddr; 2] {
    let v4 = [10, 77, wire, host as u8];
    let v6 = [0xfd77, wire.into(), 0, 0, 0, 0, 0, host];
    [(v4, port).into(), (v6, port).into()]
}

#[track_caller]
fn done<'a>(program: &str, args: impl IntoIterator<Item = &'a str>, input: &str) -> String {
    let args: Vec<_> = args.into_iter().collect();
    let output = programs::run(program, &args, input.as_bytes());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conn, Server};

    #[test]
    fn hosts_reach_each_other_by_their_wire_only() {
        let (one, two) = (Host::new("one"), Host::new("two"));
        one.wire(&two, 1);
        for addr in addresses(1, 2, 80) {
            two.enter(|| {
                let server = Server::start_at(addr, |conn, _| conn.send("two"));
                let got = one.enter(|| Conn::connect(addr).unwrap().read_to_end().unwrap().0);
                assert_eq!(got, b"two");
                drop(server);
            });
        }
    }
}
