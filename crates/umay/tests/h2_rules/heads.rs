//! What the head of a request says of itself (section 8.3): pseudo-header fields and the authority.

use std::io;

use umay_test::frames::{Frame, Outcome, Peer, hpack};

use crate::Expect::{Ignored, Known, Reset, Seen, Status};
use crate::{NOT_ONLY_THE_STREAM, PROTOCOL, Rule, rule, wrong};

/// A field and its value, as bytes; `@` is the scheme of the connection.
pub(crate) type Field<'a> = (&'a str, &'a [u8]);

pub(crate) const METHOD: Field<'_> = (":method", b"GET");
pub(crate) const SCHEME: Field<'_> = (":scheme", b"@");
pub(crate) const PATH: Field<'_> = (":path", b"/refused");
pub(crate) const AUTHORITY: Field<'_> = (":authority", b"a.test");

/// Sends a head, and with it the end.
pub(crate) fn head(c: &mut Peer, fields: &[Field<'_>]) -> io::Result<()> {
    let scheme = c.scheme.as_bytes();
    let own = |(name, value): &Field<'_>| {
        let value = if *value == b"@" { scheme } else { value };
        hpack::literal(name, value)
    };
    let block: Vec<u8> = fields.iter().flat_map(own).collect();
    let stream = c.next_stream();
    c.send(&Frame::headers(stream, block).end())
}

/// The same for a GET with one field more.
pub(crate) fn with(c: &mut Peer, name: &str, value: &[u8]) -> io::Result<()> {
    head(c, &[METHOD, SCHEME, PATH, AUTHORITY, (name, value)])
}

pub(crate) const RULES: &[Rule] = &[
    // Pseudo-header fields.
    rule(
        "8.3.1",
        "without :method",
        |c| head(c, &[SCHEME, PATH, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "without :scheme",
        |c| head(c, &[METHOD, PATH, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "without :path",
        |c| head(c, &[METHOD, SCHEME, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "an empty :path",
        |c| head(c, &[METHOD, SCHEME, (":path", b""), AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        ":method twice",
        |c| head(c, &[METHOD, METHOD, SCHEME, PATH, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        ":scheme twice",
        |c| head(c, &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        ":path twice",
        |c| head(c, &[METHOD, SCHEME, PATH, PATH, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        ":authority twice",
        |c| head(c, &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3",
        "an unknown pseudo-header field",
        |c| head(c, &[METHOD, SCHEME, PATH, AUTHORITY, (":test", b"x")]),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.3",
        "one of a response",
        |c| head(c, &[METHOD, SCHEME, PATH, AUTHORITY, (":status", b"200")]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3",
        "one behind a field",
        |c| head(c, &[METHOD, SCHEME, ("x", b"y"), PATH, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1",
        "one in trailers",
        |c| {
            c.post("/", &[])?;
            c.send(&Frame::data(1, "x"))?;
            let trailers = [
                hpack::literal(":method", "REFUSED"),
                hpack::literal("x-sum", "1"),
            ];
            c.send(&Frame::headers(1, trailers.concat()).end())?;
            match c.outcome(1)? {
                Outcome::Answered(answer) if !answer.text().contains("REFUSED") => Ok(()),
                other => wrong(other),
            }
        },
        Known(
            "RST_STREAM with PROTOCOL_ERROR",
            &Seen,
            "the library drops it and gives the other trailers: nothing of it is passed on, and \
             trailers decide nothing in Umay",
        ),
    ),
    rule(
        "8.3.1",
        "a method that is no token",
        |c| head(c, &[(":method", b"G T"), SCHEME, PATH, AUTHORITY]),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.3.1",
        "an empty method",
        |c| head(c, &[(":method", b""), SCHEME, PATH, AUTHORITY]),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.3.1",
        "a :scheme that is none",
        |c| head(c, &[METHOD, (":scheme", b"1:/"), PATH, AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "a :scheme that lies about the connection",
        |c| {
            let other: &[u8] = if c.scheme == "http" {
                b"https"
            } else {
                b"http"
            };
            head(c, &[METHOD, (":scheme", other), PATH, AUTHORITY])
        },
        Status(1, 400),
    ),
    rule(
        "8.3.1",
        "a :scheme of something else than HTTP",
        |c| head(c, &[METHOD, (":scheme", b"ftp"), PATH, AUTHORITY]),
        Status(1, 400),
    ),
    rule(
        "8.3.1",
        "a :scheme that lies where only Host names the authority",
        |c| {
            let other: &[u8] = if c.scheme == "http" {
                b"https"
            } else {
                b"http"
            };
            head(
                c,
                &[
                    METHOD,
                    (":scheme", other),
                    (":path", b"/"),
                    ("host", b"a.test"),
                ],
            )
        },
        Known(
            "400",
            &Status(1, 200),
            "the library drops :scheme without :authority; what is passed on and what rules see is \
             the connection's own scheme, so the lie goes nowhere",
        ),
    ),
    rule(
        "8.3.1",
        "a :path with a space",
        |c| head(c, &[METHOD, SCHEME, (":path", b"/refused x"), AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "a :path with a line's end",
        |c| {
            head(
                c,
                &[METHOD, SCHEME, (":path", b"/refused\r\nx: y"), AUTHORITY],
            )
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "a :path with a byte beyond ASCII",
        |c| head(c, &[METHOD, SCHEME, (":path", b"/refused/\xe4"), AUTHORITY]),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.3.1",
        "a :path that does not begin with a slash",
        |c| head(c, &[METHOD, SCHEME, (":path", b"refused"), AUTHORITY]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "a :path that is a whole URL",
        |c| {
            head(
                c,
                &[
                    METHOD,
                    SCHEME,
                    (":path", b"http://b.test/refused"),
                    AUTHORITY,
                ],
            )
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "a :path of * for something else than OPTIONS",
        |c| head(c, &[METHOD, SCHEME, (":path", b"*"), AUTHORITY]),
        Status(1, 400),
    ),
    rule(
        "8.3.1",
        "a :path of * for OPTIONS",
        |c| {
            head(
                c,
                &[(":method", b"OPTIONS"), SCHEME, (":path", b"*"), AUTHORITY],
            )
        },
        Status(1, 200),
    ),
    rule(
        "8.3.1",
        "a :path with a fragment",
        |c| {
            head(c, &[METHOD, SCHEME, (":path", b"/cut#refused"), AUTHORITY])?;
            match c.outcome(1)? {
                Outcome::Answered(a) if a.text().starts_with("GET /cut HTTP/1.1\n") => Ok(()),
                other => wrong(other),
            }
        },
        Known(
            "400",
            &Seen,
            "the library cuts the fragment off before Umay sees the path; nothing of it is matched \
             or passed on, as if the client had cut it off itself",
        ),
    ),
    rule(
        "8.3.1",
        "dot segments in :path",
        |c| {
            head(
                c,
                &[METHOD, SCHEME, (":path", b"/a/%2e%2E/refused"), AUTHORITY],
            )
        },
        Status(1, 400),
    ),
    // The authority.
    rule(
        "8.3.1",
        "neither :authority nor Host",
        |c| head(c, &[METHOD, SCHEME, PATH]),
        Status(1, 400),
    ),
    rule(
        "8.3.1",
        "Host alone",
        |c| head(c, &[METHOD, SCHEME, (":path", b"/"), ("host", b"a.test")]),
        Status(1, 200),
    ),
    rule(
        "8.3.1",
        ":authority and Host that say the same",
        |c| {
            head(
                c,
                &[
                    METHOD,
                    SCHEME,
                    (":path", b"/"),
                    AUTHORITY,
                    ("host", b"A.test"),
                ],
            )?;
            match c.outcome(1)? {
                Outcome::Answered(a) if a.text().contains("\nHost: a.test\n") => Ok(()),
                other => wrong(other),
            }
        },
        Ignored,
    ),
    rule(
        "8.3.1",
        ":authority and Host that differ",
        |c| with(c, "host", b"b.test"),
        Status(1, 400),
    ),
    rule(
        "8.3.1",
        ":authority and two Hosts",
        |c| {
            let host: Field<'_> = ("host", b"a.test");
            head(c, &[METHOD, SCHEME, PATH, AUTHORITY, host, host])
        },
        Status(1, 400),
    ),
    rule(
        "8.3.1",
        "user information in :authority",
        |c| head(c, &[METHOD, SCHEME, PATH, (":authority", b"me@a.test")]),
        Status(1, 400),
    ),
    rule(
        "8.3.1",
        "an :authority that is none",
        |c| head(c, &[METHOD, SCHEME, PATH, (":authority", b"a.test/x")]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.3.1",
        "an empty :authority",
        |c| head(c, &[METHOD, SCHEME, PATH, (":authority", b"")]),
        Reset(1, PROTOCOL),
    ),
];
