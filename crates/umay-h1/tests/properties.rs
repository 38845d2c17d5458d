//! What holds for all messages: the cut of the bytes does not matter, what is written is read back
//! as it was, and damage is refused or read in one way only.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod drive;

use drive::{Head, List, Outcome, Whole, encode, fields, list, read, write_anew};
use proptest::prelude::*;
use proptest::sample::Index;
use umay_core::message::{Framing, Method};
use umay_h1::{Decoder, Encoder, Malformed, write};

/// What a request or a response is made of.
#[derive(Clone, Debug)]
struct Made {
    /// `None` for a request, else the method that the response answers.
    answers: Option<Method>,
    head: Head,
    body: Vec<u8>,
    trailers: List,
    /// Bytes of a chunk.
    piece: usize,
}

impl Made {
    fn wire(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.answers.is_none() {
            write::request_line(&mut out, &self.head.word, &[&self.head.target()]);
        } else {
            write::status_line(&mut out, self.head.status, &self.head.word);
        }
        for (name, value) in &self.head.fields {
            write::field(&mut out, name, value);
        }
        write::framing_field(&mut out, self.head.framing);
        write::end(&mut out);
        let trailers = (!self.trailers.is_empty()).then(|| fields(&self.trailers));
        encode(
            self.head.framing,
            &self.body,
            self.piece,
            trailers.as_ref(),
            &mut out,
        );
        out
    }
}

/// Fields that mean nothing to the codec. Values have no space at their ends.
fn some_fields(most: usize) -> impl Strategy<Value = List> {
    let name = "X-[!#$%&'*+.^_`|~0-9A-Za-z-]{0,12}";
    let edge = prop::sample::select((0x21..=0xff).filter(|b| *b != 0x7f).collect::<Vec<u8>>());
    let inner = prop_oneof![4 => edge.clone(), 1 => Just(b' '), 1 => Just(b'\t')];
    let value = (edge.clone(), prop::collection::vec(inner, 0..20), edge);
    let value = prop_oneof![
        1 => Just(Vec::new()),
        5 => value.prop_map(|(a, b, c)| [&[a][..], &b, &[c]].concat()),
    ];
    prop::collection::vec((name.prop_map(String::into_bytes), value), 0..most)
}

fn a_body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

/// Takes away what a message framed like this cannot have.
fn fit(framing: Framing, body: &mut Vec<u8>, trailers: &mut List) {
    if framing == Framing::None {
        body.clear();
    }
    if framing != Framing::Chunked {
        trailers.clear();
    }
}

fn a_request() -> impl Strategy<Value = Made> {
    let method = prop_oneof![
        4 => prop::sample::select(vec!["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH"]).prop_map(str::to_owned),
        1 => "[!#$%&'*+.^_`|~0-9A-Z-]{1,32}",
    ];
    let authority = prop_oneof![
        "[a-z0-9._~-]{1,30}(:[0-9]{0,4})?",
        Just("[2001:db8::7]:8080".to_owned()),
    ];
    let path = "/[!\"$-/0-9:;<>=@A-Z\\[\\\\\\]^_`a-z{|}~]{0,40}";
    let query = prop::option::of("[!\"$-~]{0,20}");
    let framing = 0..3_u8;
    let parts = (method, authority, path, query, framing);
    let rest = (some_fields(8), a_body(), some_fields(4), 1..200_usize);
    (parts, rest).prop_filter_map("no such request", |(parts, rest)| {
        let (method, authority, path, query, framing) = parts;
        let (mut fields, mut body, mut trailers, piece) = rest;
        if matches!(&*method, "CONNECT" | "TRACE") {
            return None;
        }
        let framing = match framing {
            0 => Framing::None,
            1 => Framing::Length(body.len() as u64),
            _ => Framing::Chunked,
        };
        fit(framing, &mut body, &mut trailers);
        let at = fields.len() / 2;
        fields.insert(at, (b"Host".to_vec(), authority.clone().into_bytes()));
        let head = Head {
            word: method.into_bytes(),
            version: "http/1.1",
            status: 0,
            authority: authority.into_bytes(),
            path: path.into_bytes(),
            query: query.map(String::into_bytes),
            framing,
            flags: [true, false, false],
            fields,
        };
        Some(Made {
            answers: None,
            head,
            body,
            trailers,
            piece,
        })
    })
}

fn a_response() -> impl Strategy<Value = Made> {
    let phrase = prop::collection::vec(
        prop::sample::select((b' '..=0xff).filter(|b| *b != 0x7f).collect::<Vec<u8>>()),
        0..20,
    );
    let parts = (200..1000_u16, phrase, 0..3_u8, any::<bool>());
    let rest = (some_fields(8), a_body(), some_fields(4), 1..200_usize);
    (parts, rest).prop_map(|((status, word, framing, head), rest)| {
        let (fields, mut body, mut trailers, piece) = rest;
        let answers = if head { Method::Head } else { Method::Get };
        let framing = match framing {
            _ if head || matches!(status, 204 | 304) => Framing::None,
            0 => Framing::UntilClose,
            1 => Framing::Length(body.len() as u64),
            _ => Framing::Chunked,
        };
        fit(framing, &mut body, &mut trailers);
        let head = Head {
            word,
            version: "http/1.1",
            status,
            framing,
            flags: [framing != Framing::UntilClose, false, false],
            fields,
            ..Head::default()
        };
        Made {
            answers: Some(answers),
            head,
            body,
            trailers,
            piece,
        }
    })
}

fn a_message() -> impl Strategy<Value = Made> {
    prop_oneof![a_request(), a_response()]
}

/// Pieces of messages that mean something alone, put together as it comes.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"GET ",
        b"POST ",
        b"CONNECT ",
        b"OPTIONS ",
        b"/",
        b"*",
        b"http://a.test",
        b"?q",
        b"a.test:80",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 101 ",
        b"HTTP/1.0 304 X",
        b"\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\0",
        b":",
        b": ",
        b",",
        b";",
        b"\"",
        b"=",
        b"Host: a.test\r\n",
        b"Host: ",
        b"Content-Length: ",
        b"Content-Length: 5\r\n",
        b"0",
        b"5",
        b"a",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: ",
        b"chunked",
        b"identity",
        b"Connection: ",
        b"close",
        b"keep-alive",
        b"upgrade",
        b"Upgrade: x\r\n",
        b"Expect: ",
        b"100-continue",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
        b"5;x=y\r\n",
        b"hello",
        b"\xff",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..16).prop_map(|pieces| pieces.concat())
}

/// One damage to a message.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Double(Index, Index),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![
        2 => prop::sample::select(&b"\r\n\0 \t:;,=\"05aF/?#@[]\x7f\xff"[..]),
        1 => any::<u8>(),
    ];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), byte).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<Index>().prop_map(Damage::Remove),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Damage::Double(a, b)),
        any::<Index>().prop_map(Damage::Cut),
    ]
}

fn harm(wire: &mut Vec<u8>, damage: &Damage) {
    if wire.is_empty() {
        return;
    }
    let length = wire.len();
    match damage {
        Damage::Set(at, byte) => wire[at.index(length)] = *byte,
        Damage::Insert(at, byte) => wire.insert(at.index(length), *byte),
        Damage::Remove(at) => drop(wire.remove(at.index(length))),
        Damage::Double(a, b) => {
            let (a, b) = (a.index(length), b.index(length));
            let part = wire[a.min(b)..a.max(b)].to_vec();
            let at = a.max(b);
            wire.splice(at..at, part);
        }
        Damage::Cut(at) => wire.truncate(at.index(length)),
    }
}

/// The bytes in the pieces that these places cut them into.
fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let (mut out, mut from) = (Vec::new(), 0);
    for place in places.into_iter().chain([bytes.len()]) {
        out.push(&bytes[from..place]);
        from = place;
    }
    out
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..12)
}

/// What is accepted is accepted again when it is written anew, with the same meaning, and then stays
/// the same to the byte.
fn check_again(answers: Option<Method>, first: &Whole, piece: usize) -> Result<(), TestCaseError> {
    let wire = write_anew(first, piece);
    let Outcome::Whole(again) = read(answers, [&wire[..]]) else {
        let text = String::from_utf8_lossy(&wire).into_owned();
        return Err(TestCaseError::fail(text));
    };
    prop_assert_eq!(again.head.target(), first.head.target());
    prop_assert_eq!(&again.head.word, &first.head.word);
    prop_assert_eq!(&again.head.authority, &first.head.authority);
    prop_assert_eq!(again.head.status, first.head.status);
    prop_assert_eq!(again.head.framing, first.head.framing);
    if first.head.version == "http/1.1" {
        prop_assert_eq!(again.head.flags, first.head.flags);
    }
    prop_assert_eq!(&again.body, &first.body);
    prop_assert_eq!(&again.trailers, &first.trailers);
    prop_assert_eq!(&again.rest, b"");
    prop_assert_eq!(write_anew(&again, piece), wire);
    Ok(())
}

/// HTTP/1.0 without Host has no place in HTTP/1.1.
fn has_host(whole: &Whole) -> bool {
    whole.head.status > 0 || !whole.head.authority.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_back(made in a_message(), cuts in cuts(), more in a_body()) {
        let mut wire = made.wire();
        let mut expected = made.body.clone();
        let mut rest = Vec::new();
        if made.head.framing == Framing::UntilClose {
            expected.extend_from_slice(&more);
        } else {
            rest.clone_from(&more);
        }
        wire.extend_from_slice(&more);
        let Outcome::Whole(whole) = read(made.answers, pieces(&wire, &cuts)) else {
            return Err(TestCaseError::fail(String::from_utf8_lossy(&wire).into_owned()));
        };
        let mut head = whole.head.clone();
        head.fields.retain(|(name, _)| {
            !matches!(&name[..], b"Content-Length" | b"Transfer-Encoding")
        });
        prop_assert_eq!(&head, &made.head);
        prop_assert_eq!(&whole.body, &expected);
        prop_assert_eq!(&whole.trailers, &made.trailers);
        prop_assert_eq!(&whole.rest, &rest);
    }

    #[test]
    fn any_cut_reads_the_same(
        made in a_message(),
        harms in prop::collection::vec(damage(), 0..4),
        cuts in cuts(),
    ) {
        let mut wire = made.wire();
        for one in &harms {
            harm(&mut wire, one);
        }
        let whole = read(made.answers, [&wire[..]]);
        prop_assert_eq!(read(made.answers, pieces(&wire, &cuts)), whole.clone());
        prop_assert_eq!(read(made.answers, wire.chunks(1)), whole);
    }

    #[test]
    fn any_cut_of_noise_reads_the_same(
        wire in noise(),
        answers in prop::sample::select(vec![None, Some(Method::Get), Some(Method::Head), Some(Method::Connect)]),
        cuts in cuts(),
        piece in 1..50_usize,
    ) {
        let whole = read(answers, [&wire[..]]);
        prop_assert_eq!(read(answers, pieces(&wire, &cuts)), whole.clone());
        prop_assert_eq!(read(answers, wire.chunks(1)), whole.clone());
        if let Outcome::Whole(first) = whole && has_host(&first) {
            check_again(answers, &first, piece)?;
        }
    }

    #[test]
    fn damage_is_refused_or_read_in_one_way(
        made in a_message(),
        harms in prop::collection::vec(damage(), 1..4),
        piece in 1..100_usize,
    ) {
        let mut wire = made.wire();
        for one in &harms {
            harm(&mut wire, one);
        }
        if let Outcome::Whole(first) = read(made.answers, [&wire[..]]) && has_host(&first) {
            check_again(made.answers, &first, piece)?;
        }
    }

    #[test]
    fn a_body_is_what_was_encoded(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
        trailers in some_fields(5),
        cuts in cuts(),
        more in a_body(),
    ) {
        let payload = chunks.concat();
        for framing in [Framing::Length(payload.len() as u64), Framing::Chunked] {
            let mut wire = Vec::new();
            let mut encoder = Encoder::new(framing);
            for chunk in &chunks {
                let frame = encoder.frame(chunk.len());
                wire.extend_from_slice(frame.prefix());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(frame.suffix());
            }
            encoder.finish(Some(&fields(&trailers)), &mut wire);
            let end = wire.len();
            wire.extend_from_slice(&more);
            let mut decoder = Decoder::new(framing);
            let (mut got, mut taken) = (Vec::new(), 0);
            for piece in pieces(&wire, &cuts) {
                let mut piece = piece.to_vec();
                let decoded = decoder.decode(&mut piece).unwrap();
                got.extend_from_slice(&piece[decoded.data]);
                taken += decoded.consumed;
                if decoded.done {
                    break;
                }
            }
            prop_assert!(decoder.is_done());
            prop_assert_eq!(decoder.eof(), Ok(()));
            prop_assert_eq!(&got, &payload);
            prop_assert_eq!(taken, end, "what follows the body is left alone");
            if framing == Framing::Chunked {
                prop_assert_eq!(decoder.trailers().map(list).unwrap_or_default(), trailers.clone());
            }
        }
    }

    #[test]
    fn a_body_that_ends_early_is_cut(payload in prop::collection::vec(any::<u8>(), 1..300), piece in 1..50_usize, at in any::<Index>()) {
        for framing in [Framing::Length(payload.len() as u64), Framing::Chunked] {
            let mut wire = Vec::new();
            encode(framing, &payload, piece, None, &mut wire);
            wire.truncate(at.index(wire.len()));
            let mut decoder = Decoder::new(framing);
            let decoded = decoder.decode(&mut wire).unwrap();
            prop_assert!(payload.starts_with(&wire[decoded.data]));
            prop_assert!(!decoded.done);
            prop_assert_eq!(decoder.eof(), Err(Malformed::BodyCut));
        }
    }

    #[test]
    fn a_frame_says_its_length(len in prop_oneof![0..5000_usize, any::<usize>()]) {
        let frame = Encoder::new(Framing::Chunked).frame(len);
        if len == 0 {
            prop_assert_eq!((frame.prefix(), frame.suffix()), (&b""[..], &b""[..]));
        } else {
            let line = format!("{len:x}\r\n");
            prop_assert_eq!(frame.prefix(), line.as_bytes());
            prop_assert_eq!(frame.suffix(), b"\r\n");
        }
        let frame = Encoder::new(Framing::Length(5)).frame(len);
        prop_assert_eq!((frame.prefix(), frame.suffix()), (&b""[..], &b""[..]));
    }
}
