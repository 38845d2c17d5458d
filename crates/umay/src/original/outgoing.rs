//! Umay's own connections to endpoints: marked, so that rules can exempt them, and remembered, so
//! that one that comes back is known.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::LazyLock;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use super::Table;

/// The mark (`SO_MARK`) of Umay's own connections: "umay" in ASCII.
pub const MARK: u32 = 0x756d_6179;

/// The connections that are open, as pairs of addresses: ours, theirs.
static OPEN: LazyLock<Table> = LazyLock::new(|| Table::new(16 * 1024));

/// A connection of ours, remembered for as long as this lives.
#[derive(Debug)]
pub struct Outgoing(NonZeroU64);

impl Drop for Outgoing {
    fn drop(&mut self) {
        OPEN.remove(self.0);
    }
}

/// True if a connection from `peer` that was headed to `destination` is one of ours: no two at a
/// time have the same addresses at both ends.
pub fn is_outgoing(peer: SocketAddr, destination: SocketAddr) -> bool {
    OPEN.contains(&(peer, destination))
}

/// True if this process may mark its connections.
pub fn can_mark() -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
    socket.is_ok_and(|socket| socket.set_mark(MARK).is_ok())
}

/// Connects to an endpoint. What comes beside the socket is to be kept as long.
pub async fn connect(to: SocketAddr) -> io::Result<(TcpStream, Option<Outgoing>)> {
    if !super::is_wanted() {
        return Ok((TcpStream::connect(to).await?, None));
    }
    let (stream, outgoing) = remembered(to).await?;
    Ok((stream, Some(outgoing)))
}

/// The same without remembering it: for connections that carry nobody's request.
pub async fn marked(to: SocketAddr) -> io::Result<TcpStream> {
    connect(to).await.map(|(stream, _)| stream)
}

async fn remembered(to: SocketAddr) -> io::Result<(TcpStream, Outgoing)> {
    let domain = Domain::for_address(to);
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Without CAP_NET_ADMIN or CAP_NET_RAW there is no mark, and rules exempt Umay's user instead.
    let _ = socket.set_mark(MARK);
    match socket.connect(&to.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    // Before a byte is sent: whoever judges the connection at its other end has read one.
    let ours = socket.local_addr()?.as_socket();
    let ours = ours.ok_or(io::ErrorKind::AddrNotAvailable)?;
    let outgoing = Outgoing(OPEN.insert(&(ours, to)));
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok((stream, outgoing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_known_for_as_long_as_it_lives() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let (stream, outgoing) = remembered(to).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
        assert!(is_outgoing(peer, to));
        assert!(!is_outgoing(to, peer));
        drop(outgoing);
        assert!(!is_outgoing(peer, to));
    }

    #[tokio::test]
    async fn a_refused_connection_is_an_error() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = taken.local_addr().unwrap();
        drop(taken);
        let error = remembered(to).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
