//! Fields, bodies, trailers and CONNECT (section 8, RFC 8441), and what is too large.

use std::io;

use umay_test::frames::{Frame, Outcome, Peer, hpack};

use crate::Expect::{Ignored, Reset, Status};
use crate::heads::{AUTHORITY, Field, METHOD, PATH, SCHEME, head, with};
use crate::{NOT_ONLY_THE_STREAM, PROTOCOL, Rule, rule, wrong};

/// A POST whose length does not fit its body, in these pieces.
fn body(c: &mut Peer, length: &str, pieces: &[&str]) -> io::Result<()> {
    c.post("/broken", &[("content-length", length)])?;
    let (last, first) = pieces.split_last().unwrap();
    for piece in first {
        c.send(&Frame::data(1, piece))?;
    }
    c.send(&Frame::data(1, last).end())
}

pub(crate) const RULES: &[Rule] = &[
    // Fields.
    rule(
        "8.2.1",
        "upper case in a field's name",
        |c| with(c, "X-Test", b"x"),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.1",
        "a space in a field's name",
        |c| with(c, "x test", b"x"),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.1",
        "a colon in a field's name",
        |c| with(c, "x:test", b"x"),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.1",
        "a line's end in a field's name",
        |c| with(c, "x\r\ntest", b"x"),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.1",
        "an empty field's name",
        |c| with(c, "", b"x"),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.1",
        "NUL in a value",
        |c| with(c, "x", b"a\0b"),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.1",
        "CR in a value",
        |c| with(c, "x", b"a\rb"),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.1",
        "LF in a value",
        |c| with(c, "x", b"a\nb"),
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.1",
        "a space before a value",
        |c| with(c, "x", b" a"),
        Status(1, 400),
    ),
    rule(
        "8.2.1",
        "a tab behind a value",
        |c| with(c, "x", b"a\t"),
        Status(1, 400),
    ),
    rule(
        "8.2.1",
        "any other byte in a value is passed on",
        |c| {
            head(
                c,
                &[
                    METHOD,
                    SCHEME,
                    (":path", b"/"),
                    AUTHORITY,
                    ("x", b"a\t\xff b"),
                ],
            )
        },
        Status(1, 200),
    ),
    rule(
        "8.2.2",
        "connection",
        |c| with(c, "connection", b"keep-alive"),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.2.2",
        "proxy-connection",
        |c| with(c, "proxy-connection", b"keep-alive"),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.2.2",
        "keep-alive",
        |c| with(c, "keep-alive", b"timeout=5"),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.2.2",
        "transfer-encoding",
        |c| with(c, "transfer-encoding", b"chunked"),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.2.2",
        "upgrade",
        |c| with(c, "upgrade", b"websocket"),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.2.2",
        "te of something else than trailers",
        |c| with(c, "te", b"trailers, deflate"),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.2.2",
        "te of trailers",
        |c| {
            head(
                c,
                &[
                    METHOD,
                    SCHEME,
                    (":path", b"/"),
                    AUTHORITY,
                    ("te", b"trailers"),
                ],
            )
        },
        Status(1, 200),
    ),
    rule(
        "8.2.3",
        "cookies in pieces are put together",
        |c| {
            let (a, b): (Field<'_>, Field<'_>) = (("cookie", b"a=1"), ("cookie", b"b=2"));
            head(
                c,
                &[
                    METHOD,
                    SCHEME,
                    (":path", b"/"),
                    AUTHORITY,
                    a,
                    ("x", b"y"),
                    b,
                ],
            )?;
            match c.outcome(1)? {
                Outcome::Answered(answer) if answer.text().contains(": a=1; b=2\n") => Ok(()),
                other => wrong(other),
            }
        },
        Ignored,
    ),
    // Bodies.
    rule(
        "8.1.1",
        "less DATA than content-length says",
        |c| body(c, "2", &["x"]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1.1",
        "more DATA than content-length says",
        |c| body(c, "1", &["xy"]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1.1",
        "more DATA than content-length says, in pieces",
        |c| body(c, "3", &["ab", "cd"]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1.1",
        "less DATA than content-length says, in pieces",
        |c| body(c, "5", &["ab", "cd"]),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1.1",
        "as much DATA as content-length says, padding apart",
        |c| {
            c.post("/", &[("content-length", "4")])?;
            c.send(&Frame::data(1, "ab").padded(50, 50))?;
            c.send(&Frame::data(1, "cd").end())
        },
        Status(1, 200),
    ),
    rule(
        "8.1.1",
        "a content-length and no body",
        |c| with(c, "content-length", b"1"),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1.1",
        "a content-length, and trailers in place of the body",
        |c| {
            c.post("/broken", &[("content-length", "1")])?;
            c.send(&Frame::headers(1, hpack::literal("x", "y")).end())
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1.1",
        "a content-length that is no number",
        |c| with(c, "content-length", b"+1"),
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1.1",
        "two content-lengths that differ",
        |c| {
            c.post(
                "/refused",
                &[("content-length", "1"), ("content-length", "2")],
            )?;
            Ok(())
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1.1",
        "two content-lengths that say the same",
        |c| {
            c.post(
                "/refused",
                &[("content-length", "1"), ("content-length", "1")],
            )?;
            c.send(&Frame::data(1, "x").end())
        },
        Status(1, 400),
    ),
    rule(
        "8.1",
        "trailers are passed on",
        |c| {
            c.post("/", &[])?;
            c.send(&Frame::data(1, "x"))?;
            c.send(&Frame::headers(1, hpack::literal("x-sum", "1")).end())
        },
        Status(1, 200),
    ),
    rule(
        "8.2",
        "trailers with upper case",
        |c| {
            c.post("/broken", &[])?;
            c.send(&Frame::data(1, "x"))?;
            c.send(&Frame::headers(1, hpack::literal("X-Sum", "1")).end())
        },
        NOT_ONLY_THE_STREAM,
    ),
    rule(
        "8.2.2",
        "trailers with connection",
        |c| {
            c.post("/broken", &[])?;
            c.send(&Frame::data(1, "x"))?;
            c.send(&Frame::headers(1, hpack::literal("connection", "x")).end())
        },
        Reset(1, PROTOCOL),
    ),
    // CONNECT.
    rule(
        "8.5",
        "CONNECT with :scheme and :path",
        |c| {
            head(
                c,
                &[
                    (":method", b"CONNECT"),
                    SCHEME,
                    PATH,
                    (":authority", b"a.test:443"),
                ],
            )
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.5",
        "CONNECT where no route allows it",
        |c| {
            let block = hpack::block(&[(":method", "CONNECT"), (":authority", "a.test:443")]);
            let stream = c.next_stream();
            c.send(&Frame::headers(stream, block))
        },
        Status(1, 405),
    ),
    rule(
        "8.5",
        "CONNECT without an authority",
        |c| head(c, &[(":method", b"CONNECT")]),
        Status(1, 400),
    ),
    rule(
        "8.5",
        "CONNECT without a port",
        |c| head(c, &[(":method", b"CONNECT"), AUTHORITY]),
        Status(1, 400),
    ),
    rule(
        "RFC 8441 4",
        ":protocol of another method",
        |c| {
            head(
                c,
                &[METHOD, (":protocol", b"websocket"), SCHEME, PATH, AUTHORITY],
            )
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "RFC 8441 4",
        "extended CONNECT without :path",
        |c| {
            let method: Field<'_> = (":method", b"CONNECT");
            head(c, &[method, (":protocol", b"websocket"), SCHEME, AUTHORITY])
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "RFC 8441 4",
        "extended CONNECT without :scheme",
        |c| {
            let method: Field<'_> = (":method", b"CONNECT");
            head(c, &[method, (":protocol", b"websocket"), PATH, AUTHORITY])
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "RFC 8441 4",
        "extended CONNECT with another protocol",
        |c| {
            let method: Field<'_> = (":method", b"CONNECT");
            head(
                c,
                &[
                    method,
                    (":protocol", b"connect-udp"),
                    SCHEME,
                    PATH,
                    AUTHORITY,
                ],
            )
        },
        Status(1, 400),
    ),
    rule(
        "RFC 8441 4",
        "extended CONNECT with :protocol twice",
        |c| {
            let method: Field<'_> = (":method", b"CONNECT");
            let protocol: Field<'_> = (":protocol", b"websocket");
            head(c, &[method, protocol, protocol, SCHEME, PATH, AUTHORITY])
        },
        Reset(1, PROTOCOL),
    ),
    // What is too large.
    rule(
        "10.5.1",
        "a head over the limit",
        |c| {
            let long = "x".repeat(8000);
            let block = c.request("GET", "/refused", &[("a", &*long); 5]);
            for (at, piece) in block.chunks(16_000).enumerate() {
                let last = (at + 1) * 16_000 >= block.len();
                let frame = match at {
                    0 => Frame::headers(1, piece).without(4).end(),
                    _ => Frame::continuation(1, piece),
                };
                c.send(&if last { frame.with(4) } else { frame })?;
            }
            Ok(())
        },
        Status(1, 431),
    ),
    rule(
        "10.5.1",
        "a head so far over the limit that the library does not give it to Umay",
        |c| {
            c.ask("/")?;
            // Kept once and named often, it is small on the wire.
            let long = "x".repeat(3000);
            let mut block = c.request("GET", "/refused", &[]);
            block.extend(hpack::kept("a", long));
            block.extend([0xbe; 60]);
            c.send(&Frame::headers(3, block).end())
        },
        Status(3, 431),
    ),
    rule(
        "10.5.1",
        "a head with too many fields",
        |c| {
            let block = c.request("GET", "/refused", &[("a", "b"); 101]);
            c.send(&Frame::headers(1, block).end())
        },
        Status(1, 431),
    ),
    rule(
        "10.5.1",
        "a :path over the limit",
        |c| {
            let path = format!("/refused{}", "x".repeat(8200));
            let block = c.request("GET", &path, &[]);
            c.send(&Frame::headers(1, block).end())
        },
        Status(1, 414),
    ),
    rule(
        "8.1",
        "HTTP/2 has no 426, and no version in its answers",
        |c| match c.ask("/")? {
            Outcome::Answered(a) if a.get("connection").is_none() && a.get("upgrade").is_none() => {
                Ok(())
            }
            other => wrong(other),
        },
        Ignored,
    ),
];
