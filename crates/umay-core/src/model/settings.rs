//! Deadlines and caps, with their defaults.

use std::time::Duration;

use crate::frames::Allowance;

/// Deadlines. All but `connect`, `handshake`, `header`, `total` and `drain` are by progress: each byte that moves starts them anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake with a client, whole. Default 10 s.
    pub handshake: Duration,
    /// A request head, from its first byte to its last. Default 15 s.
    pub header: Duration,
    /// A request or response body, between two reads. Default 60 s.
    pub body: Duration,
    /// Between two successful writes to a peer that has stopped taking. Default 60 s.
    pub send: Duration,
    /// An idle client connection, until the first byte of a request. Default 75 s.
    pub keep_alive: Duration,
    /// TCP connect (and TLS handshake, each) to an endpoint. Default 3 s.
    pub connect: Duration,
    /// From the request sent to the first byte of the answer. Default 60 s.
    pub first_byte: Duration,
    /// A whole request, from its head to the last byte of its answer. `None` (default): as long as it moves.
    pub total: Option<Duration>,
    /// A tunnel (TCP, WebSocket) without a byte either way. Default 1 h.
    pub tunnel: Duration,
    /// How long a drain may take before what is left is cut. Default 30 s.
    pub drain: Duration,
    /// How long to keep accepting after readiness went off, when draining. Default 0 s.
    pub drain_delay: Duration,
    /// How long the process before may go on with what is open after an upgrade. `None` (default): until it is over.
    pub upgrade: Option<Duration>,
    /// How long a silent client is waited for before it is taken for one whose server speaks first. Default 300 ms.
    pub detect: Duration,
    /// An idle connection to an endpoint. Default 55 s.
    pub upstream_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(15),
            body: Duration::from_secs(60),
            send: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(60),
            total: None,
            tunnel: Duration::from_secs(3600),
            drain: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            upgrade: None,
            detect: Duration::from_millis(300),
            upstream_idle: Duration::from_secs(55),
        }
    }
}

/// Caps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request or response head. Default 32 KiB.
    pub head: usize,
    /// Fields in a head. Default 100.
    pub fields: usize,
    /// Bytes of a request target. Default 8 KiB.
    pub target: usize,
    /// Bytes of a request body; `None` (default) is unlimited.
    pub body: Option<u64>,
    /// Client connections in all; `None` (default) is nine tenths of the file-descriptor limit, halved (each may need an endpoint's).
    pub connections: Option<usize>,
    /// Idle connections kept per endpoint, by the whole process. Default 1024.
    pub pool: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 * 1024,
            fields: 100,
            target: 8 * 1024,
            body: None,
            connections: None,
            pool: 1024,
        }
    }
}

/// How HTTP/2 is spoken (RFC 9113), to clients and to endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Streams that a client may have open on one connection, and that are sent on one connection
    /// to an endpoint. Default 100.
    pub max_streams: u32,
    /// Bytes of a body that may come before they are passed on, per stream. Default 256 KiB.
    pub stream_window: u32,
    /// The same for all streams of a client's connection, at least: there is always room for
    /// `stream_window` on each stream whose body has not come yet, so that uploads which an endpoint
    /// does not take do not stop others. Default 1 MiB. Towards endpoints it is `max_streams` times
    /// `stream_window`, so that clients who read slowly do not stop others.
    pub connection_window: u32,
    /// Bytes of a frame's payload. Default 16 KiB.
    pub max_frame: u32,
    /// An idle client connection without streams. Default 180 s.
    pub idle: Duration,
    /// A connection with streams on which nothing has come for so long is asked for a sign of life
    /// (PING). Default 30 s.
    pub ping_interval: Duration,
    /// How long the sign of life may take. Default 10 s.
    pub ping_timeout: Duration,
    /// What a client may do in ten seconds before it is cut off.
    pub allowance: Allowance,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_streams: 100,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            max_frame: 16 * 1024,
            idle: Duration::from_secs(180),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            allowance: Allowance::default(),
        }
    }
}
