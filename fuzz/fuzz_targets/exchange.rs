//! A request through the codec: read, written anew, read again. The second reading must say what the
//! first one said, and nothing may be left behind it: else the endpoint would see another request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use umay_core::message::{FieldId, Fields, Method, Request, Version};
use umay_h1::{Decoder, Encoder, Limits, Scan, parse_request, write};

const LIMITS: Limits = Limits {
    head: 64 * 1024,
    fields: 200,
    target: 8 * 1024,
};

struct Exchange {
    request: Request,
    body: Vec<u8>,
    trailers: Option<Fields>,
    rest: Vec<u8>,
}

fn read(wire: &[u8]) -> Option<Exchange> {
    let mut request = Request::default();
    let mut scan = Scan::default();
    let taken = parse_request(wire, &mut scan, &LIMITS, &mut request).ok()??;
    let mut rest = wire.get(taken..)?.to_vec();
    let mut decoder = Decoder::new(request.body);
    let decoded = decoder.decode(&mut rest).ok()?;
    decoder.eof().ok()?;
    Some(Exchange {
        body: rest.get(decoded.data)?.to_vec(),
        trailers: decoder.trailers().cloned(),
        rest: rest.split_off(decoded.consumed),
        request,
    })
}

/// As a proxy writes it: `Host` and the framing are its own, all else is as it was.
fn write_anew(exchange: &Exchange) -> Vec<u8> {
    let request = &exchange.request;
    let mut out = Vec::new();
    let target = target(request);
    write::request_line(&mut out, request.method_bytes(), &[&target]);
    write::field(&mut out, b"Host", request.authority_bytes());
    for (name, value) in end_to_end(&request.fields) {
        write::field(&mut out, name, value);
    }
    write::framing_field(&mut out, request.body);
    write::end(&mut out);
    let mut encoder = Encoder::new(request.body);
    let frame = encoder.frame(exchange.body.len());
    out.extend_from_slice(frame.prefix());
    out.extend_from_slice(&exchange.body);
    out.extend_from_slice(frame.suffix());
    encoder.finish(exchange.trailers.as_ref(), &mut out);
    out
}

fn target(request: &Request) -> Vec<u8> {
    if request.method == Method::Connect {
        return request.authority_bytes().to_vec();
    }
    let mut target = request.path_bytes().to_vec();
    if let Some(query) = request.query_bytes() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target
}

fn end_to_end(fields: &Fields) -> Vec<(&[u8], &[u8])> {
    let own = [
        FieldId::Host,
        FieldId::ContentLength,
        FieldId::TransferEncoding,
    ];
    let fields = fields.iter().filter(|(id, _, _)| !own.contains(id));
    fields.map(|(_, name, value)| (name, value)).collect()
}

fn trailers(exchange: &Exchange) -> Vec<(&[u8], &[u8])> {
    exchange.trailers.as_ref().map_or_else(Vec::new, |fields| {
        fields
            .iter()
            .map(|(_, name, value)| (name, value))
            .collect()
    })
}

fuzz_target!(|wire: &[u8]| {
    let Some(first) = read(wire) else { return };
    if first.request.authority_bytes().is_empty() {
        // HTTP/1.0 without Host has no place in HTTP/1.1.
        assert_eq!(first.request.version, Version::Http10);
        return;
    }
    let anew = write_anew(&first);
    let again = read(&anew).expect("what was accepted is accepted again");
    let (one, two) = (&first.request, &again.request);
    assert_eq!(one.method_bytes(), two.method_bytes());
    assert_eq!(one.authority_bytes(), two.authority_bytes());
    assert_eq!(one.path_bytes(), two.path_bytes());
    assert_eq!(one.query_bytes(), two.query_bytes());
    assert_eq!(one.body, two.body);
    assert_eq!(end_to_end(&one.fields), end_to_end(&two.fields));
    assert_eq!(first.body, again.body);
    assert_eq!(trailers(&first), trailers(&again));
    assert!(again.rest.is_empty());
    assert_eq!(write_anew(&again), anew);
});
