//! What to try against the demo, as commands to paste.

use std::net::SocketAddr;

/// One thing to try. Each command ends by itself within a few seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it shows.
    pub what: &'static str,
    /// A line for a POSIX shell.
    pub command: String,
}

/// What to try against a proxy on `proxy` with the demo behind it; the metrics only if there is an
/// admin listener.
pub fn steps(proxy: SocketAddr, admin: Option<SocketAddr>) -> Vec<Step> {
    let (host, port) = (proxy.ip(), proxy.port());
    let step = |what, command| Step { what, command };
    let mut steps = vec![
        step(
            "HTTP. Again and again: two endpoints share the work",
            format!("curl 'http://{proxy}/'"),
        ),
        step(
            "HTTPS on the same port. The certificate is self-signed, hence -k",
            format!("curl -k 'https://{proxy}/'"),
        ),
        step(
            "All that an endpoint is told",
            format!("curl -k 'https://{proxy}/headers'"),
        ),
        step(
            "WebSocket: the answer is `101 Switching Protocols` (to chat: websocat, below)",
            format!(
                "curl -ksi --http1.1 --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
                 -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dW1heSBkZW1vIG5vbmNlIQ==' \
                 'https://{proxy}/ws' | head -n 1"
            ),
        ),
        step(
            "TCP: what is neither HTTP nor TLS comes back as it is",
            format!("bash -c 'exec 3<>/dev/tcp/{host}/{port}; echo hello >&3; head -n 1 <&3'"),
        ),
        step(
            "TLS TCP: the same inside TLS",
            format!(
                "(echo hello; sleep 1) | openssl s_client -quiet -no_ign_eof -connect '{proxy}' 2>/dev/null"
            ),
        ),
    ];
    if let Some(admin) = admin {
        steps.push(step(
            "Metrics: what Umay has detected so far",
            format!("curl -s 'http://{admin}/metrics' | grep '^umay_protocol_detected'"),
        ));
    }
    steps
}

/// The text that `umay demo` prints: what runs where, what to try, how to stop. `colour` adds ANSI
/// escapes for a terminal.
pub fn guide(proxy: SocketAddr, admin: Option<SocketAddr>, colour: bool) -> String {
    let (bold, faint, plain) = match colour {
        true => ("\x1b[1m", "\x1b[2m", "\x1b[0m"),
        false => ("", "", ""),
    };
    let mut text = format!(
        "{bold}Umay demo{plain}: HTTP, HTTPS, WebSocket, TCP and TLS TCP, all on {bold}{proxy}{plain}\n"
    );
    if let Some(admin) = admin {
        text += &format!("Metrics and status: {bold}http://{admin}/{plain}\n");
    }
    text += "\nTry, in another terminal:\n";
    for Step { what, command } in steps(proxy, admin) {
        text += &format!("\n  {faint}# {what}{plain}\n  {command}\n");
    }
    text += &format!(
        "\nTo type yourself, where they are installed:\n\n  websocat -k 'wss://{proxy}/ws'\n  nc {} {}\n\
         \nStop with Ctrl-C.\n",
        proxy.ip(),
        proxy.port()
    );
    text
}
