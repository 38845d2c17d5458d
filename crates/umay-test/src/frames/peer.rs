//! One side of a connection.

use std::borrow::BorrowMut;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::frame::{Frame, PREFACE, code, flag, kind};
use super::hpack::{self, Decoder};
use crate::conn::{Conn, End};
use crate::http::Fields;

/// Something that the other side has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// HEADERS, with all of its CONTINUATION.
    Head {
        /// Whose.
        stream: u32,
        /// Decoded.
        fields: Fields,
        /// Nothing follows.
        end: bool,
    },
    /// DATA.
    Data {
        /// Whose.
        stream: u32,
        /// Without padding.
        bytes: Vec<u8>,
        /// Nothing follows.
        end: bool,
    },
    /// RST_STREAM.
    Reset {
        /// Of which.
        stream: u32,
        /// Why.
        code: u32,
    },
    /// GOAWAY.
    Goaway {
        /// The last stream that is or might be looked at.
        last: u32,
        /// Why.
        code: u32,
        /// What it says besides.
        debug: String,
    },
    /// SETTINGS.
    Settings(Vec<(u16, u32)>),
    /// SETTINGS were acknowledged.
    SettingsAck,
    /// PING; true if it is an answer.
    Ping(bool, Vec<u8>),
    /// WINDOW_UPDATE: of which stream, by how much.
    Window(u32, u32),
    /// Any other frame.
    Other(Frame),
}

impl Event {
    /// The stream it is about.
    pub fn stream(&self) -> u32 {
        match self {
            Self::Head { stream, .. }
            | Self::Data { stream, .. }
            | Self::Reset { stream, .. }
            | Self::Window(stream, _) => *stream,
            Self::Other(frame) => frame.stream,
            Self::Goaway { .. } | Self::Settings(_) | Self::SettingsAck | Self::Ping(..) => 0,
        }
    }
}

/// An answer that was read whole, or as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Heads with a status of 1xx.
    pub interim: Vec<Fields>,
    /// The head.
    pub fields: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// What came behind the body.
    pub trailers: Fields,
}

impl Answer {
    /// The status; 0 if there is no head.
    pub fn status(&self) -> u16 {
        let status = self.get(":status");
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The reason word that Umay put into `Proxy-Status`, if it made this answer.
    pub fn reason(&self) -> Option<&str> {
        let (_, rest) = self.get("proxy-status")?.split_once("details=\"")?;
        Some(rest.split_once('"')?.0)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a whole answer.
    Answered(Answer),
    /// By RST_STREAM, after so much of an answer.
    Reset(u32, Answer),
    /// With the connection, by a GOAWAY that tells an error: code and words.
    Goaway(u32, String),
    /// With the connection, without a word.
    Closed(End),
}

impl Outcome {
    /// The answer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn answer(self) -> Answer {
        match self {
            Self::Answered(answer) => answer,
            other => panic!("no answer but {other:?}"),
        }
    }

    /// The status of a whole answer, else 0.
    pub fn status(&self) -> u16 {
        match self {
            Self::Answered(answer) => answer.status(),
            _ => 0,
        }
    }
}

/// One side of a connection, which it holds or borrows.
#[derive(Debug)]
pub struct Peer<C: BorrowMut<Conn> = Conn> {
    conn: C,
    decoder: Decoder,
    /// What was read and not asked for yet.
    waiting: VecDeque<Event>,
    /// A header block that has not ended.
    block: Option<Frame>,
    /// The next stream to open.
    next: u32,
    /// SETTINGS and PING are acknowledged as soon as they are read.
    pub acknowledges: bool,
    /// DATA is made up for with WINDOW_UPDATE as soon as it is read.
    pub feeds: bool,
    /// The scheme of requests.
    pub scheme: &'static str,
}

impl<C: BorrowMut<Conn>> Peer<C> {
    /// A side that has said nothing yet.
    pub fn raw(conn: C) -> Self {
        let scheme = if conn.borrow().tls().is_some() {
            "https"
        } else {
            "http"
        };
        Self {
            conn,
            decoder: Decoder::default(),
            waiting: VecDeque::new(),
            block: None,
            next: 1,
            acknowledges: true,
            feeds: true,
            scheme,
        }
    }

    /// A client that has said its preface with these settings.
    pub fn client(conn: C, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut peer = Self::raw(conn);
        let hello = [PREFACE, &Frame::settings(settings).bytes()].concat();
        peer.conn().send(hello)?;
        Ok(peer)
    }

    /// A server that has read a client's preface and said its settings.
    pub fn server(conn: C, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut peer = Self::raw(conn);
        let preface = peer.conn().read_exact(PREFACE.len())?;
        if preface != PREFACE {
            let text = format!("a preface of {:?}", String::from_utf8_lossy(&preface));
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        peer.send(&Frame::settings(settings))?;
        Ok(peer)
    }

    /// The connection below.
    pub fn conn(&mut self) -> &mut Conn {
        self.conn.borrow_mut()
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.conn().send(frame.bytes())
    }

    /// Sends frames in one write.
    pub fn send_all<'a>(&mut self, frames: impl IntoIterator<Item = &'a Frame>) -> io::Result<()> {
        let bytes: Vec<u8> = frames.into_iter().flat_map(Frame::bytes).collect();
        self.conn().send(bytes)
    }

    /// The number for a new stream of a client.
    pub fn next_stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// Goes on with this stream.
    pub fn jump_to(&mut self, stream: u32) {
        self.next = stream;
    }

    /// The head of a request to `a.test`, with more fields, as a block.
    pub fn request(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let mut fields = vec![
            (":method", method),
            (":scheme", self.scheme),
            (":path", path),
            (":authority", "a.test"),
        ];
        fields.extend(more);
        hpack::block(&fields)
    }

    /// Sends a GET and tells its stream.
    pub fn get(&mut self, path: &str) -> io::Result<u32> {
        let stream = self.next_stream();
        let block = self.request("GET", path, &[]);
        self.send(&Frame::headers(stream, block).end())?;
        Ok(stream)
    }

    /// Sends the head of a POST and tells its stream.
    pub fn post(&mut self, path: &str, more: &[(&str, &str)]) -> io::Result<u32> {
        let stream = self.next_stream();
        let block = self.request("POST", path, more);
        self.send(&Frame::headers(stream, block))?;
        Ok(stream)
    }

    /// The next frame, as it is; `None` at the end of the connection.
    pub fn frame(&mut self) -> io::Result<Option<Frame>> {
        let head = match self.conn().read_exact(9) {
            Ok(head) => head,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b));
        let payload = match self.conn().read_exact(number(&head[..3]) as usize) {
            Ok(payload) => payload,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Frame::new(
            head[3],
            head[4],
            number(&head[5..]),
            payload,
        )))
    }

    /// The next thing that is said; `None` at the end of the connection.
    pub fn event(&mut self) -> io::Result<Option<Event>> {
        match self.waiting.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.read_event(),
        }
    }

    /// Waits for something; what else comes is kept. `None` at the end of the connection.
    pub fn find(&mut self, is_it: impl Fn(&Event) -> bool) -> io::Result<Option<Event>> {
        if let Some(at) = self.waiting.iter().position(&is_it) {
            return Ok(self.waiting.remove(at));
        }
        let until = Instant::now() + crate::DEADLINE;
        while let Some(event) = self.read_event()? {
            if is_it(&event) {
                return Ok(Some(event));
            }
            self.waiting.push_back(event);
            if Instant::now() > until {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(None)
    }

    /// Waits for the head of a message on any stream, or on this one; gives stream, fields and
    /// whether that was all.
    pub fn head(&mut self, of: Option<u32>) -> io::Result<(u32, Fields, bool)> {
        let is_it = |event: &Event| match event {
            Event::Head { stream, .. } => of.is_none_or(|of| of == *stream),
            _ => false,
        };
        match self.find(is_it)? {
            Some(Event::Head {
                stream,
                fields,
                end,
            }) => Ok((stream, fields, end)),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Waits for the end of a stream.
    pub fn outcome(&mut self, stream: u32) -> io::Result<Outcome> {
        let mut answer = Answer::default();
        loop {
            let error =
                |e: &Event| matches!(e, Event::Goaway { code, .. } if *code != code::NO_ERROR);
            let found = self
                .find(|e| error(e) || (e.stream() == stream && !matches!(e, Event::Window(..))))?;
            let ended = match found {
                None => return Ok(Outcome::Closed(self.conn().end().unwrap_or(End::Clean))),
                Some(Event::Goaway { code, debug, .. }) => {
                    return Ok(Outcome::Goaway(code, debug));
                }
                Some(Event::Reset { code, .. }) => return Ok(Outcome::Reset(code, answer)),
                Some(Event::Data { bytes, end, .. }) => {
                    answer.body.extend(bytes);
                    end
                }
                Some(Event::Head { fields, end, .. }) => {
                    answer.put(fields);
                    end
                }
                Some(other) => {
                    let text = format!("not to be expected: {other:?}");
                    return Err(io::Error::new(ErrorKind::InvalidData, text));
                }
            };
            if ended {
                return Ok(Outcome::Answered(answer));
            }
        }
    }

    /// Sends a GET and waits for its answer.
    pub fn ask(&mut self, path: &str) -> io::Result<Outcome> {
        let stream = self.get(path)?;
        self.outcome(stream)
    }

    /// Answers a request with a status, fields and a body.
    pub fn answer(
        &mut self,
        stream: u32,
        status: u16,
        more: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let status = status.to_string();
        let mut fields = vec![(":status", &*status)];
        fields.extend(more);
        let head = Frame::headers(stream, hpack::block(&fields));
        if body.is_empty() {
            return self.send(&head.end());
        }
        self.send_all(&[head, Frame::data(stream, body).end()])
    }

    /// Waits for the GOAWAY that tells an error.
    pub fn goaway(&mut self) -> io::Result<Option<u32>> {
        let error = |e: &Event| matches!(e, Event::Goaway { code, .. } if *code != code::NO_ERROR);
        Ok(match self.find(error)? {
            Some(Event::Goaway { code, .. }) => Some(code),
            _ => None,
        })
    }

    /// Waits until all that was sent before has been looked at: a PING comes back. False at the end
    /// of the connection.
    pub fn settle(&mut self) -> io::Result<bool> {
        let mark = *b"settle!!";
        self.send(&Frame::ping(mark))?;
        let answer = Event::Ping(true, mark.to_vec());
        Ok(self.find(|event| *event == answer)?.is_some())
    }

    /// Reads to the end of the connection.
    pub fn read_to_end(&mut self) -> io::Result<Vec<Event>> {
        let mut all: Vec<Event> = self.waiting.drain(..).collect();
        while let Some(event) = self.read_event()? {
            all.push(event);
        }
        Ok(all)
    }

    /// True if nothing more is said for so long. What was read before does not count.
    pub fn stays_silent(&mut self, time: Duration) -> bool {
        self.conn().stays_silent(time)
    }

    fn read_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            let Some(frame) = self.frame()? else {
                return Ok(None);
            };
            if let Some(event) = self.take(frame)? {
                return Ok(Some(event));
            }
        }
    }

    /// What a frame says; `None` if its header block goes on.
    fn take(&mut self, frame: Frame) -> io::Result<Option<Event>> {
        let wrong = |what: &str| {
            let text = format!("{what}: {frame:?}");
            io::Error::new(ErrorKind::InvalidData, text)
        };
        let number = |at| frame.number(at).ok_or_else(|| wrong("too short"));
        let content = frame.content().ok_or_else(|| wrong("bad padding"))?;
        let stream = frame.stream;
        let event = match frame.kind {
            _ if self.block.is_some() && frame.kind != kind::CONTINUATION => {
                return Err(wrong("in the middle of a header block"));
            }
            kind::HEADERS | kind::CONTINUATION => return self.take_block(&frame, content),
            kind::DATA => {
                if self.feeds && !frame.payload.is_empty() {
                    let length = frame.payload.len() as u32;
                    let end = frame.has(flag::END_STREAM);
                    let updates = [Frame::window(0, length), Frame::window(stream, length)];
                    self.send_all(&updates[..if end { 1 } else { 2 }]).ok();
                }
                Event::Data {
                    stream,
                    bytes: content.to_vec(),
                    end: frame.has(flag::END_STREAM),
                }
            }
            kind::RST_STREAM => Event::Reset {
                stream,
                code: number(0)?,
            },
            kind::GOAWAY => Event::Goaway {
                last: number(0)?,
                code: number(4)?,
                debug: String::from_utf8_lossy(&frame.payload[8..]).into_owned(),
            },
            kind::SETTINGS if frame.has(flag::ACK) => Event::SettingsAck,
            kind::SETTINGS => {
                let values = frame.payload.chunks_exact(6).map(|pair| {
                    let id = u16::from_be_bytes([pair[0], pair[1]]);
                    (id, u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
                });
                let event = Event::Settings(values.collect());
                if self.acknowledges {
                    self.send(&Frame::settings_ack()).ok();
                }
                event
            }
            kind::PING => {
                let ack = frame.has(flag::ACK);
                if self.acknowledges && !ack {
                    let answer = Frame::new(kind::PING, flag::ACK, 0, &frame.payload);
                    self.send(&answer).ok();
                }
                Event::Ping(ack, frame.payload)
            }
            kind::WINDOW_UPDATE => Event::Window(stream, number(0)?),
            _ => Event::Other(frame),
        };
        Ok(Some(event))
    }

    fn take_block(&mut self, frame: &Frame, content: &[u8]) -> io::Result<Option<Event>> {
        let wrong = |what: String| io::Error::new(ErrorKind::InvalidData, what);
        let mut block = match self.block.take() {
            None if frame.kind == kind::CONTINUATION => {
                return Err(wrong("CONTINUATION of nothing".to_owned()));
            }
            None => Frame::new(kind::HEADERS, frame.flags, frame.stream, []),
            Some(block) => block,
        };
        block.payload.extend(content);
        if !frame.has(flag::END_HEADERS) {
            self.block = Some(block);
            return Ok(None);
        }
        let fields = self.decoder.decode(&block.payload);
        Ok(Some(Event::Head {
            stream: frame.stream,
            fields: fields.map_err(wrong)?,
            end: block.has(flag::END_STREAM),
        }))
    }
}

impl Answer {
    fn put(&mut self, fields: Fields) {
        let status = fields.iter().find(|(name, _)| name == ":status");
        if status.is_some_and(|(_, status)| status.starts_with('1')) {
            self.interim.push(fields);
        } else if status.is_some() {
            self.fields = fields;
        } else {
            self.trailers = fields;
        }
    }
}
