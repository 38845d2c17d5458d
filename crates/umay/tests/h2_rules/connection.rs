//! The connection as a whole: its beginning, SETTINGS, PING, GOAWAY, and what is unknown.

use umay_test::frames::{Event, Frame, Outcome, code, flag, hpack, kind, setting};

use crate::Expect::{Closed, Goaway, Ignored, Reset, Seen, Status};
use crate::{NOT_FLOW, NOT_SIZE, PROTOCOL, Rule, SIZE, rule, wrong};

pub(crate) const RULES: &[Rule] = &[
    rule(
        "3.4",
        "the server's preface is SETTINGS, and comes first",
        |c| match c.event()? {
            Some(Event::Settings(_)) => Ok(()),
            other => wrong(other),
        },
        Ignored,
    ),
    rule(
        "3.4",
        "a request may follow the preface at once",
        |c| {
            c.get("/")?;
            Ok(())
        },
        Status(1, 200),
    ),
    rule(
        "3.4",
        "a second preface is a frame that is too large",
        |c| c.conn().send(umay_test::frames::PREFACE),
        Goaway(&[code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR]),
    ),
    rule(
        "4.1",
        "a frame of an unknown kind is ignored",
        |c| c.send(&Frame::new(0x42, 0xff, 0, [0; 8])),
        Ignored,
    ),
    rule(
        "5.5",
        "an unknown frame of a stream that nobody opened is ignored",
        |c| c.send(&Frame::new(0x16, 0, 77, b"unknown")),
        Ignored,
    ),
    rule(
        "5.5",
        "an unknown frame between a request and its body is ignored",
        |c| {
            c.post("/", &[])?;
            c.send(&Frame::new(0x42, 0xff, 1, b"unknown"))?;
            c.send(&Frame::data(1, "x").end())
        },
        Status(1, 200),
    ),
    rule(
        "5.5",
        "an unknown frame within a header block breaks the connection",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            c.send(&Frame::headers(1, block).without(flag::END_HEADERS))?;
            c.send(&Frame::new(0x42, 0, 1, b"unknown"))
        },
        Goaway(PROTOCOL),
    ),
    rule(
        "4.1",
        "flags that have no meaning are ignored",
        |c| c.send(&Frame::ping(*b"01234567").with(0xfe)),
        Ignored,
    ),
    rule(
        "4.1",
        "the reserved bit is ignored",
        |c| {
            let mut frame = Frame::ping(*b"reserved");
            frame.stream = 1 << 31;
            c.send(&frame)?;
            match c.find(|e| matches!(e, Event::Ping(true, _)))? {
                Some(Event::Ping(_, bytes)) if bytes == b"reserved" => Ok(()),
                other => wrong(other),
            }
        },
        Ignored,
    ),
    rule(
        "4.1",
        "the reserved bit of a request's stream is ignored",
        |c| {
            let block = c.request("GET", "/", &[]);
            c.send(&Frame::headers(1 | 1 << 31, block).end())
        },
        Status(1, 200),
    ),
    rule(
        "6.5.3",
        "SETTINGS are acknowledged, each",
        |c| {
            for _ in 0..3 {
                c.send(&Frame::settings(&[(setting::MAX_CONCURRENT_STREAMS, 100)]))?;
            }
            for _ in 0..4 {
                if c.find(|e| *e == Event::SettingsAck)?.is_none() {
                    return wrong("no acknowledgement");
                }
            }
            Ok(())
        },
        Ignored,
    ),
    rule(
        "6.5",
        "SETTINGS with ACK and a payload",
        |c| c.send(&Frame::new(kind::SETTINGS, flag::ACK, 0, [0; 6])),
        NOT_SIZE,
    ),
    rule(
        "6.5",
        "SETTINGS of a stream",
        |c| c.send(&Frame::new(kind::SETTINGS, 0, 1, [0; 6])),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.5",
        "SETTINGS that are no multiple of six bytes",
        |c| c.send(&Frame::new(kind::SETTINGS, 0, 0, [0, 1, 0])),
        NOT_SIZE,
    ),
    rule(
        "6.5.2",
        "ENABLE_PUSH is neither 0 nor 1",
        |c| c.send(&Frame::settings(&[(setting::ENABLE_PUSH, 2)])),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.5.2",
        "INITIAL_WINDOW_SIZE is too large",
        |c| c.send(&Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)])),
        NOT_FLOW,
    ),
    rule(
        "6.5.2",
        "MAX_FRAME_SIZE is too small",
        |c| c.send(&Frame::settings(&[(setting::MAX_FRAME_SIZE, 16_383)])),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.5.2",
        "MAX_FRAME_SIZE is too large",
        |c| c.send(&Frame::settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)])),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.5.2",
        "the ends of what MAX_FRAME_SIZE may be are fine",
        |c| {
            c.send(&Frame::settings(&[(setting::MAX_FRAME_SIZE, 1 << 14)]))?;
            c.send(&Frame::settings(&[(
                setting::MAX_FRAME_SIZE,
                (1 << 24) - 1,
            )]))
        },
        Ignored,
    ),
    rule(
        "6.5.2",
        "unknown settings are ignored",
        |c| c.send(&Frame::settings(&[(0xff, 1), (0xf000, u32::MAX)])),
        Ignored,
    ),
    rule(
        "6.5.2",
        "no push is promised, whatever the client would take",
        |c| {
            c.send(&Frame::settings(&[(setting::ENABLE_PUSH, 1)]))?;
            c.get("/")?;
            Ok(())
        },
        Status(1, 200),
    ),
    rule(
        "RFC 8441 3",
        "extended CONNECT is offered",
        |c| match c.find(|e| matches!(e, Event::Settings(_)))? {
            Some(Event::Settings(s)) if s.contains(&(setting::ENABLE_CONNECT_PROTOCOL, 1)) => {
                Ok(())
            }
            other => wrong(other),
        },
        Ignored,
    ),
    rule(
        "RFC 8441 3",
        "ENABLE_CONNECT_PROTOCOL is neither 0 nor 1",
        |c| c.send(&Frame::settings(&[(setting::ENABLE_CONNECT_PROTOCOL, 2)])),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.7",
        "PING is answered with what it carried",
        |c| {
            c.send(&Frame::ping(*b"h2spec?!"))?;
            match c.find(|e| matches!(e, Event::Ping(..)))? {
                Some(Event::Ping(true, bytes)) if bytes == b"h2spec?!" => Ok(()),
                other => wrong(other),
            }
        },
        Ignored,
    ),
    rule(
        "6.7",
        "PING with ACK is not answered",
        |c| {
            c.send(&Frame::new(kind::PING, flag::ACK, 0, b"unasked!"))?;
            c.send(&Frame::ping(*b"01234567"))?;
            match c.find(|e| matches!(e, Event::Ping(..)))? {
                Some(Event::Ping(true, bytes)) if bytes == b"01234567" => Ok(()),
                other => wrong(other),
            }
        },
        Ignored,
    ),
    rule(
        "6.7",
        "PING of a stream",
        |c| c.send(&Frame::new(kind::PING, 0, 1, [0; 8])),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.7",
        "PING of another size than eight bytes",
        |c| c.send(&Frame::new(kind::PING, 0, 0, [0; 6])),
        NOT_SIZE,
    ),
    rule(
        "6.8",
        "GOAWAY of a stream",
        |c| c.send(&Frame::new(kind::GOAWAY, 0, 1, [0; 8])),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.8",
        "GOAWAY that is too short",
        |c| c.send(&Frame::new(kind::GOAWAY, 0, 0, [0; 4])),
        NOT_SIZE,
    ),
    rule(
        "6.8",
        "what is open when the client says GOAWAY is finished",
        |c| {
            c.post("/", &[])?;
            c.settle()?;
            c.send(&Frame::goaway(0, code::NO_ERROR))?;
            c.send(&Frame::data(1, "x").end())?;
            match c.outcome(1)? {
                Outcome::Answered(answer) if answer.status() == 200 => Ok(()),
                other => wrong(other),
            }
        },
        Seen,
    ),
    rule(
        "7",
        "GOAWAY with an unknown code has no special meaning",
        |c| {
            c.post("/", &[])?;
            c.settle()?;
            c.send(&Frame::goaway(0, 0xff))?;
            c.send(&Frame::data(1, "x").end())?;
            match c.outcome(1)? {
                Outcome::Answered(answer) if answer.status() == 200 => Ok(()),
                other => wrong(other),
            }
        },
        Seen,
    ),
    rule(
        "7",
        "RST_STREAM with an unknown code has no special meaning",
        |c| {
            c.post("/", &[])?;
            c.settle()?;
            c.send(&Frame::reset(1, 0xff))
        },
        Ignored,
    ),
    rule(
        "4.2",
        "a frame of the largest size that is allowed is taken",
        |c| {
            c.post("/", &[])?;
            c.send(&Frame::data(1, [b'x'; 16_384]).end())
        },
        Status(1, 200),
    ),
    rule(
        "4.2",
        "DATA that is too large",
        |c| {
            c.post("/broken", &[])?;
            c.settle()?;
            c.send(&Frame::data(1, [b'x'; 16_385]).end())
        },
        Goaway(SIZE),
    ),
    rule(
        "4.2",
        "HEADERS that are too large",
        |c| {
            let long = "x".repeat(17_000);
            let block = c.request("GET", "/refused", &[("x", &long)]);
            c.send(&Frame::headers(1, block).end())
        },
        Goaway(SIZE),
    ),
    rule(
        "4.2",
        "a frame that says it is as large as can be",
        |c| c.send(&Frame::new(0x42, 0, 0, [0; 9]).lying((1 << 24) - 1)),
        Goaway(SIZE),
    ),
    rule(
        "4.2",
        "frames that are cut off by the end",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            let bytes = Frame::headers(1, block).end().bytes();
            c.conn().send(&bytes[..bytes.len() - 1])?;
            c.acknowledges = false;
            c.conn().half_close()?;
            c.read_to_end()?;
            Ok(())
        },
        Seen,
    ),
    rule(
        "5.4.1",
        "after an error of the connection it is closed, and GOAWAY tells the last stream",
        |c| {
            c.ask("/")?;
            c.send(&Frame::new(kind::PING, 0, 0, [0; 7]))?;
            match c.find(|e| matches!(e, Event::Goaway { .. }))? {
                Some(Event::Goaway { last: 1, code, .. }) if code != 0 => Ok(()),
                other => wrong(other),
            }
        },
        Closed,
    ),
    rule(
        "5.1.2",
        "streams beyond the cap are refused",
        |c| {
            let block = c.request("POST", "/", &[]);
            for _ in 0..101 {
                let stream = c.next_stream();
                c.send(&Frame::headers(stream, &block))?;
            }
            match c.outcome(201)? {
                Outcome::Reset(code::REFUSED_STREAM, _) => {}
                other => return wrong(other),
            }
            c.send(&Frame::reset(1, code::CANCEL))?;
            c.jump_to(203);
            match c.ask("/")? {
                Outcome::Answered(answer) if answer.status() == 200 => Ok(()),
                other => wrong(other),
            }
        },
        Seen,
    ),
    rule(
        "5.1.2",
        "what is refused beyond the cap keeps the compression in step",
        |c| {
            let block = c.request("POST", "/", &[]);
            for _ in 0..100 {
                let stream = c.next_stream();
                c.send(&Frame::headers(stream, &block))?;
            }
            let kept = [c.request("GET", "/", &[]), hpack::kept("x-kept", "1")].concat();
            c.send(&Frame::headers(201, kept).end())?;
            match c.outcome(201)? {
                Outcome::Reset(code::REFUSED_STREAM, _) => {}
                other => return wrong(other),
            }
            c.send(&Frame::reset(1, code::CANCEL))?;
            let block = [c.request("GET", "/", &[]), hpack::indexed(62)].concat();
            c.send(&Frame::headers(203, block).end())?;
            match c.outcome(203)? {
                Outcome::Answered(answer) if answer.text().contains("x-kept: 1") => Ok(()),
                other => wrong(other),
            }
        },
        Seen,
    ),
    rule(
        "5.4.2",
        "trailers that were under way to a stream beyond the cap",
        |c| {
            let block = c.request("POST", "/", &[]);
            for _ in 0..100 {
                let stream = c.next_stream();
                c.send(&Frame::headers(stream, &block))?;
            }
            c.send_all(&[
                Frame::headers(201, &block),
                Frame::data(201, "x"),
                Frame::headers(201, hpack::literal("x-sum", "1")).end(),
                Frame::reset(1, code::CANCEL),
            ])
        },
        Reset(201, &[code::REFUSED_STREAM]),
    ),
    rule(
        "8.7",
        "RST_STREAM ends the request, and no answer comes",
        |c| {
            c.post("/refused-not", &[])?;
            c.send(&Frame::reset(1, code::CANCEL))?;
            c.settle()?;
            let (_, fields, _) = {
                c.jump_to(3);
                let stream = c.get("/")?;
                c.head(Some(stream))?
            };
            match fields.is_empty() {
                false => Ok(()),
                true => wrong(fields),
            }
        },
        Seen,
    ),
    rule(
        "8.1",
        "an answer to HEAD has no DATA",
        |c| {
            let block = c.request("HEAD", "/big/1000", &[]);
            c.send(&Frame::headers(1, block).end())?;
            match c.outcome(1)? {
                Outcome::Answered(a)
                    if a.body.is_empty() && a.get("content-length") == Some("1000") =>
                {
                    Ok(())
                }
                other => wrong(other),
            }
        },
        Ignored,
    ),
    rule(
        "8.1",
        "an answer before the end of the request is followed by RST_STREAM(NO_ERROR)",
        |c| {
            let block = c.request("POST", "/../refused", &[]);
            c.send(&Frame::headers(1, block))?;
            match c.outcome(1)? {
                Outcome::Answered(answer) if answer.status() == 400 => {}
                other => return wrong(other),
            }
            match c.find(|e| matches!(e, Event::Reset { .. }))? {
                Some(Event::Reset {
                    stream: 1,
                    code: code::NO_ERROR,
                }) => Ok(()),
                other => wrong(other),
            }
        },
        Ignored,
    ),
    rule(
        "5.4.2",
        "DATA that was under way to a stream that was reset is ignored",
        |c| {
            let block = c.request("POST", "/refused", &[("keep-alive", "x")]);
            c.send_all(&[
                Frame::headers(1, block),
                Frame::data(1, "late"),
                Frame::data(1, "later").end(),
            ])
        },
        Reset(1, PROTOCOL),
    ),
];
