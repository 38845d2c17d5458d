//! Detection: no panic, and an answer other than "need more" stays as it is when more bytes come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use umay_core::detect::{Hello, Verdict, client_hello, sniff};

fuzz_target!(|data: &[u8]| {
    let (verdict, hello) = (sniff(data), client_hello(data));
    let mut said = (Verdict::NeedMore, Hello::NeedMore);
    // Every prefix of a short input, some of a long one: each costs its length.
    let step = data.len() / 300 + 1;
    for end in (0..data.len()).step_by(step).chain([data.len()]) {
        let prefix = &data[..end];
        let now = (sniff(prefix), client_hello(prefix));
        assert!(said.0 == Verdict::NeedMore || said.0 == now.0);
        assert!(said.1 == Hello::NeedMore || said.1 == now.1);
        said = now;
    }
    assert_eq!(said, (verdict, hello));
});
