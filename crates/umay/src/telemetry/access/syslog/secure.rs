//! Syslog over TLS (RFC 5425): the handshake, and an end in order.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};

use super::link::{Paced, State, at_once, looks, of_error};

/// How TLS is spoken to a syslog.
#[derive(Clone)]
pub struct SyslogTls {
    /// Whom to trust, and what to show.
    pub config: Arc<ClientConfig>,
    /// The name to ask for and to verify.
    pub name: ServerName<'static>,
    /// Says what a handshake died of, and what to do.
    pub explain: fn(&io::Error) -> String,
}

// No key is to be printed.
impl fmt::Debug for SyslogTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyslogTls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A connection with TLS.
pub(super) struct Secure {
    socket: TcpStream,
    tls: ClientConnection,
    explain: fn(&io::Error) -> String,
}

impl Secure {
    /// Shakes hands. Nothing of the log is sent before the other side has been verified.
    pub(super) fn open(socket: TcpStream, with: &SyslogTls) -> io::Result<Self> {
        let tls = ClientConnection::new(Arc::clone(&with.config), with.name.clone());
        let mut tls = tls.map_err(io::Error::other)?;
        let mut paced = Paced::new(&socket);
        while tls.is_handshaking() || tls.wants_write() {
            if let Err(error) = tls.complete_io(&mut paced) {
                let why = (with.explain)(&error);
                return Err(io::Error::new(error.kind(), why));
            }
        }
        Ok(Self {
            socket,
            tls,
            explain: with.explain,
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { socket, tls, .. } = self;
        let mut paced = Paced::new(socket);
        let mut stream = Stream::new(tls, &mut paced);
        stream.write_all(bytes)?;
        // All of it, or it is not known whether it went out.
        while tls.wants_write() {
            tls.write_tls(&mut paced)?;
        }
        Ok(())
    }

    /// How it is. In TLS 1.3 a syslog that does not take our certificate says so after the handshake is over for us.
    pub(super) fn state(&mut self) -> State {
        let Self {
            socket,
            tls,
            explain,
        } = self;
        at_once(socket, |mut socket| {
            for _ in looks() {
                match tls.read_tls(&mut socket) {
                    Ok(0) => return State::Closed,
                    Ok(_) => {}
                    Err(error) => return of_error(&error),
                }
                let said = match tls.process_new_packets() {
                    Ok(said) => said,
                    Err(error) => {
                        let error = io::Error::new(ErrorKind::InvalidData, error);
                        let why = explain(&error);
                        return State::Refused(io::Error::new(ErrorKind::InvalidData, why));
                    }
                };
                if said.peer_has_closed() {
                    return State::Closed;
                }
                while matches!(tls.reader().read(&mut [0; 1024]), Ok(count) if count > 0) {}
            }
            State::Open
        })
    }
}

/// Ends in order (RFC 5425 section 4.4), without waiting. What was not read is read before: the kernel would answer it
/// with a reset, which takes away what the other side has not read yet.
impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.state();
        self.tls.send_close_notify();
        if self.socket.set_nonblocking(true).is_ok() {
            let _ = self.tls.write_tls(&mut self.socket);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
