//! TLS, towards clients and towards endpoints.
//!
//! [`ServerTls`] is what one listener has: its certificates, picked by the server name (SNI), and
//! the settings they are served with. [`ClientTls`] is how one upstream's endpoints are spoken to.
//! Both are read from files, are never changed afterwards, and say everything that is wrong
//! with the files in one go ([`TlsProblem`]). [`accept_reason`] and [`connect_reason`] turn what a
//! handshake died of into a reason word, and [`PeerFacts`] is what is known after one that did not.
//!
//! TLS 1.2 (six ECDHE suites with AEAD) and TLS 1.3. Sessions resume by tickets whose keys are made
//! at random, kept in memory and rotated every 6 hours; a ticket is good for 12. There is no 0-RTT,
//! for its requests can be replayed.

mod certificate;
mod client;
mod dir;
mod failure;
mod files;
mod key;
mod keyring;
mod names;
mod peer;
mod problem;
mod self_signed;
mod server;
mod subject;
mod verify;
mod x509;

#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group as group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

pub use certificate::CertificateInfo;
pub use client::{ClientTls, Offer};
pub(crate) use dir::state as state_of_directory;
pub use failure::{accept_reason, connect_reason, connect_reason_of};
pub use peer::PeerFacts;
pub use problem::{Severity, TlsProblem};
pub use self_signed::{SelfSigned, self_signed};
pub use server::{Choice, ServerTls};
pub use x509::sha256;

/// Makes Umay's cryptography the process's default, for libraries that ask for one. To be called
/// first in `main`; a second call does nothing. What this room makes does not depend on it.
pub fn install_provider() {
    // It fails only if there is a default already, and then that one stays.
    let _ = CryptoProvider::clone(&PROVIDER).install_default();
}

/// The most wanted first. AES-GCM before ChaCha20 is what processors are built for; a client that
/// prefers ChaCha20 gets it, since the client's order counts.
static SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The most wanted first: what is recorded today shall not be read by the computers of tomorrow.
static GROUPS: [&dyn SupportedKxGroup; 4] = [
    group::X25519MLKEM768,
    group::X25519,
    group::SECP256R1,
    group::SECP384R1,
];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: GROUPS.to_vec(),
        ..aws_lc_rs::default_provider()
    })
});

fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}
