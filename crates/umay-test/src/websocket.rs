//! WebSocket over a [`Conn`](crate::Conn), by a library that has nothing of Umay in it.

use std::io::{self, Read, Write};

use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::Response;
use tungstenite::{Error, WebSocket};

/// Shakes hands as a client, for a URL such as `ws://a.test/chat`. The connection is made (and
/// encrypted, whatever the URL says) already. The error is what was answered instead.
pub fn connect<S: Read + Write>(
    conn: S,
    url: &str,
) -> Result<(WebSocket<S>, Response), Box<Error>> {
    // The library asks for the scheme only when it connects by itself.
    let url = url.replacen("wss://", "ws://", 1);
    tungstenite::client(url, conn).map_err(|error| match error {
        HandshakeError::Failure(error) => Box::new(error),
        HandshakeError::Interrupted(_) => Box::new(io::Error::from(io::ErrorKind::TimedOut).into()),
    })
}

/// What a server answers to the `Sec-WebSocket-Key` of a client.
pub fn accept_key(key: &str) -> String {
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

/// Shakes hands as a server.
pub fn accept<S: Read + Write>(conn: S) -> io::Result<WebSocket<S>> {
    tungstenite::accept(conn).map_err(|error| io::Error::other(error.to_string()))
}

/// Shakes hands as a server and echoes every text and binary message until the client closes.
pub fn echo<S: Read + Write>(conn: S) -> io::Result<()> {
    echo_on(&mut accept(conn)?)
}

/// The same where hands were shaken already.
pub fn echo_on<S: Read + Write>(socket: &mut WebSocket<S>) -> io::Result<()> {
    loop {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => {
                socket.send(message).map_err(io::Error::other)?;
            }
            // The library answers pings and closes by itself.
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conn, Server};
    use tungstenite::Message;

    #[test]
    fn two_ends_understand_each_other() {
        let server = Server::start(|conn, _| echo(conn));
        let conn = Conn::connect(server.addr()).unwrap();
        let (mut socket, _) = connect(conn, "ws://a.test/").unwrap();
        socket.send(Message::text("hello")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("hello"));
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        server.wait_ended(1);
    }
}
