//! The states of streams (section 5.1): which frames may come in which.

use umay_test::frames::{Frame, Outcome, code, flag, hpack};

use crate::Expect::{Goaway, Ignored, Reset, Seen, Status};
use crate::{CLOSED, NOT_STREAM_CLOSED, PROTOCOL, Rule, rule, wrong};

pub(crate) const RULES: &[Rule] = &[
    rule(
        "5.1",
        "DATA of a stream that nobody opened",
        |c| c.send(&Frame::data(1, "x").end()),
        Goaway(PROTOCOL),
    ),
    rule(
        "5.1",
        "WINDOW_UPDATE of a stream that nobody opened",
        |c| c.send(&Frame::window(1, 100)),
        Goaway(PROTOCOL),
    ),
    rule(
        "5.1",
        "CONTINUATION of a stream that nobody opened",
        |c| c.send(&Frame::continuation(1, hpack::literal("a", "b")).with(flag::END_HEADERS)),
        Goaway(PROTOCOL),
    ),
    rule(
        "5.1",
        "DATA behind the end of the request, before the answer",
        |c| {
            let block = c.request("GET", "/stuck", &[]);
            c.send(&Frame::headers(1, block).end())?;
            c.settle()?;
            c.send(&Frame::data(1, "x").end())
        },
        NOT_STREAM_CLOSED,
    ),
    rule(
        "5.1",
        "HEADERS behind the end of the request, before the answer",
        |c| {
            let block = c.request("GET", "/stuck", &[]);
            c.send(&Frame::headers(1, &block).end())?;
            c.settle()?;
            c.send(&Frame::headers(1, block).end())
        },
        NOT_STREAM_CLOSED,
    ),
    rule(
        "5.1",
        "CONTINUATION behind the end of the request",
        |c| {
            let block = c.request("GET", "/stuck", &[]);
            c.send(&Frame::headers(1, block).end())?;
            c.send(&Frame::continuation(1, hpack::literal("a", "b")).with(flag::END_HEADERS))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "5.1",
        "WINDOW_UPDATE, PRIORITY and RST_STREAM behind the end of the request",
        |c| {
            c.get("/stuck")?;
            c.send(&Frame::window(1, 100))?;
            c.send(&Frame::priority(1, 0, 5))?;
            c.send(&Frame::reset(1, code::CANCEL))
        },
        Ignored,
    ),
    rule(
        "5.1",
        "DATA behind the client's RST_STREAM",
        |c| {
            c.post("/stuck", &[])?;
            c.send(&Frame::reset(1, code::CANCEL))?;
            c.settle()?;
            c.send(&Frame::data(1, "x").end())?;
            // Counted already: the client has gone, and that may come late.
            match c.outcome(1)? {
                Outcome::Reset(code, _) if CLOSED.contains(&code) => Ok(()),
                other => Err(std::io::Error::other(format!("{other:?}"))),
            }
        },
        Seen,
    ),
    rule(
        "5.1",
        "HEADERS behind the client's RST_STREAM",
        |c| {
            let block = c.request("POST", "/stuck", &[]);
            c.send(&Frame::headers(1, &block))?;
            c.send(&Frame::reset(1, code::CANCEL))?;
            c.settle()?;
            c.send(&Frame::headers(1, block).end())
        },
        Goaway(&[code::STREAM_CLOSED, code::PROTOCOL_ERROR]),
    ),
    rule(
        "5.1",
        "CONTINUATION behind the client's RST_STREAM",
        |c| {
            c.post("/stuck", &[])?;
            c.send(&Frame::reset(1, code::CANCEL))?;
            c.send(&Frame::continuation(1, hpack::literal("a", "b")).with(flag::END_HEADERS))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "5.1",
        "WINDOW_UPDATE and RST_STREAM behind the client's RST_STREAM",
        |c| {
            c.post("/stuck", &[])?;
            c.send(&Frame::reset(1, code::CANCEL))?;
            c.settle()?;
            c.send(&Frame::window(1, 5))?;
            c.send(&Frame::reset(1, code::CANCEL))
        },
        Ignored,
    ),
    rule(
        "5.1",
        "DATA of a stream that both have ended",
        |c| {
            c.ask("/")?.answer();
            c.send(&Frame::data(1, "x").end())
        },
        Reset(1, CLOSED),
    ),
    rule(
        "5.1",
        "HEADERS of a stream that both have ended",
        |c| {
            c.ask("/")?.answer();
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(1, block).end())
        },
        NOT_STREAM_CLOSED,
    ),
    rule(
        "5.1",
        "CONTINUATION of a stream that both have ended",
        |c| {
            c.ask("/")?.answer();
            c.send(&Frame::continuation(1, hpack::literal("a", "b")).with(flag::END_HEADERS))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "5.1.1",
        "a stream with an even number",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(2, block).end())
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "5.1.1",
        "a stream with a lower number than the last",
        |c| {
            c.jump_to(5);
            c.ask("/")?.answer();
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(3, block).end())
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "5.1.1",
        "numbers that were passed over are closed",
        |c| {
            c.jump_to(5);
            c.ask("/")?.answer();
            c.send(&Frame::reset(3, code::CANCEL))
        },
        Ignored,
    ),
    rule(
        "5.1.1",
        "the last stream that there can be",
        |c| {
            c.jump_to((1 << 31) - 1);
            match c.ask("/")? {
                Outcome::Answered(answer) if answer.status() == 200 => Ok(()),
                other => wrong(other),
            }
        },
        Seen,
    ),
    rule(
        "5.1",
        "many streams at once, answered as they are ready",
        |c| {
            let first = c.post("/", &[])?;
            for _ in 0..50 {
                let outcome = c.ask("/")?;
                if outcome.status() != 200 {
                    return wrong(outcome);
                }
            }
            c.send(&Frame::data(first, "").end())
        },
        Status(1, 200),
    ),
    rule(
        "8.1",
        "a second HEADERS that does not end the stream",
        |c| {
            c.post("/", &[])?;
            c.send(&Frame::headers(1, hpack::literal("a", "b")))
        },
        Reset(1, PROTOCOL),
    ),
    rule(
        "8.1",
        "HEADERS behind trailers",
        |c| {
            c.post("/stuck", &[])?;
            c.send(&Frame::headers(1, hpack::literal("a", "b")).end())?;
            c.settle()?;
            c.send(&Frame::headers(1, hpack::literal("a", "b")).end())
        },
        NOT_STREAM_CLOSED,
    ),
];
