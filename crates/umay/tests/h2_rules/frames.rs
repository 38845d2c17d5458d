//! The rules of each kind of frame (section 6), and of padding.

use umay_test::frames::{Event, Frame, Outcome, code, flag, hpack, kind};

use crate::Expect::{Goaway, Ignored, Known, Reset, Seen, Status};
use crate::{NOT_SIZE, PROTOCOL, Rule, rule, wrong};

pub(crate) const RULES: &[Rule] = &[
    rule(
        "6.1",
        "DATA in several frames, one of them padded, one without bytes",
        |c| {
            c.post("/", &[])?;
            c.send_all(&[
                Frame::data(1, "one,"),
                Frame::data(1, "two,").padded(100, 100),
                Frame::data(1, ""),
                Frame::data(1, "").padded(3, 3),
                Frame::data(1, "three").end(),
            ])?;
            match c.outcome(1)? {
                Outcome::Answered(answer) if answer.text().contains("one,two,three") => Ok(()),
                other => wrong(other),
            }
        },
        Ignored,
    ),
    rule(
        "6.1",
        "DATA of the connection",
        |c| c.send(&Frame::data(0, "x")),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.1",
        "DATA with as much padding as payload",
        |c| {
            c.post("/broken", &[])?;
            c.send(&Frame::data(1, "").padded(1, 0).end())
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.1",
        "DATA with more padding than payload",
        |c| {
            c.post("/broken", &[])?;
            c.send(&Frame::data(1, "four").padded(6, 1).end())
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.1",
        "DATA that says it is padded and has no byte",
        |c| {
            c.post("/broken", &[])?;
            c.send(&Frame::data(1, "").with(flag::PADDED))
        },
        Goaway(&[code::PROTOCOL_ERROR, code::FRAME_SIZE_ERROR]),
    ),
    rule(
        "6.2",
        "HEADERS that are padded, with priority",
        |c| {
            let block = c.request("GET", "/", &[]);
            c.send(
                &Frame::headers(1, block)
                    .depending(0, 255)
                    .padded(9, 9)
                    .end(),
            )
        },
        Status(1, 200),
    ),
    rule(
        "6.2",
        "HEADERS of the connection",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(0, block).end())
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.2",
        "HEADERS with more padding than payload",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            let claimed = block.len() as u8 + 1;
            c.send(&Frame::headers(1, block).padded(claimed, 0).end())
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.2",
        "HEADERS too short for the priority that they say they have",
        |c| c.send(&Frame::headers(1, [0, 0, 0]).with(flag::PRIORITY).end()),
        Goaway(&[code::PROTOCOL_ERROR, code::FRAME_SIZE_ERROR]),
    ),
    rule(
        "5.3.1 (RFC 7540)",
        "HEADERS that depend on their own stream",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(1, block).depending(1, 255).end())
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "5.3.1 (RFC 7540)",
        "PRIORITY that depends on its own stream",
        |c| {
            c.post("/", &[])?;
            c.send(&Frame::priority(1, 1, 255))
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "6.3",
        "PRIORITY in any state of a stream",
        |c| {
            c.send(&Frame::priority(1, 0, 0))?;
            c.post("/", &[])?;
            c.send(&Frame::priority(1, 3, 255))?;
            c.send(&Frame::data(1, "x").end())?;
            c.send(&Frame::priority(1, 1 << 31 | 5, 7))?;
            c.outcome(1)?.answer();
            c.send(&Frame::priority(1, 7, 7))?;
            c.send(&Frame::priority(77, 1, 7))
        },
        Ignored,
    ),
    rule(
        "6.3",
        "PRIORITY of the connection",
        |c| c.send(&Frame::priority(0, 1, 255)),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.3",
        "PRIORITY of another size than five bytes",
        |c| {
            c.post("/broken", &[])?;
            c.send(&Frame::new(kind::PRIORITY, 0, 1, [0; 4]))
        },
        Known(
            "RST_STREAM with FRAME_SIZE_ERROR",
            &Goaway(PROTOCOL),
            "an error of a stream may be treated as one of the connection (5.4)",
        ),
    ),
    rule(
        "6.4",
        "RST_STREAM of the connection",
        |c| c.send(&Frame::reset(0, code::CANCEL)),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.4",
        "RST_STREAM of a stream that nobody opened",
        |c| c.send(&Frame::reset(1, code::CANCEL)),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.4",
        "RST_STREAM of another size than four bytes",
        |c| {
            c.post("/broken", &[])?;
            c.send(&Frame::new(kind::RST_STREAM, 0, 1, [0; 3]))
        },
        NOT_SIZE,
    ),
    rule(
        "6.4",
        "RST_STREAM is not answered with RST_STREAM",
        |c| {
            c.post("/", &[])?;
            c.settle()?;
            c.send(&Frame::reset(1, code::CANCEL))?;
            c.ask("/")?.answer();
            c.settle()?;
            c.send(&Frame::goaway(0, 0))?;
            c.conn().half_close().ok();
            let told = c.read_to_end()?;
            let answered = told
                .iter()
                .any(|event| matches!(event, Event::Reset { stream: 1, .. }));
            if answered { wrong(told) } else { Ok(()) }
        },
        Seen,
    ),
    rule(
        "6.6",
        "PUSH_PROMISE from a client",
        |c| {
            c.post("/broken", &[])?;
            c.settle()?;
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::push_promise(1, 2, block))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "8.4",
        "PUSH_PROMISE from a client, of a stream that nobody opened",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::push_promise(1, 2, block))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.10",
        "a header block in several frames, cut anywhere, some without bytes",
        |c| {
            let block = c.request("GET", "/", &[("x-long", "value")]);
            let (one, rest) = block.split_at(3);
            let (two, three) = rest.split_at(20);
            c.send_all(&[
                Frame::headers(1, one).without(flag::END_HEADERS).end(),
                Frame::continuation(1, two),
                Frame::continuation(1, ""),
                Frame::continuation(1, three),
                Frame::continuation(1, "").with(flag::END_HEADERS),
            ])
        },
        Status(1, 200),
    ),
    rule(
        "6.10",
        "CONTINUATION behind a block that has ended",
        |c| {
            let block = c.request("POST", "/broken", &[]);
            c.send(&Frame::headers(1, block))?;
            let more = hpack::literal("x", "y");
            c.send(&Frame::continuation(1, more).with(flag::END_HEADERS))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.10",
        "CONTINUATION behind CONTINUATION that ended the block",
        |c| {
            let block = c.request("POST", "/broken", &[]);
            c.send_all(&[
                Frame::headers(1, block).without(flag::END_HEADERS),
                Frame::continuation(1, "").with(flag::END_HEADERS),
                Frame::continuation(1, "").with(flag::END_HEADERS),
            ])
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.10",
        "CONTINUATION behind DATA",
        |c| {
            c.post("/broken", &[])?;
            c.send(&Frame::data(1, "x"))?;
            c.send(&Frame::continuation(1, hpack::literal("x", "y")).with(flag::END_HEADERS))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.10",
        "CONTINUATION of the connection",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(1, block).without(flag::END_HEADERS))?;
            c.send(&Frame::continuation(0, "").with(flag::END_HEADERS))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.10",
        "CONTINUATION of another stream",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(1, block).without(flag::END_HEADERS))?;
            c.send(&Frame::continuation(3, "").with(flag::END_HEADERS))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.10",
        "DATA within a header block",
        |c| {
            let block = c.request("POST", "/refused", &[]);
            c.send(&Frame::headers(1, block).without(flag::END_HEADERS))?;
            c.send(&Frame::data(1, "x"))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "4.3",
        "PRIORITY within a header block",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(1, block).without(flag::END_HEADERS))?;
            c.send(&Frame::priority(1, 0, 1))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "4.3",
        "HEADERS of another stream within a header block",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(1, &block).without(flag::END_HEADERS))?;
            c.send(&Frame::headers(3, &block))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "6.10",
        "SETTINGS and PING within a header block",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(1, &block).without(flag::END_HEADERS))?;
            c.send(&Frame::ping([0; 8]))
        },
        Goaway(PROTOCOL),
    ),
];
