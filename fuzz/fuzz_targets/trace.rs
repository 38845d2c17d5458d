//! Fields of a trace's context: whatever comes, what goes out for it is well formed, and nobody who is
//! not trusted decides that a request is recorded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use umay_core::message::Fields;
use umay_core::trace::{Formats, Outgoing, Propagators, Received, Sampler};

fuzz_target!(|data: &[u8]| {
    // The first byte says whether the sender is trusted, then comes a field in each line.
    let Some((first, lines)) = data.split_first() else {
        return;
    };
    let trusted = *first == b'+';
    let mut fields = Fields::default();
    for line in lines.split(|byte| *byte == b'\n') {
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            fields.push(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
    let all = Formats {
        w3c: true,
        b3: true,
        b3_multi: true,
    };
    let propagators = Propagators {
        formats: all,
        first: all,
        baggage: true,
    };
    let sampler = Sampler {
        ratio: 0.0,
        follow: true,
        continues: true,
        propagators,
    };
    let received = Received::of(&fields, &propagators);
    let trace = sampler.decide(&received, trusted, [3; 4]);
    assert!(trusted || !trace.sampled);
    let context = Outgoing {
        trace: &trace,
        span_id: 7,
    };
    let mut out = Fields::default();
    context.write(&mut |name, value| out.push(name, value));
    let again = Received::of(&out, &propagators);
    let parent = again.parent.expect("a context that is well formed");
    assert_eq!((parent.trace_id, parent.span_id), (trace.trace_id, 7));
    assert_eq!(again.sampled, Some(trace.sampled));
});
