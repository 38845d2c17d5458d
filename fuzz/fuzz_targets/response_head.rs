//! Heads of responses: no panic, the same verdict however the bytes come, and what is accepted keeps
//! its promises. The last byte chooses the method of the request and the first cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use umay_core::message::{Framing, Method, Response};
use umay_h1::{Limits, Malformed, Scan, parse_response};

/// Small, so that inputs of a usual size get to the far side of each.
const LIMITS: Limits = Limits {
    head: 2048,
    fields: 20,
    target: 256,
};

type Verdict = Result<Option<(usize, String)>, Malformed>;

/// Shows the bytes up to each end to one scan, until there is a verdict.
fn read(data: &[u8], method: Method, ends: impl Iterator<Item = usize>) -> Verdict {
    let mut scan = Scan::default();
    let mut response = Response::default();
    for end in ends {
        let buf = data.get(..end).unwrap_or(data);
        if let Some(taken) = parse_response(buf, &mut scan, &LIMITS, method, &mut response)? {
            check(&response, method, buf, taken);
            return Ok(Some((taken, describe(&response))));
        }
    }
    Ok(None)
}

fn describe(response: &Response) -> String {
    let fields: Vec<_> = response.fields.iter().collect();
    format!(
        "{:?} {} {:?} {:?} {} {fields:?}",
        response.version,
        response.status,
        response.phrase_bytes(),
        response.body,
        response.keep_alive,
    )
}

fn check(response: &Response, method: Method, buf: &[u8], taken: usize) {
    assert!(buf[..taken].ends_with(b"\r\n\r\n"));
    assert!((100..1000).contains(&response.status));
    assert!(response.fields.len() <= LIMITS.fields);
    let bodiless = method == Method::Head || matches!(response.status, 100..=199 | 204 | 304);
    assert!(!bodiless || response.body == Framing::None);
    assert!(response.body != Framing::UntilClose || !response.keep_alive);
    for (_, name, value) in response.fields.iter() {
        assert!(!name.is_empty());
        for byte in [b'\r', b'\n', b'\0'] {
            assert!(!name.contains(&byte) && !value.contains(&byte));
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let choice = data.last().copied().unwrap_or_default();
    let method = match choice % 4 {
        0 => Method::Head,
        1 => Method::Connect,
        _ => Method::Get,
    };
    let whole = read(data, method, [data.len()].into_iter());
    assert_eq!(read(data, method, 0..=data.len()), whole);
    let cut = usize::from(choice) % data.len().max(1);
    assert_eq!(read(data, method, [cut, data.len()].into_iter()), whole);
});
