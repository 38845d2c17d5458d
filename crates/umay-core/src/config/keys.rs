//! Every key of the document, for people: what `docs/config.md` is made from.

use std::fmt::Write;

use crate::model::Balance;

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its path. `listener` and `route` are lists of tables; `NAME` stands for a name of one's own.
    /// What begins with `to.` is of an endpoint that is written as a table.
    pub path: &'static str,
    /// What kind of value it takes.
    pub kind: &'static str,
    /// May have a variable, see [`told`].
    default: &'static str,
    /// May have a variable.
    what: &'static str,
    /// Values to copy.
    pub example: &'static str,
}

impl Key {
    /// What holds without it.
    pub fn default(&self) -> String {
        told(self.default)
    }

    /// What it does.
    pub fn what(&self) -> String {
        told(self.what)
    }
}

/// Fills in what other rooms know: `{balance}` is the kind of balance that is taken without being
/// told, `{balances}` are all kinds with what they do.
fn told(text: &str) -> String {
    let kind = |balance: Balance| format!("`{}` ({})", balance.as_str(), balance.what());
    let kinds: Vec<_> = Balance::all().map(kind).collect();
    text.replace("{balances}", &kinds.join(", "))
        .replace("{balance}", Balance::default().as_str())
}

macro_rules! keys {
    ($($path:literal: $kind:literal, $default:literal, $example:literal, $what:literal;)*) => {
        /// Every key.
        pub const KEYS: &[Key] = &[$(Key {
            path: $path,
            kind: $kind,
            default: $default,
            what: $what,
            example: $example,
        },)*];
    };
}

keys! {
    "listen": "address or list", "none", "\"0.0.0.0:443\"", "Where to listen. `:443` means all IPv4 addresses; port 0 lets the system choose. The shortest way to write a listener.";
    "cert": "file or list", "none", "\"cert.pem\"", "Certificate chain (PEM, leaf first) for TLS on `listen`. Which one a client gets follows from the names inside.";
    "key": "file or list", "none", "\"key.pem\"", "The keys of `cert`, in the same order (PKCS#8, PKCS#1 or SEC1; may be the same file).";
    "certs": "directory, pair or list", "none", "[\"/etc/umay/certs\"]", "More certificates: directories with pairs in them, or tables with `cert` and `key`.";
    "to": "endpoints or upstream", "none", "[\"127.0.0.1:3000\", \"127.0.0.1:3001\"]", "Where everything goes that no route takes. The shortest way to write a route; its name is `default`. An endpoint is `host:port` (spoken to in the protocol that was detected), or `http://`, `https://` (HTTP/1.1, or HTTP/2 if the endpoint prefers it), `h2c://`, `h2://`, `tcp://` or `tls://`; more can be told of it in a table. `\"original-destination\"` is where the client was headed before the connection was redirected or caught.";
    "balance": "balance", "\"{balance}\"", "\"least_connections\"", "How an endpoint of `to` is picked: {balances}.";
    "include": "file, directory or list", "none", "[\"conf.d/*.toml\"]", "Further documents: files, directories (their `*.toml` in the order of their names), or patterns such as `conf.d/*.toml`. They add listeners, routes (in order) and upstreams; what is of the whole configuration stands in one document only.";
    "workers": "number", "one per core", "2", "Worker threads.";
    "watch": "true or false", "true", "false", "Watches the configuration's file and the files that it names (certificates, keys, authorities), and goes over to what they say when they change, as on SIGHUP. What is in directories of certificates is seen within 5 s, and only if a file comes or goes.";
    "zone": "text", "none", "\"eu-1a\"", "Where Umay itself stands. Endpoints of the same `zone` are preferred.";
    "to.to": "endpoint", "required", "\"http://10.0.0.1:3000\"", "The endpoint, as it would be written without a table.";
    "to.weight": "number", "1", "3", "Its share beside the others': up to 1000; with 0 it gets no new requests.";
    "to.priority": "number", "0", "1", "Its group, up to 15: endpoints of a higher number get requests only if none of a lower one is usable.";
    "to.zone": "text", "none", "\"eu-1a\"", "Where it stands; see `zone` at the top.";
    "admin.bind": "address or \"off\"", "\"127.0.0.1:9901\"", "\"off\"", "Where `/metrics`, `/livez`, `/readyz`, `/status` and a page for people are served.";
    "admin.socket": "file or \"off\"", "\"off\"", "\"/run/umay/admin.sock\"", "Unix socket for what changes state (docs/admin.md); at most 107 bytes long. Only its owner may open it.";
    "log.access": "\"stdout\", \"off\", syslog or file", "\"stdout\"", "\"/var/log/umay/access.log\"", "Where the access log goes. SIGUSR1 opens the file anew. A syslog is `syslog` (`/dev/log`), `syslog:PATH`, `syslog:udp://HOST:PORT`, `syslog:tcp://HOST:PORT` or `syslog:tls://HOST:PORT`; see [logs](logs.md).";
    "log.tls.ca": "file", "the system's", "\"syslog-ca.pem\"", "Authorities (PEM) that a syslog over TLS is verified against.";
    "log.tls.crl": "file", "none", "\"syslog.crl\"", "Revocation lists (PEM).";
    "log.tls.sni": "text", "the syslog's host", "\"logs.internal\"", "The name to ask for and to verify.";
    "log.tls.cert": "file", "none", "\"umay.pem\"", "Certificate to show to the syslog.";
    "log.tls.key": "file", "none", "\"umay.key\"", "Its key.";
    "log.tls.dangerous_accept_any_certificate": "true or false", "false", "true", "Encrypts but does not verify: anybody on the way can read what is sent.";
    "log.format": "\"auto\", \"json\", \"text\" or text", "\"auto\"", "\"{client_ip} {method} {path} {status} {dur_ms}\"", "How its lines are written: `json`, `text` (for people), or a line of one's own with [fields](logs.md) in braces. `auto` is text on a terminal, else JSON.";
    "log.sample": "number with a fraction", "1", "0.01", "The share of entries that is kept, from 0 to 1. What has a reason or a status of 500 and more, and requests that took longer than `log.slow`, are always kept.";
    "log.slow": "duration", "\"1s\"", "\"250ms\"", "Requests that took longer are kept, whatever `log.sample`, `log.skip` and `log` of their route say.";
    "log.skip": "status or list", "[]", "[304, \"200-299\"]", "Statuses up to 499 that are left out, unless there is a reason.";
    "log.rotate": "\"off\", \"daily\" or size", "\"off\", or \"daily\" with `privacy.retention`", "\"daily\"", "Puts the access log's file aside at midnight (UTC), as `FILE.2026-11-23`; with a size, also when it has so many bytes.";
    "log.events": "\"text\" or \"json\"", "\"text\"", "\"json\"", "How events are written: for people, or one JSON object per line.";
    "log.level": "filter", "\"info\"", "\"info,umay=debug\"", "What of the event log goes to standard error.";
    "privacy": "\"off\", \"gdpr\" or table", "\"off\"", "\"gdpr\"", "What logs may tell of people. With `gdpr`, addresses are shortened, and values of queries and some headers left out; see [privacy](privacy.md). Credentials are always left out.";
    "privacy.mode": "\"off\" or \"gdpr\"", "\"gdpr\"", "\"off\"", "The same, where there are other keys beside it.";
    "privacy.addresses": "\"truncate\" or \"hash\"", "\"truncate\"", "\"hash\"", "How addresses of clients are shown with `gdpr`: their network (/24, and /48 for IPv6), or a hash whose key is in memory only and another one each day.";
    "privacy.headers": "text or list", "[\"user-agent\", \"referer\"]", "[\"referer\"]", "Headers whose values are left out with `gdpr`.";
    "privacy.retention": "duration", "none", "\"30d\"", "How long lines are kept in the access log's file, at most; a day or more. Files that Umay has put aside are deleted before they have older ones.";
    "tracing.endpoint": "endpoint or \"off\"", "\"off\"", "\"http://127.0.0.1:4318\"", "The collector that spans are sent to, in OTLP: `http://` or `https://`, and without a path `/v1/traces`. Nothing is traced without it; see [tracing.md](tracing.md).";
    "tracing.protocol": "\"http/protobuf\" or \"grpc\"", "\"http/protobuf\"", "\"grpc\"", "How the collector is spoken to; its usual ports are 4318 and, for gRPC, 4317.";
    "tracing.headers": "table of headers", "none", "{ Authorization = { file = \"collector.token\" } }", "Headers of all that is sent to the collector. A value may stand elsewhere: `{ env = \"NAME\" }`, `{ file = \"PATH\" }`.";
    "tracing.compression": "\"none\" or \"gzip\"", "\"none\"", "\"gzip\"", "How what is sent is compressed.";
    "tracing.timeout": "duration", "\"10s\"", "\"3s\"", "How long the collector may take for what it is sent, the connect included.";
    "tracing.interval": "duration", "\"1s\"", "\"5s\"", "How long spans are gathered before they are sent.";
    "tracing.queue": "size", "\"4MiB\"", "\"16MiB\"", "Bytes of spans that may wait for the collector; what is beyond is dropped and counted (`umay_trace_spans_dropped_total`).";
    "tracing.ratio": "number with a fraction", "0.01", "0.1", "What part of the requests is recorded, from 0 to 1, unless a trusted proxy has decided.";
    "tracing.trusted": "\"follow\" or \"ignore\"", "\"follow\"", "\"ignore\"", "Whether a request is recorded or not because one of `listener.trusted_proxies` says so. Nobody else is asked.";
    "tracing.untrusted": "\"continue\" or \"restart\"", "\"continue\"", "\"restart\"", "Whether the trace of a client that is no trusted proxy goes on, or a new one begins.";
    "tracing.propagators": "text or list", "[\"tracecontext\", \"baggage\", \"b3\", \"b3multi\"]", "[\"tracecontext\", \"baggage\"]", "Formats of a context that are read, and written to endpoints in kind: `tracecontext` (W3C), `b3`, `b3multi`. Where none came, the first one is written. `baggage` is checked. Fields of the others are passed on as they are.";
    "tracing.streams": "true or false", "false", "true", "Raw streams have spans, too.";
    "tracing.service_name": "text", "\"umay\"", "\"edge\"", "Who the collector is told that it is (`service.name`).";
    "tracing.attributes": "table of text", "none", "{ \"deployment.environment.name\" = \"production\" }", "What else it is told of that (attributes of the resource).";
    "tracing.tls.ca": "file", "the system's", "\"collector-ca.pem\"", "Authorities (PEM) that the collector is verified against.";
    "tracing.tls.crl": "file", "none", "\"collector.crl\"", "Revocation lists (PEM).";
    "tracing.tls.sni": "text", "the collector's host", "\"collector.internal\"", "The name to ask for and to verify.";
    "tracing.tls.cert": "file", "none", "\"umay.pem\"", "Certificate to show to the collector.";
    "tracing.tls.key": "file", "none", "\"umay.key\"", "Its key.";
    "tracing.tls.dangerous_accept_any_certificate": "true or false", "false", "true", "Encrypts but does not verify: anybody on the way can read what is sent.";
    "metrics.endpoint": "endpoint, \"tracing\" or \"off\"", "\"off\"", "\"http://127.0.0.1:4318\"", "The collector that metrics are pushed to, in OTLP: `http://` or `https://`, and without a path `/v1/metrics`. `tracing` is where spans go, spoken to as `tracing` says but for what stands here. Nothing is pushed without it; see [observability.md](observability.md).";
    "metrics.interval": "duration", "\"60s\"", "\"15s\"", "How often they are pushed.";
    "metrics.histograms": "\"explicit\" or \"exponential\"", "\"explicit\"", "\"exponential\"", "How histograms are told: in the few buckets that `/metrics` has as text, or in fine ones, each 9 % wider than the one before.";
    "metrics.protocol": "\"http/protobuf\" or \"grpc\"", "\"http/protobuf\"", "\"grpc\"", "How the collector is spoken to; its usual ports are 4318 and, for gRPC, 4317.";
    "metrics.headers": "table of headers", "none", "{ Authorization = { file = \"collector.token\" } }", "Headers of all that is sent to the collector. A value may stand elsewhere: `{ env = \"NAME\" }`, `{ file = \"PATH\" }`.";
    "metrics.compression": "\"none\" or \"gzip\"", "\"none\"", "\"gzip\"", "How what is sent is compressed.";
    "metrics.timeout": "duration", "\"10s\"", "\"3s\"", "How long the collector may take for what it is sent, the connect included.";
    "metrics.service_name": "text", "as `tracing` has it, else \"umay\"", "\"edge\"", "Who the collector is told that it is (`service.name`).";
    "metrics.attributes": "table of text", "as `tracing` has them", "{ \"deployment.environment.name\" = \"production\" }", "What else it is told of that (attributes of the resource).";
    "metrics.tls.ca": "file", "the system's", "\"collector-ca.pem\"", "Authorities (PEM) that the collector is verified against.";
    "metrics.tls.crl": "file", "none", "\"collector.crl\"", "Revocation lists (PEM).";
    "metrics.tls.sni": "text", "the collector's host", "\"collector.internal\"", "The name to ask for and to verify.";
    "metrics.tls.cert": "file", "none", "\"umay.pem\"", "Certificate to show to the collector.";
    "metrics.tls.key": "file", "none", "\"umay.key\"", "Its key.";
    "metrics.tls.dangerous_accept_any_certificate": "true or false", "false", "true", "Encrypts but does not verify: anybody on the way can read what is sent.";
    "timeouts.handshake": "duration", "\"10s\"", "\"5s\"", "A TLS handshake with a client, whole.";
    "timeouts.header": "duration", "\"15s\"", "\"5s\"", "A request's head, from its first byte to its last.";
    "timeouts.body": "duration", "\"60s\"", "\"30s\"", "A body, between two reads: a slow sender lives as long as it moves.";
    "timeouts.send": "duration", "\"60s\"", "\"30s\"", "Between two writes to a peer that has stopped taking.";
    "timeouts.keep_alive": "duration", "\"75s\"", "\"20s\"", "An idle client connection, until the first byte of a request.";
    "timeouts.connect": "duration", "\"3s\"", "\"1s\"", "The connect to an endpoint, and again the TLS handshake with it.";
    "timeouts.first_byte": "duration", "\"60s\"", "\"5m\"", "From the request sent to the first byte of the answer.";
    "timeouts.total": "duration", "none", "\"5m\"", "A whole request, from its head to the last byte of its answer, however much it moves.";
    "timeouts.tunnel": "duration", "\"1h\"", "\"10m\"", "A raw stream or WebSocket without a byte either way.";
    "timeouts.drain": "duration", "\"30s\"", "\"5m\"", "How long what is open may go on after SIGTERM.";
    "timeouts.drain_delay": "duration", "\"0s\"", "\"5s\"", "How long connections are still accepted after SIGTERM, while `/readyz` says no.";
    "timeouts.upgrade": "duration", "none", "\"1h\"", "How long the old process may go on with what is open after an upgrade (`umay upgrade`); without it, until the last stream is over.";
    "timeouts.detect": "duration", "\"300ms\"", "\"1s\"", "How long a silent client is waited for before it is taken for one whose server speaks first (SMTP, SSH, MySQL).";
    "timeouts.upstream_idle": "duration", "\"55s\"", "\"20s\"", "An idle connection to an endpoint. Keep it below the endpoint's own keep-alive.";
    "limits.head": "size", "\"32KiB\"", "\"16KiB\"", "Bytes of a request's or answer's head.";
    "limits.fields": "number", "100", "200", "Fields in a head.";
    "limits.target": "size", "\"8KiB\"", "\"4KiB\"", "Bytes of a request's target.";
    "limits.body": "size", "none", "\"10MiB\"", "Bytes of a request's body.";
    "limits.connections": "number", "45 % of the limit on open files", "10000", "Client connections in all.";
    "limits.pool": "number", "1024", "128", "Idle connections kept per endpoint, by the whole process.";
    "http2.max_streams": "number", "100", "250", "Streams that a client may have open on one connection, and that go over one connection to an endpoint.";
    "http2.stream_window": "size", "\"256KiB\"", "\"64KiB\"", "Bytes of a body that may come before they are passed on, per stream (flow control).";
    "http2.connection_window": "size", "\"1MiB\"", "\"4MiB\"", "The same for all streams of a client's connection, at least: it grows with the requests whose body has not come yet, to `stream_window` for each, so that uploads which an endpoint does not take do not stop others. Towards endpoints it is `max_streams` times `stream_window`, so that clients who read slowly do not stop others.";
    "http2.max_frame": "size", "\"16KiB\"", "\"64KiB\"", "Bytes of a frame's payload.";
    "http2.idle": "duration", "\"180s\"", "\"60s\"", "A client's HTTP/2 connection without a stream.";
    "http2.ping_interval": "duration", "\"30s\"", "\"10s\"", "A connection with streams on which nothing has come for so long is asked for a sign of life (PING).";
    "http2.ping_timeout": "duration", "\"10s\"", "\"5s\"", "How long the sign of life may take before the connection is given up.";
    "http2.max_resets": "number", "200", "1000", "Streams that a client may reset in ten seconds (rapid reset), and, counted apart, make Umay reset.";
    "http2.max_pings": "number", "100", "1000", "PING frames that a client may send in ten seconds, besides one per frame of payload.";
    "http2.max_continuations": "number", "8", "16", "CONTINUATION frames of one header block.";
    "dns.servers": "server or list", "the system's", "[\"10.0.0.53\", \"[2001:db8::53]:5353\"]", "Servers to ask for names, by address; the port is 53 unless said.";
    "dns.min_ttl": "duration", "\"1s\"", "\"5s\"", "A name is not asked for more often than this, whatever its TTL.";
    "dns.max_ttl": "duration", "\"30s\"", "\"5m\"", "A name is asked for as often as this, whatever its TTL.";
    "dns.timeout": "duration", "\"2s\"", "\"500ms\"", "How long one question may take.";
    "dns.grace": "duration", "\"10m\"", "\"1h\"", "How long the last good answer is used while there is none.";
    "listener.name": "text", "its address", "\"public\"", "Its name, for routes, logs and metrics.";
    "listener.listen": "address", "required", "\"0.0.0.0:443\"", "Where it listens.";
    "listener.cert": "file or list", "none", "\"cert.pem\"", "As `cert` above, for this listener.";
    "listener.key": "file or list", "none", "\"key.pem\"", "As `key` above.";
    "listener.certs": "directory, pair or list", "none", "[\"certs\", { cert = \"a.pem\", key = \"a.key\" }]", "As `certs` above.";
    "listener.default_cert.cert": "file", "required", "\"default.pem\"", "The certificate for clients that send no server name or one that no certificate covers. Without it, the former get the first certificate and the latter are refused (`unrecognized_name`).";
    "listener.default_cert.key": "file", "required", "\"default.key\"", "Its key.";
    "listener.client_auth.ca": "file", "required", "\"clients-ca.pem\"", "Authorities (PEM) that client certificates are verified against.";
    "listener.client_auth.crl": "file", "none", "\"clients.crl\"", "Revocation lists (PEM).";
    "listener.client_auth.mode": "\"required\" or \"optional\"", "\"required\"", "\"optional\"", "Whether a client without a certificate is refused.";
    "listener.tls_min": "\"1.2\" or \"1.3\"", "\"1.2\"", "\"1.3\"", "The oldest version of TLS that is spoken.";
    "listener.trusted_proxies": "network or list", "none", "[\"10.0.0.0/8\"]", "Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed and added to; everybody else's are replaced.";
    "listener.forwarded": "true or false", "false", "true", "Send `Forwarded` (RFC 7239) to endpoints, besides `X-Forwarded-*`.";
    "listener.transparent": "true or false", "false", "true", "Takes connections to any address that the kernel hands to it (TPROXY; needs `CAP_NET_ADMIN` or `CAP_NET_RAW`). They go on to where they were headed by `to = \"original-destination\"`; see [transparent.md](transparent.md).";
    "route.name": "text", "`route-N`", "\"api\"", "Its name, for logs and metrics.";
    "route.listeners": "text or list", "all", "[\"public\"]", "The listeners that it applies to.";
    "route.host": "host or list", "any", "\"*.example.com\"", "Hosts: a name, `*.` and a name for everything below it, or `*`. `hosts` is the same.";
    "route.hosts": "host or list", "any", "[\"a.example\", \"b.example\"]", "The same as `host`.";
    "route.path": "path or list", "any", "\"/api\"", "Paths: `/api` matches `/api` and all below, by whole segments; `=/api` matches only itself. `paths` is the same.";
    "route.paths": "path or list", "any", "[\"/api\", \"=/\"]", "The same as `path`.";
    "route.methods": "text or list", "any", "[\"GET\", \"HEAD\"]", "Methods.";
    "route.headers": "table of headers", "none", "{ x-canary = \"1\", authorization = true }", "Headers that have to be there, with this value or (`true`) any. A value may stand elsewhere: `{ env = \"NAME\" }`, `{ file = \"PATH\" }`.";
    "route.sni": "host or list", "any", "\"db.example.com\"", "Server names of the TLS hello.";
    "route.protocol": "\"http\", \"mqtt\" or \"tcp\"", "what the rest allows", "\"mqtt\"", "`http`, `mqtt`, or `tcp` for any bytes.";
    "route.client_cert.cn": "text", "none", "\"device-17\"", "Common name that a verified client certificate must have. `client_cert = {}` asks only that there is one.";
    "route.client_cert.san": "text", "none", "\"spiffe://example/agent\"", "Subject alternative name that it must have.";
    "route.client_cert.sha256": "text", "none", "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"", "SHA-256 of it, in hexadecimal; colons are passed over.";
    "route.passthrough": "true or false", "false", "true", "Deliver TLS unopened, by `sni`.";
    "route.to": "endpoints or upstream", "one of three", "\"app\"", "Where it goes: an upstream by name, endpoints, or `\"original-destination\"`; as `to` above.";
    "route.balance": "balance", "\"{balance}\"", "\"round_robin\"", "As `balance` above, for endpoints that are written in the route.";
    "route.redirect": "\"https\" or table", "one of three", "\"https\"", "Sends the client elsewhere; `\"https\"` is 308 to the same place over TLS, and takes no request that came over TLS. What the table does not give stays.";
    "route.redirect.scheme": "\"http\" or \"https\"", "the request's", "\"https\"", "`http` or `https`.";
    "route.redirect.host": "host", "the request's", "\"www.example.com\"", "Host, without port.";
    "route.redirect.port": "number", "the scheme's if that changes, else the request's", "8443", "Port.";
    "route.redirect.path": "path", "the request's", "\"/moved\"", "Path; the query is kept.";
    "route.redirect.status": "number", "308", "302", "301, 302, 303, 307 or 308.";
    "route.respond": "table", "one of three", "{ status = 200, body = \"ok\" }", "A fixed answer. `{}` is 200 without a body.";
    "route.respond.status": "number", "200", "404", "200 to 599.";
    "route.respond.body": "text", "empty", "\"gone\"", "Its body.";
    "route.respond.content_type": "text", "\"text/plain; charset=utf-8\"", "\"text/html\"", "The type of the body.";
    "route.rewrite_prefix": "path or table", "none", "{ from = \"/old\", to = \"/new\" }", "Replaces the path prefix that matched, or `from`, by `to`.";
    "route.rewrite_prefix.from": "path", "required", "\"/old\"", "The prefix that goes.";
    "route.rewrite_prefix.to": "path", "required", "\"/new\"", "What comes instead.";
    "route.set_host": "text", "the client's", "\"app.internal\"", "The Host that endpoints see.";
    "route.request_headers.remove": "text or list", "none", "[\"cookie\"]", "Headers that endpoints do not see.";
    "route.request_headers.set": "table of headers", "none", "{ X-Client = \"{tls.client.cn}\" }", "Headers that endpoints see instead of what the client sent. Values have variables in braces; one that comes out empty removes the header. A value may stand elsewhere, see [Secrets](#secrets).";
    "route.request_headers.add": "table of headers", "none", "{ X-Via = \"umay\" }", "Headers that endpoints see besides.";
    "route.response_headers.remove": "text or list", "none", "[\"server\"]", "The same for answers.";
    "route.response_headers.set": "table of headers", "none", "{ X-Frame-Options = \"DENY\" }", "The same for answers.";
    "route.response_headers.add": "table of headers", "none", "{ X-Served-By = \"{route}\" }", "The same for answers.";
    "route.hsts": "true or text", "false", "\"max-age=31536000; includeSubDomains\"", "Adds `Strict-Transport-Security` to answers over TLS; `true` means a year.";
    "route.allow_connect": "true or false", "false", "true", "Lets CONNECT through to the endpoint.";
    "route.max_body": "size", "`limits.body`", "\"1GiB\"", "Bytes of a request's body on this route.";
    "route.log": "true or false", "true", "false", "False keeps what went well out of the access log.";
    "upstream.NAME.to": "endpoints", "required without `discover`", "[\"https://10.0.0.1\", \"https://10.0.0.2:8443\"]", "Its endpoints, or `\"original-destination\"`; as `to` above.";
    "upstream.NAME.balance": "balance", "\"{balance}\"", "\"round_robin\"", "As `balance` above.";
    "upstream.NAME.hash_by": "text", "\"client_ip\"", "\"header:x-tenant\"", "What `consistent_hash` makes its key of: `client_ip`, `path` (without the query), `sni`, `header:NAME` or `cookie:NAME`. Requests that do not have it are spread by chance.";
    "upstream.NAME.sticky": "text or table", "none", "\"umay\"", "Keeps each client at one endpoint by a cookie of this name, while that endpoint is usable.";
    "upstream.NAME.slow_start": "duration", "\"0s\"", "\"30s\"", "How long the share of a new or recovered endpoint grows until it is whole.";
    "upstream.NAME.panic": "number", "0", "50", "With fewer usable endpoints than this many hundredths, all are used: better an ill endpoint than an overrun one. 0: only when none is left.";
    "upstream.NAME.outlier": "\"off\" or table", "the table's", "\"off\"", "Ejects endpoints for what they did to requests.";
    "upstream.NAME.retry": "\"off\" or table", "the table's", "\"off\"", "Tries elsewhere what failed, if that is safe: no byte of an answer has come, and the method is idempotent or nothing was sent.";
    "upstream.NAME.sticky.cookie": "text", "required", "\"umay\"", "The name of the cookie.";
    "upstream.NAME.sticky.max_age": "duration", "until the browser closes", "\"1h\"", "How long clients keep it, in whole seconds.";
    "upstream.NAME.discover.srv": "text", "one of four", "\"_http._tcp.app.internal\"", "SRV records (RFC 2782) of this name: host, port, priority and weight.";
    "upstream.NAME.discover.file": "file", "one of four", "\"endpoints.toml\"", "A file that is watched, and may come later: JSON if it ends with `.json`, else TOML, with a list `endpoints` of what `to` takes.";
    "upstream.NAME.discover.consul": "text", "one of four", "\"web\"", "The healthy instances of this service in Consul.";
    "upstream.NAME.discover.etcd": "text", "one of four", "\"/services/web/\"", "The keys below this prefix in etcd, each with an endpoint as its value.";
    "upstream.NAME.discover.scheme": "\"http\", \"https\", \"h2c\", \"h2\", \"tcp\" or \"tls\"", "none", "\"http\"", "How endpoints are spoken to if the source does not say: `http`, `https`, `h2c`, `h2`, `tcp` or `tls`. Without it: in the protocol that was detected.";
    "upstream.NAME.discover.agents": "endpoint or list", "\"http://127.0.0.1:8500\"", "[\"https://consul.internal:8501\"]", "Agents of Consul, asked in turn.";
    "upstream.NAME.discover.tag": "text", "any", "\"v2\"", "Only instances with this tag in Consul.";
    "upstream.NAME.discover.datacenter": "text", "the agent's", "\"eu-1\"", "The data centre in Consul.";
    "upstream.NAME.discover.token_file": "file", "none", "\"consul.token\"", "The ACL token for Consul.";
    "upstream.NAME.discover.members": "endpoint or list", "\"http://127.0.0.1:2379\"", "[\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\"]", "Members of etcd, asked in turn.";
    "upstream.NAME.discover.user": "text", "none", "\"umay\"", "The user at etcd.";
    "upstream.NAME.discover.password_file": "file", "none", "\"etcd.password\"", "Their password.";
    "upstream.NAME.discover.tls.ca": "file", "the system's", "\"registry-ca.pem\"", "Authorities (PEM) that the registry is verified against.";
    "upstream.NAME.discover.tls.crl": "file", "none", "\"registry.crl\"", "Revocation lists (PEM).";
    "upstream.NAME.discover.tls.sni": "text", "the registry's host", "\"consul.internal\"", "The name to ask for and to verify.";
    "upstream.NAME.discover.tls.cert": "file", "none", "\"umay.pem\"", "Certificate to show to the registry.";
    "upstream.NAME.discover.tls.key": "file", "none", "\"umay.key\"", "Its key.";
    "upstream.NAME.discover.tls.dangerous_accept_any_certificate": "true or false", "false", "true", "Encrypts but does not verify: anybody on the way can send your requests anywhere.";
    "upstream.NAME.probe.kind": "\"tcp\", \"tls\", \"http\" or \"grpc\"", "`http` if all endpoints speak HTTP by their scheme or one of its keys is here, else `tcp`", "\"grpc\"", "What is asked: `tcp` (a connection can be opened), `tls` (and the certificate verified), `http` (a path gets a good status), `grpc` (the health service says SERVING).";
    "upstream.NAME.probe.path": "path", "\"/\"", "\"/healthz\"", "Path to GET; may have a query. For `http`.";
    "upstream.NAME.probe.host": "text", "the endpoint's", "\"app.internal\"", "The Host to send. For `http`.";
    "upstream.NAME.probe.expect": "status or list", "\"200-299\"", "[200, 204, \"300-399\"]", "Good statuses. For `http`.";
    "upstream.NAME.probe.service": "text", "empty: all of it", "\"shop.Orders\"", "The service whose health is asked for. For `grpc`.";
    "upstream.NAME.probe.port": "number", "the endpoint's", "8081", "Port to ask at.";
    "upstream.NAME.probe.interval": "duration", "\"5s\"", "\"10s\"", "Time between two probes of an endpoint, a fifth more or less.";
    "upstream.NAME.probe.timeout": "duration", "\"2s\", or `interval` if that is shorter", "\"1s\"", "How long one may take.";
    "upstream.NAME.probe.rise": "number", "2", "1", "So many good ones in a row make an endpoint well.";
    "upstream.NAME.probe.fall": "number", "3", "2", "So many bad ones in a row make it ill.";
    "upstream.NAME.outlier.consecutive": "number", "5", "3", "So many failures in a row eject an endpoint: no connection, a reset, 502, 503 or 504. 0 switches that off.";
    "upstream.NAME.outlier.success_rate": "number", "50", "80", "Fewer successes than this many hundredths in a window eject it. 0 switches that off.";
    "upstream.NAME.outlier.min_requests": "number", "20", "100", "Requests that a window must have for the rate to count.";
    "upstream.NAME.outlier.window": "duration", "\"10s\"", "\"30s\"", "How long a window is.";
    "upstream.NAME.outlier.base": "duration", "\"10s\"", "\"30s\"", "How long the first ejection lasts; each that follows soon, twice as long.";
    "upstream.NAME.outlier.max": "duration", "\"300s\", or `base` if that is longer", "\"10m\"", "How long one lasts at most.";
    "upstream.NAME.outlier.max_ejected": "number", "50", "30", "Hundredths of the endpoints that may be ejected, or left alone because they have asked for it (`Retry-After`), at a time.";
    "upstream.NAME.retry.attempts": "number", "5", "2", "Attempts in all, up to 10. 1 is the same as `retry = \"off\"`.";
    "upstream.NAME.retry.statuses": "number or list", "[502, 503, 504]", "[502, 503]", "Answers that are as good as none. `[]`: no answer is.";
    "upstream.NAME.retry.backoff": "duration", "\"25ms\"", "\"100ms\"", "The wait before the second retry, doubled for each that follows; by chance, up to that. The first does not wait.";
    "upstream.NAME.retry.budget": "number", "20", "10", "Retries may be so many hundredths of the requests of the last ten seconds, so that they do not bury what is overrun.";
    "upstream.NAME.retry.floor": "number", "10", "1", "So many retries per second are always allowed.";
    "upstream.NAME.hedge.quantile": "number with a fraction", "95", "99.5", "Asks a second endpoint, too, when an answer is later than this many hundredths of the requests had theirs, from 50 to 99.9; the first answer counts. `hedge = {}` is all defaults.";
    "upstream.NAME.hedge.min_delay": "duration", "\"10ms\"", "\"50ms\"", "No answer is late before this.";
    "upstream.NAME.limits.endpoint_connections": "number", "none", "100", "Connections to one endpoint, in use or not.";
    "upstream.NAME.limits.endpoint_requests": "number", "none", "50", "Requests and streams in flight at one endpoint.";
    "upstream.NAME.limits.requests": "number", "none", "1000", "Requests and streams in flight at all endpoints.";
    "upstream.NAME.limits.queue": "number", "1024", "100", "Requests that may wait for room, by the whole process; needs a cap.";
    "upstream.NAME.limits.queue_timeout": "duration", "\"3s\"", "\"500ms\"", "How long they wait.";
    "upstream.NAME.limits.adaptive": "true or false", "false", "true", "Finds the cap on requests in flight out from how latency grows with them; `requests` is then the most that it can be.";
    "upstream.NAME.tls.ca": "file", "the system's", "\"internal-ca.pem\"", "Authorities (PEM) that `https://` and `tls://` endpoints are verified against, instead of the system's.";
    "upstream.NAME.tls.crl": "file", "none", "\"internal.crl\"", "Revocation lists (PEM).";
    "upstream.NAME.tls.sni": "text", "the endpoint's host", "\"app.internal\"", "The name to ask for and to verify.";
    "upstream.NAME.tls.cert": "file", "none", "\"umay.pem\"", "Certificate to show to endpoints.";
    "upstream.NAME.tls.key": "file", "none", "\"umay.key\"", "Its key.";
    "upstream.NAME.tls.dangerous_accept_any_certificate": "true or false", "false", "true", "Encrypts but does not verify: anybody on the way can read and change everything.";
}

/// All keys as Markdown tables, one for each table of the document.
pub fn reference_markdown() -> String {
    let table_of = |key: &Key| key.path.rsplit_once('.').map_or("", |(table, _)| table);
    let mut tables: Vec<&str> = Vec::new();
    for key in KEYS {
        if !tables.contains(&table_of(key)) {
            tables.push(table_of(key));
        }
    }
    let mut out = String::new();
    for table in tables {
        let title = match table {
            "" => "At the top".to_owned(),
            "to" => "`{ to = … }`: an endpoint as a table, in any `to`".to_owned(),
            "listener" | "route" => format!("`[[{table}]]`"),
            _ => format!("`[{table}]`"),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n### {title}\n\n| key | value | default | example |\n|---|---|---|---|\n"
        );
        for key in KEYS.iter().filter(|key| table_of(key) == table) {
            let name = key.path.rsplit('.').next().unwrap_or(key.path);
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(
                out,
                "| `{name}` | {}. {} | {} | `{}` |",
                cell(key.kind),
                cell(&key.what()),
                cell(&key.default()),
                cell(key.example),
            );
        }
    }
    out
}
