//! Windows (sections 5.2, 6.9): what may be sent, what is sent, and what overflows.

use std::io;
use std::time::Duration;

use umay_test::frames::{Event, Frame, Outcome, Peer, setting};

use crate::Expect::{Goaway, Ignored, Known, Reset, Seen, Status};
use crate::{FLOW, NOT_SIZE, PROTOCOL, Rule, rule, wrong};

/// Settings that allow a stream so many bytes, in force.
fn window(c: &mut Peer, size: u32) -> io::Result<()> {
    c.feeds = false;
    c.send(&Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, size)]))?;
    c.settle().map(|_| ())
}

/// Reads so many bytes of a stream's answer, from its head on, and no more may come.
fn receives(c: &mut Peer, stream: u32, wanted: usize) -> io::Result<()> {
    c.head(Some(stream))?;
    more(c, stream, wanted)
}

/// The same behind the head.
fn more(c: &mut Peer, stream: u32, wanted: usize) -> io::Result<()> {
    let mut have = 0;
    while have < wanted {
        have += match c.find(|e| matches!(e, Event::Data { .. }) && e.stream() == stream)? {
            Some(Event::Data { bytes, .. }) => bytes.len(),
            other => return wrong(other),
        };
    }
    if have > wanted {
        return wrong((have, wanted));
    }
    silent(c)
}

/// No DATA may come.
fn silent(c: &mut Peer) -> io::Result<()> {
    c.conn().set_deadline(Duration::from_millis(100));
    let found = c.find(|e| matches!(e, Event::Data { bytes, .. } if !bytes.is_empty()));
    c.conn().set_deadline(umay_test::DEADLINE);
    match found {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
        other => wrong(other),
    }
}

pub(crate) const RULES: &[Rule] = &[
    rule(
        "6.9.1",
        "a window of one byte lets one byte through at a time",
        |c| {
            window(c, 1)?;
            c.get("/big/3")?;
            receives(c, 1, 1)?;
            c.send(&Frame::window(1, 1))?;
            more(c, 1, 1)?;
            c.send(&Frame::window(1, 10))?;
            more(c, 1, 1)
        },
        Ignored,
    ),
    rule(
        "6.9.1",
        "a window of nothing lets the head through, and an end without bytes",
        |c| {
            window(c, 0)?;
            c.get("/big/0")?;
            match c.outcome(1)? {
                Outcome::Answered(answer) if answer.status() == 200 => Ok(()),
                other => wrong(other),
            }
        },
        Seen,
    ),
    rule(
        "6.9.1",
        "the connection's window is respected, for all streams together",
        |c| {
            window(c, 1 << 20)?;
            c.get("/big/40000")?;
            c.get("/big/40000")?;
            // How they share it is not said.
            let mut have = 0;
            let both = |c: &mut Peer, wanted: usize, have: &mut usize| -> io::Result<()> {
                while *have < wanted {
                    *have += match c.find(|e| matches!(e, Event::Data { .. }))? {
                        Some(Event::Data { bytes, .. }) => bytes.len(),
                        other => return wrong(other),
                    };
                }
                silent(c)
            };
            both(c, 65_535, &mut have)?;
            c.send(&Frame::window(0, 100_000))?;
            both(c, 80_000, &mut have)?;
            match have {
                80_000 => Ok(()),
                have => wrong(have),
            }
        },
        Ignored,
    ),
    rule(
        "6.9.2",
        "INITIAL_WINDOW_SIZE changes the windows of streams that are open",
        |c| {
            window(c, 0)?;
            c.get("/big/20")?;
            receives(c, 1, 0)?;
            c.send(&Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 5)]))?;
            more(c, 1, 5)?;
            c.send(&Frame::window(1, 15))?;
            more(c, 1, 15)
        },
        Ignored,
    ),
    rule(
        "6.9.2",
        "a window may become negative, and has to be made up for",
        |c| {
            window(c, 10)?;
            c.get("/big/30")?;
            receives(c, 1, 10)?;
            c.send(&Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 2)]))?;
            c.send(&Frame::window(1, 8))?;
            more(c, 1, 0)?;
            c.send(&Frame::window(1, 3))?;
            more(c, 1, 3)?;
            c.send(&Frame::window(1, 100))?;
            more(c, 1, 17)
        },
        Ignored,
    ),
    rule(
        "6.5.3",
        "of a setting that is said twice in a frame, the last counts",
        |c| {
            c.feeds = false;
            let id = setting::INITIAL_WINDOW_SIZE;
            c.send(&Frame::settings(&[(id, 100), (id, 1)]))?;
            c.settle()?;
            c.get("/big/3")?;
            receives(c, 1, 1)?;
            c.send(&Frame::window(1, 2))?;
            more(c, 1, 2)
        },
        Ignored,
    ),
    rule(
        "4.2",
        "no frame is larger than the client allows",
        |c| {
            let stream = c.get("/big/200000")?;
            let mut left = 200_000;
            while left > 0 {
                match c.find(|e| matches!(e, Event::Data { .. }) && e.stream() == stream)? {
                    Some(Event::Data { bytes, .. }) if bytes.len() <= 16_384 => left -= bytes.len(),
                    other => return wrong(other),
                }
            }
            Ok(())
        },
        Ignored,
    ),
    rule(
        "6.9",
        "an increment of nothing for the connection",
        |c| c.send(&Frame::window(0, 0)),
        Goaway(PROTOCOL),
    ),
    rule(
        "6.9",
        "an increment of nothing for a stream",
        |c| {
            c.post("/broken", &[])?;
            c.settle()?;
            c.send(&Frame::window(1, 0))
        },
        Known(
            "RST_STREAM with PROTOCOL_ERROR",
            &Goaway(PROTOCOL),
            "it may be treated as one of the connection (5.4)",
        ),
    ),
    rule(
        "6.9",
        "WINDOW_UPDATE of another size than four bytes",
        |c| c.send(&Frame::new(8, 0, 0, [0, 0, 1])),
        NOT_SIZE,
    ),
    rule(
        "6.9",
        "the reserved bit of an increment is ignored",
        |c| c.send(&Frame::window(0, 1 << 31 | 1)),
        Ignored,
    ),
    rule(
        "6.9.1",
        "the largest window there is",
        |c| c.send(&Frame::window(0, (1 << 31) - 1 - 65_535)),
        Ignored,
    ),
    rule(
        "6.9.1",
        "the connection's window overflows",
        |c| {
            let frame = Frame::window(0, (1 << 31) - 1);
            c.send_all(&[frame.clone(), frame])
        },
        Goaway(FLOW),
    ),
    rule(
        "6.9.1",
        "a stream's window overflows",
        |c| {
            c.post("/broken", &[])?;
            c.settle()?;
            c.send(&Frame::window(1, (1 << 31) - 1))?;
            c.send(&Frame::window(1, (1 << 31) - 1))
        },
        Reset(1, FLOW),
    ),
    rule(
        "6.9.2",
        "a stream's window overflows by INITIAL_WINDOW_SIZE",
        |c| {
            c.post("/broken", &[])?;
            c.settle()?;
            c.send(&Frame::window(1, (1 << 31) - 1 - 65_535))?;
            c.send(&Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 65_536)]))
        },
        Goaway(FLOW),
    ),
    rule(
        "6.9",
        "WINDOW_UPDATE behind the end of the request counts",
        |c| {
            window(c, 1)?;
            c.get("/big/3")?;
            receives(c, 1, 1)?;
            c.send(&Frame::window(1, 1))?;
            c.send(&Frame::window(1, 1))?;
            more(c, 1, 2)
        },
        Ignored,
    ),
    rule(
        "6.9",
        "WINDOW_UPDATE of a stream that is closed is ignored",
        |c| {
            c.ask("/")?;
            c.send(&Frame::window(1, 100))
        },
        Ignored,
    ),
    rule(
        "6.9.1",
        "DATA beyond the window of a stream",
        |c| {
            // Nobody reads it as long as the endpoint is not connected.
            c.settle()?;
            c.post("/stuck", &[])?;
            for _ in 0..17 {
                c.send(&Frame::data(1, [b'x'; 16_384]))?;
            }
            // Told when the connect has ended, as what that has come to.
            match c.outcome(1)? {
                Outcome::Reset(code, _) if FLOW.contains(&code) => Ok(()),
                other => wrong(other),
            }
        },
        Seen,
    ),
    rule(
        "6.9.1",
        "DATA beyond the window of the connection",
        |c| {
            c.settle()?;
            for _ in 0..5 {
                let stream = c.post("/stuck", &[])?;
                for _ in 0..16 {
                    c.send(&Frame::data(stream, [b'x'; 16_384]))?;
                }
            }
            Ok(())
        },
        Goaway(FLOW),
    ),
    rule(
        "6.9",
        "padding counts, and is given back",
        |c| {
            c.post("/", &[])?;
            for count in 0..2000 {
                c.send(&Frame::data(1, "x").padded(255, 255))?;
                if count % 200 == 0 {
                    c.settle()?;
                }
            }
            c.send(&Frame::data(1, "").end())
        },
        Status(1, 200),
    ),
];
