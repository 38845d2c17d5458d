//! A name server that answers whatever a test wants it to, over UDP; and hostile ones.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Codes of answers (RFC 1035 section 4.1.1).
pub(super) const FINE: u8 = 0;
pub(super) const SERVER_FAILURE: u8 = 2;

/// The types of questions.
pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;

/// An answer: its code, and records as TTL and data.
pub(super) type Reply = (u8, Vec<(u32, Vec<u8>)>);

/// The server. Ends when dropped.
pub(super) struct NameServer {
    pub(super) addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl NameServer {
    /// Answers each question of a type with what `reply` says; `None` is silence.
    pub(super) fn start(reply: impl Fn(u16) -> Option<Reply> + Send + 'static) -> Self {
        Self::raw(move |question| {
            let kind =
                u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
            let (code, records) = reply(kind)?;
            let mut answer = question.to_vec();
            // An answer, recursion was asked for and is available; and the code.
            answer[2] = 0x81;
            answer[3] = 0x80 | code;
            answer[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
            for (ttl, data) in records {
                // The name of the question.
                answer.extend([0xc0, 12]);
                answer.extend(kind.to_be_bytes());
                answer.extend([0, 1]);
                answer.extend(ttl.to_be_bytes());
                answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                answer.extend(data);
            }
            Some(answer)
        })
    }

    /// Answers each question, which has nothing behind it, with these bytes.
    pub(super) fn raw(reply: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let addr = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !stopped.load(Ordering::SeqCst) {
                let Ok((read, from)) = socket.recv_from(&mut bytes) else {
                    continue;
                };
                if let Some(answer) = reply(&question(&bytes[..read])) {
                    socket.send_to(&answer, from).ok();
                }
            }
        });
        Self {
            addr,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The head and the one question of a message, without what is behind it.
fn question(message: &[u8]) -> Vec<u8> {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    let mut question = message[..at + 5].to_vec();
    question[6..12].fill(0);
    question
}
