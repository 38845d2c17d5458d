//! Sockets that were opened before this process began: by the Umay whose place it takes, or by systemd.
//!
//! A Umay that is upgraded starts its successor with one end of a unix stream as standard input and sends its
//! listening sockets over it ([`Handover`]): the same sockets, so that no connection is refused or lost between the two.
//! The successor says over it when it serves, or why it cannot. systemd's socket activation passes sockets
//! as descriptors from 3 up (sd_listen_fds(3)).

use std::env;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use listenfd::ListenFd;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde_json::{Value, json};
use umay_core::model::Listener;

use crate::keeper::AllByHand;

/// Set for a process that takes another's place. Not a `UMAY_` variable, for those are configuration.
pub(super) const MARK: &str = "_UMAY_SUCCEEDS";

/// What is sent is understood by who expects this. To be changed when it is no longer.
const VERSION: u64 = 1;

/// Sockets in one message; the kernel takes 253.
const BATCH: usize = 200;

/// Bytes of the list of sockets, and of an answer.
const LARGEST: u64 = 4 << 20;

/// How long either side waits for the other to send what it has at hand.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sockets that are there already.
#[derive(Default)]
pub struct Inherited {
    listeners: Vec<(Who, Vec<TcpListener>)>,
    admin: Option<(SocketAddr, TcpListener)>,
    control: Option<(PathBuf, UnixListener)>,
    by_hand: AllByHand,
    predecessor: Option<Predecessor>,
}

/// Whose sockets they are.
enum Who {
    /// Those of a listener of the Umay before.
    Listener {
        name: String,
        bind: SocketAddr,
        transparent: bool,
    },
    /// Those of whatever listens where they are bound.
    Bound(SocketAddr),
}

/// The Umay whose place this one takes.
struct Predecessor {
    stream: UnixStream,
    /// The admin socket was taken over.
    control: bool,
}

impl Inherited {
    /// Takes what was passed to this process, if anything was. To be called before any thread is started.
    pub fn take() -> anyhow::Result<Self> {
        if env::var_os(MARK).is_some() {
            return Self::receive().context("the sockets of the Umay before cannot be taken over");
        }
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for place in 0..passed.len() {
            match passed.take_tcp_listener(place) {
                Ok(Some(socket)) => {
                    let bound = socket.local_addr()?;
                    inherited.listeners.push((Who::Bound(bound), vec![socket]));
                }
                Ok(None) => {}
                Err(_) => bail!(
                    "the service manager passed a socket (number {place}) that is not of TCP: give ListenStream= an address \
                     and a port, as in ListenStream=0.0.0.0:443"
                ),
            }
        }
        Ok(inherited)
    }

    /// Receives the sockets of the Umay before over standard input.
    fn receive() -> anyhow::Result<Self> {
        let stream = io::stdin().as_fd().try_clone_to_owned()?;
        // Nothing else is to read from it.
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        let mut stream = UnixStream::from(stream);
        stream
            .set_read_timeout(Some(PATIENCE))
            .with_context(|| format!("{MARK} is set, but no Umay has started this one"))?;
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let length = u64::from_be_bytes(length);
        if length > LARGEST {
            bail!("the list of sockets is too long");
        }
        let mut text = Vec::new();
        (&stream).take(length).read_to_end(&mut text)?;
        let list: Value = serde_json::from_slice(&text)?;
        let version = list.get("version").and_then(Value::as_u64);
        if version != Some(VERSION) {
            bail!(
                "the two versions do not understand each other: stop the old one and start the new one"
            );
        }
        let mut sockets = receive_sockets(&stream)?.into_iter();
        let mut next = || sockets.next().context("a socket is missing");
        let mut inherited = Self::default();
        for entry in list
            .get("listeners")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let (who, count) = listener_of(entry).context("the list of sockets makes no sense")?;
            let own: anyhow::Result<Vec<_>> =
                (0..count).map(|_| next().map(TcpListener::from)).collect();
            inherited.listeners.push((who, own?));
        }
        if let Some(bind) = list.get("admin").and_then(Value::as_str) {
            inherited.admin = Some((bind.parse()?, next()?.into()));
        }
        if let Some(path) = list.get("control").and_then(Value::as_str) {
            inherited.control = Some((path.into(), next()?.into()));
        }
        let by_hand = list.get("by_hand").unwrap_or(&Value::Null);
        inherited.by_hand = AllByHand::from_carried(by_hand);
        inherited.predecessor = Some(Predecessor {
            stream,
            control: false,
        });
        Ok(inherited)
    }

    /// True if another Umay waits for this one to serve.
    pub(super) fn succeeds(&self) -> bool {
        self.predecessor.is_some()
    }

    /// What was set by hand.
    pub(super) fn by_hand(&self) -> AllByHand {
        self.by_hand.clone()
    }

    /// The sockets of a listener; none if it has none yet.
    pub(super) fn listener(&mut self, listener: &Listener) -> Vec<TcpListener> {
        let place = self.listeners.iter().position(|(who, _)| who.is(listener));
        place.map_or_else(Vec::new, |place| self.listeners.swap_remove(place).1)
    }

    /// The socket of the admin listener.
    pub(super) fn admin(&mut self, bind: SocketAddr) -> Option<TcpListener> {
        let (_, socket) = self.admin.take_if(|(have, _)| *have == bind)?;
        Some(socket)
    }

    /// The admin socket.
    pub(super) fn control(&mut self, path: &Path) -> Option<UnixListener> {
        let (_, socket) = self.control.take_if(|(have, _)| have == path)?;
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.control = true;
        }
        Some(socket)
    }

    /// Says that this process serves. Sockets that nobody wanted are closed.
    pub(super) fn serves(self) {
        for (who, _) in &self.listeners {
            match who {
                Who::Bound(address) => tracing::warn!(
                    addr = %address,
                    "the service manager passed a socket for which there is no listener; add one, or take it out of the .socket unit"
                ),
                Who::Listener { name, .. } => {
                    tracing::info!(listener = name, "closed, for it is not configured any more");
                }
            }
        }
        if let Some(predecessor) = self.predecessor {
            predecessor.tell(&json!({ "serves": true, "control": predecessor.control }));
        }
    }

    /// Says that this process will not serve, and why.
    pub fn fails(self, why: &str) {
        if let Some(predecessor) = self.predecessor {
            predecessor.tell(&json!({ "failed": why }));
        }
    }
}

impl Predecessor {
    fn tell(&self, what: &Value) {
        // One that has gone does not wait either.
        let _ = (&self.stream).write_all(what.to_string().as_bytes());
    }
}

impl Who {
    fn is(&self, listener: &Listener) -> bool {
        match self {
            Self::Listener {
                name,
                bind,
                transparent,
            } => listener.has_sockets(name, *bind, *transparent),
            Self::Bound(bound) => {
                // A socket of systemd's on [::] takes IPv4 as well, unless BindIPv6Only= says otherwise.
                let any = |ip: IpAddr| ip.is_unspecified();
                let both = any(bound.ip()) && bound.is_ipv6() && any(listener.bind.ip());
                let same_place = bound.ip() == listener.bind.ip() || both;
                same_place && bound.port() == listener.bind.port()
            }
        }
    }
}

/// Whose the sockets of an entry are, and how many.
fn listener_of(entry: &Value) -> Option<(Who, u64)> {
    let who = Who::Listener {
        name: entry.get("name")?.as_str()?.to_owned(),
        bind: entry.get("listen")?.as_str()?.parse().ok()?,
        transparent: entry.get("transparent")?.as_bool()?,
    };
    Some((who, entry.get("sockets")?.as_u64()?))
}

/// Receives sockets until a message has none.
fn receive_sockets(stream: &UnixStream) -> anyhow::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let got = recvmsg(stream, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let before = sockets.len();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                sockets.extend(some);
            }
        }
        match got.bytes {
            0 => bail!("the Umay before has left in the middle of it"),
            _ if sockets.len() == before => return Ok(sockets),
            _ => {}
        }
    }
}

/// What a process hands over to the one that takes its place.
pub(super) struct Handover<'a> {
    /// Each listener with its sockets.
    pub(super) listeners: Vec<(&'a Listener, &'a [TcpListener])>,
    /// The admin listener: what is configured, and its socket.
    pub(super) admin: Option<(SocketAddr, BorrowedFd<'a>)>,
    /// The admin socket.
    pub(super) control: Option<(&'a Path, BorrowedFd<'a>)>,
    /// What was set by hand.
    pub(super) by_hand: Value,
}

/// The same, as it is sent.
pub(super) struct Parcel {
    list: Vec<u8>,
    sockets: Vec<OwnedFd>,
}

impl Handover<'_> {
    /// Makes it ready to be sent.
    pub(super) fn pack(&self) -> io::Result<Parcel> {
        let listeners = self.listeners.iter().map(|(listener, sockets)| {
            json!({
                "name": listener.name,
                "listen": listener.bind.to_string(),
                "transparent": listener.transparent,
                "sockets": sockets.len(),
            })
        });
        let list = json!({
            "version": VERSION,
            "listeners": listeners.collect::<Vec<_>>(),
            "admin": self.admin.map(|(bind, _)| bind.to_string()),
            "control": self.control.map(|(path, _)| path.to_string_lossy()),
            "by_hand": self.by_hand,
        });
        let listeners = self.listeners.iter().flat_map(|(_, sockets)| *sockets);
        let all = listeners
            .map(AsFd::as_fd)
            .chain(self.admin.map(|(_, socket)| socket))
            .chain(self.control.map(|(_, socket)| socket));
        let sockets: io::Result<Vec<_>> = all.map(|fd| fd.try_clone_to_owned()).collect();
        Ok(Parcel {
            list: list.to_string().into_bytes(),
            sockets: sockets?,
        })
    }
}

impl Parcel {
    /// Sends it.
    pub(super) fn send(&self, mut stream: &UnixStream) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        let length = u64::try_from(self.list.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&self.list)?;
        for some in self.sockets.chunks(BATCH) {
            let some: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
            send_sockets(stream, &some)?;
        }
        send_sockets(stream, &[])
    }
}

fn send_sockets(stream: &UnixStream, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("too many sockets in one message"));
    }
    let bytes = [IoSlice::new(&[0])];
    sendmsg(stream, &bytes, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What a successor has said in the end.
pub(super) enum Said {
    /// It serves; and whether it has taken over the admin socket.
    Serves { control: bool },
    /// It does not, and why.
    Failed(String),
}

/// Reads what a successor says, until it has.
pub(super) fn hear(stream: &UnixStream) -> Said {
    let mut text = Vec::new();
    let read = stream.take(LARGEST).read_to_end(&mut text);
    let said: Value = serde_json::from_slice(&text).unwrap_or_default();
    if said.get("serves") == Some(&Value::Bool(true)) {
        let control = said.get("control") == Some(&Value::Bool(true));
        return Said::Serves { control };
    }
    let why = said.get("failed").and_then(Value::as_str);
    let late = read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    let ended = || match late {
        true => "it was not ready in time".to_owned(),
        false => "it ended before it was ready; its last words are in the log".to_owned(),
    };
    Said::Failed(why.map_or_else(ended, str::to_owned))
}

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inherited")
            .field("listeners", &self.listeners.len())
            .field("succeeds", &self.succeeds())
            .finish_non_exhaustive()
    }
}
