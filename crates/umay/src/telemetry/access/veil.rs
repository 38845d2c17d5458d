//! What a line may tell of people.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use umay_core::model::Privacy;

use super::line;
use crate::telemetry::privacy::Addresses;

/// What is left out, as `privacy` says.
#[derive(Debug)]
pub(super) struct Veil {
    addresses: Addresses,
    /// Values of queries.
    pub(super) queries: bool,
    /// `User-Agent`.
    pub(super) user_agent: bool,
    /// `Referer`.
    pub(super) referer: bool,
}

impl Veil {
    pub(super) fn new(privacy: &Privacy) -> Self {
        Self {
            addresses: Addresses::new(privacy.shown()),
            queries: privacy.gdpr,
            user_agent: privacy.hides("user-agent"),
            referer: privacy.hides("referer"),
        }
    }

    /// To be told the time before each line.
    pub(super) fn renew(&mut self, now: SystemTime) {
        self.addresses.renew(now);
    }

    /// True if addresses are told as they are, and with their ports.
    pub(super) fn is_open(&self) -> bool {
        self.addresses.are_whole()
    }

    /// Writes an address.
    pub(super) fn ip(&self, out: &mut Vec<u8>, ip: IpAddr) {
        out.extend_from_slice(self.addresses.text(ip).as_bytes());
    }

    /// Writes an address with its port, if that may be told: behind a shared address it is what tells one
    /// client from another.
    pub(super) fn socket(&self, out: &mut Vec<u8>, socket: SocketAddr) {
        if self.is_open() {
            line::socket(out, socket);
        } else {
            self.ip(out, socket.ip());
        }
    }
}
