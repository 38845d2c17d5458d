//! The table of hostile and odd messages through the codec: whole, one byte at a time, and cut once
//! at each place. Nothing may depend on how the bytes come.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod drive;
mod hostile;

use std::collections::BTreeSet;

use drive::{Outcome, read};
use hostile::{Case, NO_TRAILERS, Verdict, load};
use umay_core::message::Method;
use umay_core::reason::Reason;
use umay_h1::Malformed;

fn method(case: &Case) -> Option<Method> {
    (!case.request).then(|| Method::from_token(case.method.as_bytes()))
}

fn verdict(case: &Case, outcome: &Outcome) -> Verdict {
    let word = |malformed: &Malformed| malformed.as_str().to_owned();
    match outcome {
        Outcome::Whole(whole) => Verdict::Ok {
            target: whole.head.target(),
            body: whole.body.clone(),
            rest: whole.rest.clone(),
        },
        Outcome::Head(malformed) => {
            let reason = if case.request {
                malformed.reason()
            } else {
                malformed.upstream_reason()
            };
            Verdict::Head {
                status: reason.status(),
                word: word(malformed),
            }
        }
        Outcome::Body(malformed) => Verdict::Body {
            word: word(malformed),
        },
        Outcome::More => Verdict::More,
    }
}

/// Where a message is cut: everywhere, or if it is long, at its ends and here and there between.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let step = length / 2000 + 1;
    (0..=length).filter(move |at| at % step == 0 || *at < 100 || at + 100 > length)
}

#[test]
fn every_message_gets_its_verdict() {
    let mut wrong = String::new();
    for case in load() {
        let outcome = read(method(&case), [&case.bytes[..]]);
        let have = verdict(&case, &outcome);
        if have != case.verdict {
            let name = &case.name;
            wrong += &format!("{name}: wanted {:.300?}, got {have:.300?}\n", case.verdict);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_message_depends_on_how_its_bytes_come() {
    for case in load() {
        let (method, bytes) = (method(&case), &case.bytes[..]);
        let whole = read(method, [bytes]);
        assert_eq!(read(method, bytes.chunks(1)), whole, "{}", case.name);
        for at in cuts(bytes.len()) {
            let (front, back) = bytes.split_at(at);
            let cut = read(method, [front, back]);
            assert_eq!(cut, whole, "{} cut at {at}", case.name);
        }
    }
}

#[test]
fn the_table_is_large_and_leaves_nothing_out() {
    let cases = load();
    assert!(cases.len() >= 300, "{} cases", cases.len());
    let names: BTreeSet<(bool, &str, &str)> = cases
        .iter()
        .map(|case| (case.request, &*case.method, &*case.name))
        .collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    let responses = cases.iter().filter(|case| !case.request).count();
    assert!(responses >= 100, "{responses} responses");
    let words: BTreeSet<&str> = cases.iter().filter_map(word).collect();
    let known: BTreeSet<&str> = Malformed::ALL.iter().map(|m| m.as_str()).collect();
    assert_eq!(words, known);
}

fn word(case: &Case) -> Option<&str> {
    match &case.verdict {
        Verdict::Head { word, .. } | Verdict::Body { word } => Some(word),
        Verdict::Ok { .. } | Verdict::More => None,
    }
}

#[test]
fn what_is_wrong_with_a_body_is_said_of_the_body() {
    for case in load() {
        let Outcome::Body(malformed) = read(method(&case), [&case.bytes[..]]) else {
            continue;
        };
        let (down, up) = (malformed.reason(), malformed.upstream_reason());
        assert!(
            matches!(
                (down, up),
                (Reason::RequestBodyMalformed, Reason::UpstreamBodyMalformed)
                    | (Reason::RequestBodyCut, Reason::UpstreamCut)
            ),
            "{}: {down:?}, {up:?}",
            case.name
        );
    }
}

#[test]
fn trailers_do_not_steer() {
    let mut with_trailers = 0;
    for case in load() {
        let Outcome::Whole(whole) = read(method(&case), [&case.bytes[..]]) else {
            continue;
        };
        with_trailers += usize::from(!whole.trailers.is_empty());
        for (name, _) in &whole.trailers {
            let name = String::from_utf8_lossy(name).to_lowercase();
            assert!(!NO_TRAILERS.contains(&&*name), "{}: {name}", case.name);
        }
    }
    assert!(with_trailers > 0);
}

#[test]
fn what_is_accepted_is_accepted_again_when_written_anew() {
    for case in load() {
        let Outcome::Whole(first) = read(method(&case), [&case.bytes[..]]) else {
            continue;
        };
        if first.head.authority.is_empty() && case.request {
            // HTTP/1.0 without Host has no place in HTTP/1.1.
            continue;
        }
        for piece in [1, 7, usize::MAX] {
            let wire = drive::write_anew(&first, piece);
            let Outcome::Whole(again) = read(method(&case), [&wire[..]]) else {
                panic!("{}: {:?}", case.name, String::from_utf8_lossy(&wire));
            };
            assert_eq!(again.head.target(), first.head.target(), "{}", case.name);
            assert_eq!(again.head.framing, first.head.framing, "{}", case.name);
            assert_eq!(again.body, first.body, "{}", case.name);
            assert_eq!(again.trailers, first.trailers, "{}", case.name);
            assert_eq!(again.rest, b"", "{}", case.name);
        }
    }
}
