//! The closed set of reason words: why Umay refused, cut or gave up.
//!
//! A word is the same in the access log, as a metric label, in `Proxy-Status` (RFC 9209) and in
//! `docs/reasons.md`, which says for each what it means and what to do. Side and status are written
//! in the table below, and nowhere else.

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The endpoint's, or that of the way to it.
    Upstream,
    /// Umay's own: its limits, its configuration, its end of life.
    Internal,
}

impl Side {
    /// The word for logs: `downstream`, `upstream`, `internal`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident = $word:literal, $side:ident, $status:literal, $proxy_error:literal, $what:literal;)*) => {
        /// Why a request or a connection was refused or cut.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $what] $variant,)* }

        impl Reason {
            /// Every reason, in the order of `docs/reasons.md`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Whose fault it is.
            pub fn side(self) -> Side {
                match self { $(Self::$variant => Side::$side,)* }
            }

            /// The HTTP status that tells the client. 499 is only ever logged; 0 means that the
            /// refusal happens where there is no HTTP to answer in.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The error type in `Proxy-Status` (RFC 9209 section 2.3).
            pub fn proxy_error(self) -> &'static str {
                match self { $(Self::$variant => $proxy_error,)* }
            }

            /// One sentence for people.
            pub fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }
        }
    };
}

reasons! {
    // The client's request.
    RequestMalformed = "request_malformed", Downstream, 400, "http_request_error", "The request breaks the HTTP grammar or could be read in two ways.";
    RequestHeadTooLarge = "request_head_too_large", Downstream, 431, "http_request_error", "The request head has too many bytes or fields.";
    RequestUriTooLong = "request_uri_too_long", Downstream, 414, "http_request_error", "The request target is longer than allowed.";
    RequestBodyMalformed = "request_body_malformed", Downstream, 400, "http_request_error", "The request body's framing is broken.";
    RequestBodyTooLarge = "request_body_too_large", Downstream, 413, "http_request_error", "The request body is larger than the route allows.";
    RequestTimeout = "request_timeout", Downstream, 408, "http_request_error", "The request head did not arrive in time.";
    RequestBodyTimeout = "request_body_timeout", Downstream, 408, "http_request_error", "The request body stopped moving.";
    RequestBodyCut = "request_body_cut", Downstream, 400, "http_request_error", "The client left before its request body was complete.";
    ExpectationFailed = "expectation_failed", Downstream, 417, "http_request_error", "The request expects something other than 100-continue.";
    VersionUnsupported = "version_unsupported", Downstream, 505, "http_protocol_error", "The HTTP version is not one that Umay speaks on this port.";
    ConnectMethodRefused = "connect_method_refused", Downstream, 405, "http_request_denied", "CONNECT is refused because the route does not allow it.";
    UpgradeRefused = "upgrade_refused", Downstream, 400, "http_upgrade_failed", "The request to change the protocol cannot be honoured.";
    Misdirected = "misdirected", Downstream, 421, "http_request_denied", "The Host is not one that the connection's TLS certificate covers.";
    NoRoute = "no_route", Downstream, 404, "destination_not_found", "No route matches.";
    ClientGone = "client_gone", Downstream, 499, "http_request_error", "The client left before the answer was complete.";
    ClientStalled = "client_stalled", Downstream, 499, "http_request_error", "The client stopped taking the answer.";
    // What wears out an HTTP/2 connection.
    RapidReset = "rapid_reset", Downstream, 0, "http_protocol_error", "The client reset streams faster than anybody needs to.";
    ProvokedReset = "provoked_reset", Downstream, 0, "http_protocol_error", "The client broke the protocol on stream after stream, to have them reset.";
    TooManyStreams = "too_many_streams", Downstream, 0, "http_protocol_error", "The client kept opening streams beyond the cap.";
    ContinuationFlood = "continuation_flood", Downstream, 0, "http_protocol_error", "The client sent a header block in too many frames.";
    SettingsFlood = "settings_flood", Downstream, 0, "http_protocol_error", "The client sent too many SETTINGS frames.";
    PingFlood = "ping_flood", Downstream, 0, "http_protocol_error", "The client sent too many PING frames.";
    PriorityFlood = "priority_flood", Downstream, 0, "http_protocol_error", "The client sent too many PRIORITY or unknown frames.";
    EmptyDataFlood = "empty_data_flood", Downstream, 0, "http_protocol_error", "The client sent too many DATA frames without data.";
    WindowUpdateFlood = "window_update_flood", Downstream, 0, "http_protocol_error", "The client sent too many WINDOW_UPDATE frames.";
    ConnectionBroken = "connection_broken", Downstream, 0, "http_protocol_error", "The client broke the rules of HTTP/2 for the connection as a whole.";
    ConnectionUnresponsive = "connection_unresponsive", Downstream, 0, "connection_timeout", "The client answered no PING, or took no byte for too long.";
    // Detection, TLS and TCP, before there is a request.
    DetectTimeout = "detect_timeout", Downstream, 0, "connection_timeout", "The client sent too little to tell its protocol, and no route takes silent clients.";
    HandshakeTimeout = "handshake_timeout", Downstream, 0, "connection_timeout", "The TLS handshake with the client did not end in time.";
    HandshakeFailed = "handshake_failed", Downstream, 0, "tls_protocol_error", "The TLS handshake with the client failed.";
    UnknownServerName = "unknown_server_name", Downstream, 0, "tls_certificate_error", "The client asked for a name (SNI) that no certificate covers.";
    NoApplicationProtocol = "no_application_protocol", Downstream, 0, "tls_protocol_error", "The client and the routes share no application protocol (ALPN).";
    ClientCertificateMissing = "client_certificate_missing", Downstream, 0, "tls_certificate_error", "The listener requires a client certificate and none was sent.";
    ClientCertificateInvalid = "client_certificate_invalid", Downstream, 0, "tls_certificate_error", "The client's certificate could not be verified.";
    TlsNotConfigured = "tls_not_configured", Downstream, 0, "tls_protocol_error", "A TLS client came to a listener that has no certificate and no passthrough route.";
    IdleTimeout = "idle_timeout", Downstream, 0, "connection_timeout", "The tunnel carried no byte in either direction for too long.";
    TunnelReset = "tunnel_reset", Downstream, 0, "connection_terminated", "One side reset the tunnel.";
    // The endpoint, and the way to it.
    NoEndpoint = "no_endpoint", Upstream, 503, "destination_unavailable", "The upstream has no endpoint to pick.";
    EndpointUnresolved = "endpoint_unresolved", Upstream, 502, "dns_error", "The endpoint's name could not be resolved.";
    ConnectRefused = "connect_refused", Upstream, 502, "connection_refused", "The endpoint refused the connection.";
    ConnectTimeout = "connect_timeout", Upstream, 504, "connection_timeout", "The endpoint did not accept the connection in time.";
    ConnectFailed = "connect_failed", Upstream, 502, "destination_ip_unroutable", "The connection to the endpoint failed.";
    UpstreamTlsExpired = "upstream_tls_expired", Upstream, 502, "tls_certificate_error", "The endpoint's certificate has expired.";
    UpstreamTlsNotYetValid = "upstream_tls_not_yet_valid", Upstream, 502, "tls_certificate_error", "The endpoint's certificate is not valid yet.";
    UpstreamTlsWrongName = "upstream_tls_wrong_name", Upstream, 502, "tls_certificate_error", "The endpoint's certificate is for another name.";
    UpstreamTlsUnknownIssuer = "upstream_tls_unknown_issuer", Upstream, 502, "tls_certificate_error", "The endpoint's certificate was issued by nobody we trust.";
    UpstreamTlsSelfSigned = "upstream_tls_self_signed", Upstream, 502, "tls_certificate_error", "The endpoint's certificate is signed by itself.";
    UpstreamTlsRevoked = "upstream_tls_revoked", Upstream, 502, "tls_certificate_error", "The endpoint's certificate was revoked.";
    UpstreamTlsBadCertificate = "upstream_tls_bad_certificate", Upstream, 502, "tls_certificate_error", "The endpoint's certificate could not be verified.";
    UpstreamTlsFailed = "upstream_tls_failed", Upstream, 502, "tls_protocol_error", "The TLS handshake with the endpoint failed.";
    UpstreamClosed = "upstream_closed", Upstream, 502, "connection_terminated", "The endpoint closed the connection before it answered.";
    UpstreamReset = "upstream_reset", Upstream, 502, "connection_terminated", "The endpoint reset the stream before it answered.";
    UpstreamRefusedStream = "upstream_refused_stream", Upstream, 503, "connection_limit_reached", "The endpoint did not take the stream, here and wherever else it was tried.";
    UpstreamUnavailable = "upstream_unavailable", Upstream, 503, "destination_unavailable", "The endpoint answered that it cannot, and so did, or failed, those that were tried after it.";
    UpstreamNoExtendedConnect = "upstream_no_extended_connect", Upstream, 502, "http_upgrade_failed", "The endpoint takes no WebSockets over HTTP/2.";
    DeadlineExceeded = "deadline_exceeded", Upstream, 504, "http_response_timeout", "The deadline that the client set for the call, or `timeouts.total`, has passed.";
    UpstreamMalformed = "upstream_malformed", Upstream, 502, "http_protocol_error", "The endpoint's answer breaks the HTTP grammar or could be read in two ways.";
    UpstreamHeadTooLarge = "upstream_head_too_large", Upstream, 502, "http_response_header_section_size", "The endpoint's response head is too large.";
    UpstreamTimeout = "upstream_timeout", Upstream, 504, "http_response_timeout", "The endpoint did not begin to answer in time.";
    UpstreamStalled = "upstream_stalled", Upstream, 504, "http_response_timeout", "The endpoint stopped in the middle of its answer, or stopped taking the request.";
    UpstreamCut = "upstream_cut", Upstream, 502, "http_response_incomplete", "The endpoint left in the middle of its answer.";
    UpstreamBodyMalformed = "upstream_body_malformed", Upstream, 502, "http_response_transfer_coding", "The framing of the endpoint's response body is broken.";
    // Umay itself.
    Draining = "draining", Internal, 503, "proxy_internal_response", "Umay is shutting down.";
    Overloaded = "overloaded", Internal, 503, "proxy_internal_response", "Umay is at one of its limits.";
    QueueFull = "queue_full", Internal, 503, "connection_limit_reached", "All endpoints are at their limits, and the queue is full.";
    QueueTimeout = "queue_timeout", Internal, 503, "connection_limit_reached", "All endpoints are at their limits, and none had room in time.";
    LoopDetected = "loop_detected", Internal, 508, "proxy_loop_detected", "The connection's original destination is Umay itself.";
    OriginalDestinationUnknown = "original_destination_unknown", Internal, 502, "destination_not_found", "Where the client was headed is not known.";
    CertificateUnusable = "certificate_unusable", Internal, 0, "tls_certificate_error", "The certificate for the name that the client asked for has a key that is damaged.";
    Internal = "internal", Internal, 500, "proxy_internal_error", "Umay failed in a way that it should not; please report it.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_and_plain() {
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            let word = reason.as_str();
            assert!(seen.insert(word), "{word} twice");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(reason.what().ends_with('.'));
        }
    }
}
