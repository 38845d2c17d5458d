//! Drives the codec as a connection does: bytes come in pieces, a head is read, then its body.
#![allow(dead_code, reason = "each test uses its part of it")]

use umay_core::message::{Fields, Framing, Method, Request, Response};
use umay_h1::{Decoder, Encoder, Limits, Malformed, Scan, parse_request, parse_response, write};

/// The defaults of the configuration.
pub(crate) const LIMITS: Limits = Limits {
    head: 32 * 1024,
    fields: 100,
    target: 8 * 1024,
};

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was accepted.
    Whole(Box<Whole>),
    /// Its head was refused.
    Head(Malformed),
    /// Its body was refused.
    Body(Malformed),
    /// Its head is not whole.
    More,
}

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: List,
    /// What stands behind it.
    pub(crate) rest: Vec<u8>,
}

/// All that a head says, in values that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Method, or phrase.
    pub(crate) word: Vec<u8>,
    pub(crate) version: &'static str,
    pub(crate) status: u16,
    pub(crate) authority: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) query: Option<Vec<u8>>,
    pub(crate) framing: Framing,
    /// Keeps the connection, waits for `100 Continue`, asks for another protocol.
    pub(crate) flags: [bool; 3],
    pub(crate) fields: List,
}

/// Names and values.
pub(crate) type List = Vec<(Vec<u8>, Vec<u8>)>;

impl Head {
    pub(crate) fn of_request(request: &Request) -> Self {
        Self {
            word: request.method_bytes().to_vec(),
            version: request.version.as_str(),
            status: 0,
            authority: request.authority_bytes().to_vec(),
            path: request.path_bytes().to_vec(),
            query: request.query_bytes().map(<[u8]>::to_vec),
            framing: request.body,
            flags: [request.keep_alive, request.expect_continue, request.upgrade],
            fields: list(&request.fields),
        }
    }

    pub(crate) fn of_response(response: &Response) -> Self {
        Self {
            word: response.phrase_bytes().to_vec(),
            version: response.version.as_str(),
            status: response.status,
            framing: response.body,
            flags: [response.keep_alive, false, false],
            fields: list(&response.fields),
            ..Self::default()
        }
    }

    /// Path and query as they stand in a request line; the authority for `CONNECT`.
    pub(crate) fn target(&self) -> Vec<u8> {
        if self.word == b"CONNECT" {
            return self.authority.clone();
        }
        let mut target = self.path.clone();
        if let Some(query) = &self.query {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        target
    }
}

pub(crate) fn list(fields: &Fields) -> List {
    let pairs = fields.iter();
    pairs
        .map(|(_, name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// Reads a request, or the response to `method`, from pieces; then the peer ends its side.
pub(crate) fn read<'a>(
    method: Option<Method>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let mut reader = Reader::new(method);
    for piece in pieces {
        reader.buffer.extend_from_slice(piece);
        if let Err(outcome) = reader.advance() {
            return outcome;
        }
    }
    reader.end()
}

struct Reader {
    method: Option<Method>,
    buffer: Vec<u8>,
    scan: Scan,
    head: Option<(Head, Decoder)>,
    body: Vec<u8>,
}

impl Reader {
    fn new(method: Option<Method>) -> Self {
        Self {
            method,
            buffer: Vec::new(),
            scan: Scan::default(),
            head: None,
            body: Vec::new(),
        }
    }

    fn advance(&mut self) -> Result<(), Outcome> {
        if self.head.is_none() {
            let parsed = match self.method {
                None => {
                    let mut request = Request::default();
                    parse_request(&self.buffer, &mut self.scan, &LIMITS, &mut request)
                        .map(|taken| taken.map(|n| (n, Head::of_request(&request))))
                }
                Some(method) => {
                    let mut response = Response::default();
                    parse_response(&self.buffer, &mut self.scan, &LIMITS, method, &mut response)
                        .map(|taken| taken.map(|n| (n, Head::of_response(&response))))
                }
            };
            if let Some((taken, head)) = parsed.map_err(Outcome::Head)? {
                self.buffer.drain(..taken);
                let decoder = Decoder::new(head.framing);
                self.head = Some((head, decoder));
            }
        }
        let Some((_, decoder)) = &mut self.head else {
            return Ok(());
        };
        while !decoder.is_done() && !self.buffer.is_empty() {
            let decoded = decoder.decode(&mut self.buffer).map_err(Outcome::Body)?;
            assert!(decoded.data.end <= decoded.consumed && decoded.consumed <= self.buffer.len());
            assert_eq!(decoded.done, decoder.is_done());
            self.body.extend_from_slice(&self.buffer[decoded.data]);
            self.buffer.drain(..decoded.consumed);
            assert!(decoder.is_done() || self.buffer.is_empty());
        }
        Ok(())
    }

    fn end(mut self) -> Outcome {
        let Some((head, mut decoder)) = self.head.take() else {
            return Outcome::More;
        };
        if let Err(malformed) = decoder.eof() {
            return Outcome::Body(malformed);
        }
        Outcome::Whole(Box::new(Whole {
            head,
            body: self.body,
            trailers: decoder.trailers().map(list).unwrap_or_default(),
            rest: self.buffer,
        }))
    }
}

/// Writes a message anew, its body in pieces of `piece` bytes, as a proxy does: framing fields,
/// `Host` and what belongs to one connection are its own, all else is as it was.
pub(crate) fn write_anew(whole: &Whole, piece: usize) -> Vec<u8> {
    let head = &whole.head;
    let mut out = Vec::new();
    if head.status == 0 {
        write::request_line(&mut out, &head.word, &[&head.target()]);
        write::field(&mut out, b"Host", &head.authority);
    } else {
        write::status_line(&mut out, head.status, &head.word);
    }
    for (name, value) in &head.fields {
        let own: [&[u8]; 3] = [b"host", b"content-length", b"transfer-encoding"];
        let is_own = own.iter().any(|own| own.eq_ignore_ascii_case(name));
        // What an answer without a body says of its length is no framing.
        let is_about = head.status >= 200 && head.framing == Framing::None;
        if !is_own || is_about {
            write::field(&mut out, name, value);
        }
    }
    write::framing_field(&mut out, head.framing);
    write::end(&mut out);
    let fields = (!whole.trailers.is_empty()).then(|| fields(&whole.trailers));
    encode(head.framing, &whole.body, piece, fields.as_ref(), &mut out);
    out
}

/// Puts a body into pieces and its framing around them.
pub(crate) fn encode(
    framing: Framing,
    body: &[u8],
    piece: usize,
    trailers: Option<&Fields>,
    out: &mut Vec<u8>,
) {
    let mut encoder = Encoder::new(framing);
    for chunk in body.chunks(piece.max(1)) {
        let frame = encoder.frame(chunk.len());
        out.extend_from_slice(frame.prefix());
        out.extend_from_slice(chunk);
        out.extend_from_slice(frame.suffix());
    }
    encoder.finish(trailers, out);
}

pub(crate) fn fields(list: &List) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.push(name, value);
    }
    fields
}
