//! What is known of a client after its handshake.

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use umay_core::route::ClientCertFacts;

use super::x509;
use crate::telemetry::metrics::TlsVersion;

/// What is known of a client after its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// The version that was agreed on.
    pub version: TlsVersion,
    /// The server name the client asked for, in lower case.
    pub sni: Option<String>,
    /// The application protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The session is a former one, resumed.
    pub resumed: bool,
    /// The cipher suite, such as `TLS13_AES_128_GCM_SHA256`.
    pub suite: &'static str,
    /// The group of the key exchange, such as `X25519MLKEM768`; empty if there was no exchange, as
    /// when a session of TLS 1.2 is resumed.
    pub group: &'static str,
    /// The client's certificate, if it showed one; it was verified.
    pub client_cert: Option<ClientCertFacts>,
}

impl PeerFacts {
    /// Reads them from a connection whose handshake is done.
    pub fn of(conn: &ServerConnection) -> Self {
        let version = match conn.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let suite = conn.negotiated_cipher_suite();
        let group = conn.negotiated_key_exchange_group();
        let chain = conn.peer_certificates().unwrap_or_default();
        Self {
            version,
            sni: conn.server_name().map(str::to_owned),
            alpn: conn.alpn_protocol().map(<[u8]>::to_vec),
            resumed: conn.handshake_kind() == Some(HandshakeKind::Resumed),
            suite: suite
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or_default(),
            group: group
                .and_then(|group| group.name().as_str())
                .unwrap_or_default(),
            client_cert: chain.first().map(|der| x509::client_facts(der)),
        }
    }
}
