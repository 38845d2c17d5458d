//! How the socket's file comes to be, and what is told if it cannot.
//!
//! The file has its mode from its first moment: Linux gives a socket's file the mode that its descriptor has when
//! it is bound, so that is set before (by `fchmod`), and no umask, no moment between two calls and no second
//! directory is needed. Nobody is listened to until the file has been looked at. What is not a socket is never taken
//! away, and a link is never followed.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

/// Bytes that the path of a unix socket can have (`sun_path` of Linux without its final zero).
const LONGEST: usize = 107;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Its owner may read and write, which is what connecting takes, and nobody else may do anything.
const OWNERS_ONLY: u32 = 0o600;

/// Listens at `path`, in place of a socket that nobody listens at any more.
///
/// Fails with `AddrInUse` if somebody does, with `AlreadyExists` if there is something else, and with
/// `InvalidInput` if the path is too long.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let address = address(path)?;
    make_room(path)?;
    let socket = make(&address)?;
    let listening = owners_only(path).and_then(|()| socket.listen(BACKLOG));
    if let Err(error) = listening {
        // Else it would be taken for one that somebody has left.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(UnixListener::from(std::os::fd::OwnedFd::from(socket)))
}

/// Connects to the socket at `path`, with a deadline for this and for whatever is read and written.
pub(super) fn connect(path: &Path, wait: Duration) -> io::Result<UnixStream> {
    let address = address(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Where nobody accepts, connecting waits like writing does.
    socket.set_write_timeout(Some(wait))?;
    socket.set_read_timeout(Some(wait))?;
    socket.connect(&address)?;
    Ok(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
}

fn address(path: &Path) -> io::Result<SockAddr> {
    let length = path.as_os_str().len();
    if length > LONGEST {
        let message = format!(
            "the path has {length} bytes, and that of a socket no more than {LONGEST}: put it nearer to the root"
        );
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    SockAddr::unix(path)
}

/// Makes the file, with its mode at once: no umask lets more through, though it can take something away.
fn make(address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::from_raw_mode(OWNERS_ONLY))?;
    socket.bind(address)?;
    Ok(socket)
}

/// Takes a socket away that nobody listens at.
fn make_room(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let message = format!("{} is there, which is left alone", kind(&found));
        return Err(io::Error::new(ErrorKind::AlreadyExists, message));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One that has more to accept than it can hold is listening too.
    socket.set_nonblocking(true)?;
    match socket.connect(&address(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(()) => taken(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => taken(),
        Err(error) => Err(error),
    }
}

fn taken() -> io::Result<()> {
    let message = "another process listens there";
    Err(io::Error::new(ErrorKind::AddrInUse, message))
}

fn kind(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else {
        "something that is no socket"
    }
}

/// Fails if anybody but its owner may open the socket, or its owner may not.
fn owners_only(path: &Path) -> io::Result<()> {
    let mode = fs::symlink_metadata(path)?.permissions().mode() & 0o7777;
    if mode == OWNERS_ONLY {
        return Ok(());
    }
    let message =
        format!("its file got mode {mode:04o} in place of {OWNERS_ONLY:04o}; is it the umask?");
    Err(io::Error::new(ErrorKind::PermissionDenied, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use umay_test::TempDir;

    use super::*;

    fn refused(path: &Path, kind: ErrorKind, words: &str) {
        let error = bind(path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }

    /// Before the first `listen`, and without any `chmod` of the path.
    #[test]
    fn the_file_is_born_with_its_mode() {
        let dir = TempDir::new();
        let path = dir.path().join("born");
        let _made = make(&address(&path).unwrap()).unwrap();
        owners_only(&path).unwrap();
        // What would be without it: the test could not tell otherwise.
        let path = dir.path().join("plain");
        let _plain = UnixListener::bind(&path).unwrap();
        let error = owners_only(&path).unwrap_err().to_string();
        assert!(error.contains("in place of 0600"), "{error}");
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = TempDir::new();
        let kept = dir.write("kept", "precious");
        refused(&kept, ErrorKind::AlreadyExists, "a file is there");
        refused(dir.path(), ErrorKind::AlreadyExists, "a directory is there");
        // A link to a file, to nothing, and to a socket that nobody listens at.
        let dead = dir.path().join("dead");
        drop(bind(&dead).unwrap());
        for (name, target) in [("a", "kept"), ("b", "nothing"), ("c", "dead")] {
            let link = dir.path().join(name);
            symlink(target, &link).unwrap();
            refused(&link, ErrorKind::AlreadyExists, "a symbolic link is there");
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
        assert!(!dir.path().join("nothing").exists());
        assert!(fs::symlink_metadata(&dead).is_ok());
        assert_eq!(fs::read_to_string(kept).unwrap(), "precious");
    }

    #[test]
    fn a_dead_socket_gives_way_and_a_live_one_does_not() {
        let dir = TempDir::new();
        let path = dir.path().join("socket");
        drop(bind(&path).unwrap());
        let live = bind(&path).unwrap();
        refused(&path, ErrorKind::AddrInUse, "another process listens there");
        // Not even one that has stopped to accept.
        let mut waiting = Vec::new();
        loop {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            match socket.connect(&SockAddr::unix(&path).unwrap()) {
                Ok(()) => waiting.push(socket),
                Err(_) => break,
            }
        }
        assert!(!waiting.is_empty());
        refused(&path, ErrorKind::AddrInUse, "another process listens there");
        drop(live);
        bind(&path).unwrap();
    }

    #[test]
    fn a_path_has_a_length_that_it_may_have() {
        let dir = TempDir::new();
        let room = LONGEST - dir.path().as_os_str().len() - 1;
        bind(&dir.path().join("x".repeat(room))).unwrap();
        let long = dir.path().join("x".repeat(room + 1));
        refused(&long, ErrorKind::InvalidInput, "no more than 107");
        let error = connect(&long, Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("no more than 107"), "{error}");
    }
}
