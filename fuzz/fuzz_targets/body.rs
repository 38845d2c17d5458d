//! Bodies: the payload is the same however the bytes come, and encoding it again and decoding that
//! gives it back. The first byte chooses the framing, the next three the sizes of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use umay_core::message::{Fields, Framing};
use umay_h1::{Decoder, Encoder, Malformed};

#[derive(Debug, PartialEq)]
struct Body {
    payload: Vec<u8>,
    consumed: usize,
    done: bool,
    trailers: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

fn list(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = fields.iter();
    pairs
        .map(|(_, name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// Decodes in pieces of these sizes, again and again.
fn read(framing: Framing, data: &[u8], sizes: &[usize]) -> Result<Body, Malformed> {
    let mut decoder = Decoder::new(framing);
    let mut payload = Vec::new();
    let mut consumed = 0;
    for size in sizes.iter().cycle() {
        let rest = data.get(consumed..).unwrap_or_default();
        if rest.is_empty() || decoder.is_done() {
            break;
        }
        let mut piece = rest[..rest.len().min(*size)].to_vec();
        let decoded = decoder.decode(&mut piece)?;
        assert!(decoded.data.end <= decoded.consumed && decoded.consumed <= piece.len());
        assert!(decoded.done || decoded.consumed == piece.len());
        payload.extend_from_slice(&piece[decoded.data]);
        consumed += decoded.consumed;
    }
    if !decoder.is_done() {
        let ended = decoder.clone().eof();
        assert_eq!(ended.is_ok(), framing == Framing::UntilClose);
    }
    Ok(Body {
        payload,
        consumed,
        done: decoder.is_done(),
        trailers: decoder.trailers().map(list),
    })
}

fn again(body: &Body, framing: Framing, sizes: &[usize]) {
    let mut encoder = Encoder::new(framing);
    let mut wire = Vec::new();
    let mut rest = &body.payload[..];
    for size in sizes.iter().cycle() {
        let (piece, next) = rest.split_at(rest.len().min(*size));
        let frame = encoder.frame(piece.len());
        wire.extend_from_slice(frame.prefix());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(frame.suffix());
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    let trailers = body.trailers.as_ref().map(|list| {
        let mut fields = Fields::default();
        list.iter()
            .for_each(|(name, value)| fields.push(name, value));
        fields
    });
    encoder.finish(trailers.as_ref(), &mut wire);
    let read = read(framing, &wire, sizes);
    let read = read.expect("what was encoded can be decoded");
    assert_eq!(
        (read.payload, read.trailers),
        (body.payload.clone(), body.trailers.clone())
    );
    assert_eq!(read.consumed, wire.len());
}

fuzz_target!(|data: &[u8]| {
    let Some(([choice, sizes @ ..], data)) = data.split_first_chunk::<4>() else {
        return;
    };
    let sizes = sizes.map(|size| usize::from(size) + 1);
    let framing = match choice % 8 {
        0 => Framing::Length(u64::from(*choice)),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = read(framing, data, &[usize::MAX]);
    assert_eq!(read(framing, data, &sizes), whole);
    assert_eq!(read(framing, data, &[1]), whole);
    if let Ok(body) = &whole
        && body.done
    {
        again(body, framing, &sizes);
    }
});
