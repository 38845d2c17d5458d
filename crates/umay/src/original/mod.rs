//! Where a connection was headed before netfilter redirected it or TPROXY caught it, and whether
//! that is Umay itself.
//!
//! A redirect (`nat`) changes the destination, and the kernel tells what it was (`SO_ORIGINAL_DST`).
//! TPROXY leaves it as it is: the accepted socket's own address is the destination.
//!
//! Rules that do not exempt Umay send its own connections back to it, again and again. So those are
//! marked, for rules to exempt them ([`MARK`]), and remembered ([`Outgoing`]): a connection from and
//! to the same addresses as one that Umay holds at the other end is that one, come back. That is so
//! for connections to any endpoint, for rules take those to original destinations and all others
//! alike; and only where some route goes to original destinations, so that nobody else pays. What
//! this gives up: a loop through a second proxy, or through NAT on another machine, is not seen.

mod outgoing;
mod table;

pub use outgoing::{MARK, Outgoing, can_mark, connect, is_outgoing, marked};
pub use table::Table;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::LazyLock;

use arc_swap::ArcSwap;
use socket2::SockRef;
use tokio::net::TcpStream;

/// Where the process listens; empty if nobody wants to know. There is one network, and one set of
/// sockets in it, per process.
static LISTENING: LazyLock<ArcSwap<Vec<SocketAddr>>> = LazyLock::new(ArcSwap::default);

/// Tells where the process listens, all in all, and that some of it goes to original destinations.
pub fn listening(addresses: Vec<SocketAddr>) {
    LISTENING.store(addresses.into());
}

/// Where a connection was headed that a listener on `bound` has accepted; `None` if that is the
/// listener itself, or nobody knows. One system call, unless the ports are the same.
pub fn destination(stream: &TcpStream, bound: SocketAddr, transparent: bool) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let redirected = match bound {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    // Without connection tracking there is no redirect, and nothing is known of one.
    let headed = match redirected {
        Ok(address) => address.as_socket()?,
        Err(_) if transparent => stream.local_addr().ok()?,
        Err(_) => return None,
    };
    (!covers(bound, headed)).then_some(headed)
}

/// True if the process goes to original destinations.
fn is_wanted() -> bool {
    !LISTENING.load().is_empty()
}

/// True if a connection to there would come to one of the process's own listeners.
pub fn is_own(address: SocketAddr) -> bool {
    let listening = LISTENING.load();
    listening.iter().any(|own| covers(*own, address))
}

/// True if a socket that is bound to `bound` gets connections to `address`.
fn covers(bound: SocketAddr, address: SocketAddr) -> bool {
    bound.port() == address.port()
        && bound.is_ipv4() == address.is_ipv4()
        && (bound.ip() == address.ip() || (bound.ip().is_unspecified() && is_local(address.ip())))
}

/// True for an address of this machine: one that a socket can be bound to.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    fn covers(bound: &str, address: &str) -> bool {
        super::covers(bound.parse().unwrap(), address.parse().unwrap())
    }

    #[test]
    fn a_listener_on_all_addresses_covers_those_of_the_machine() {
        assert!(covers("127.0.0.1:80", "127.0.0.1:80"));
        assert!(covers("0.0.0.0:80", "127.0.0.1:80"));
        assert!(covers("[::]:80", "[::1]:80"));
        // Documentation addresses, which no machine has.
        assert!(!covers("0.0.0.0:80", "192.0.2.1:80"));
        assert!(!covers("[::]:80", "[2001:db8::1]:80"));
        assert!(!covers("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!covers("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!covers("0.0.0.0:80", "[::1]:80"));
    }
}
