//! Heads of requests: no panic, the same verdict however the bytes come, and what is accepted keeps
//! its promises. The last byte says where the first cut is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use umay_core::message::{Framing, Method, Request};
use umay_h1::{Limits, Malformed, Scan, parse_request};

/// Small, so that inputs of a usual size get to the far side of each.
const LIMITS: Limits = Limits {
    head: 2048,
    fields: 20,
    target: 256,
};

type Verdict = Result<Option<(usize, String)>, Malformed>;

/// Shows the bytes up to each end to one scan, until there is a verdict.
fn read(data: &[u8], ends: impl Iterator<Item = usize>) -> Verdict {
    let mut scan = Scan::default();
    let mut request = Request::default();
    for end in ends {
        let buf = data.get(..end).unwrap_or(data);
        if let Some(taken) = parse_request(buf, &mut scan, &LIMITS, &mut request)? {
            check(&request, buf, taken);
            return Ok(Some((taken, describe(&request))));
        }
    }
    Ok(None)
}

fn describe(request: &Request) -> String {
    let fields: Vec<_> = request.fields.iter().collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {fields:?}",
        request.method_bytes(),
        request.authority_bytes(),
        request.path_bytes(),
        request.query_bytes(),
        request.version,
        request.body,
        request.keep_alive,
        request.expect_continue,
        request.upgrade,
    )
}

fn check(request: &Request, buf: &[u8], taken: usize) {
    assert!(buf[..taken].ends_with(b"\r\n\r\n"));
    assert!(request.fields.len() <= LIMITS.fields);
    assert_eq!(Method::from_token(request.method_bytes()), request.method);
    assert_ne!(request.body, Framing::UntilClose);
    match request.method {
        Method::Connect => {
            assert!(request.path_bytes().is_empty() && !request.authority_bytes().is_empty());
        }
        Method::Options if request.path_bytes() == b"*" => {}
        _ => assert!(request.path_bytes().starts_with(b"/")),
    }
    for (_, name, value) in request.fields.iter() {
        assert!(!name.is_empty());
        for byte in [b'\r', b'\n', b'\0'] {
            assert!(!name.contains(&byte) && !value.contains(&byte));
        }
        assert!(!name.contains(&b':') && !name.contains(&b' '));
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = read(data, [data.len()].into_iter());
    assert_eq!(read(data, 0..=data.len()), whole);
    if let Some(cut) = data.last() {
        let cut = usize::from(*cut) % data.len();
        assert_eq!(read(data, [cut, data.len()].into_iter()), whole);
    }
});
