//! What comes in each format, what goes out for it, and what hostile fields come to.

use proptest::prelude::*;

use super::*;

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const SPAN: u64 = 0xb7ad_6b71_6920_3331;
const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const ALL: Propagators = Propagators {
    formats: Formats {
        w3c: true,
        b3: true,
        b3_multi: true,
    },
    first: Formats {
        w3c: true,
        b3: false,
        b3_multi: false,
    },
    baggage: true,
};

fn sampler(ratio: f64) -> Sampler {
    Sampler {
        ratio,
        follow: true,
        continues: true,
        propagators: ALL,
    }
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn received(list: &[(&str, &str)]) -> Received {
    Received::of(&fields(list), &ALL)
}

/// What goes out for what came: what is kept of it, then what is written.
fn sent(list: &[(&str, &str)], trusted: bool) -> Vec<(String, String)> {
    let trace = sampler(0.0).decide(&received(list), trusted, [1, 2, 3, 4]);
    let outgoing = Outgoing {
        trace: &trace,
        span_id: 0xc,
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut out = Vec::new();
    for (id, name, value) in fields(list).iter() {
        if !outgoing.replaces(id, name) {
            out.push((text(name), text(value)));
        }
    }
    outgoing.write(&mut |name, value| out.push((text(name), text(value))));
    out
}

#[track_caller]
fn check_parents(cases: &[(&str, bool)]) {
    for (value, good) in cases {
        let found = received(&[("Traceparent", value)]);
        let parent = Parent {
            trace_id: TRACE,
            span_id: SPAN,
        };
        assert_eq!(found.parent, good.then_some(parent), "{value}");
        assert!(found.came.w3c);
    }
}

proptest! {
    #[test]
    fn digits_are_those_of_the_standard_library(id: u128, low: u8) {
        let span = id as u64;
        prop_assert_eq!(digits::<32>(id).to_vec(), format!("{id:032x}").into_bytes());
        prop_assert_eq!(digits::<16>(span.into()).to_vec(), format!("{span:016x}").into_bytes());
        prop_assert_eq!(digits::<2>(low.into()).to_vec(), format!("{low:02x}").into_bytes());
    }
}

#[test]
fn traceparent_has_versions_and_ids() {
    check_parents(&[
        (GOOD, true),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            true,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
            true,
        ),
        // Versions that are not known yet.
        (
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            true,
        ),
        (
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
            true,
        ),
        (
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            true,
        ),
        (
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
            false,
        ),
        (
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-00",
            false,
        ),
        // Zero is no id.
        (
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            false,
        ),
    ]);
    let flags = |flags: &str| received(&[("traceparent", &GOOD.replace("-01", flags))]);
    assert_eq!(flags("-03").sampled, Some(true));
    assert!(flags("-03").random && !flags("-01").random);
    assert_eq!(flags("-02").sampled, Some(false));
}

#[test]
fn traceparent_is_strict() {
    check_parents(&[
        // Lengths, cases, signs.
        (
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c1-b7ad6b716920333-01",
            false,
        ),
        (
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0A",
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            false,
        ),
        (
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-001",
            false,
        ),
        (
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c8031.c-b7ad6b7169203331-01",
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692-3331-01",
            false,
        ),
        ("", false),
        ("00", false),
    ]);
}

#[test]
fn two_parents_are_none() {
    let found = received(&[
        ("traceparent", GOOD),
        ("tracestate", "a=1"),
        ("traceparent", GOOD),
    ]);
    assert_eq!((found.parent, found.keeps_state), (None, false));
    assert_eq!(
        Received::trace_id(&fields(&[("traceparent", GOOD)])),
        Some(TRACE)
    );
    let twice = fields(&[("traceparent", GOOD), ("traceparent", GOOD)]);
    assert_eq!(Received::trace_id(&twice), None);
    assert_eq!(Received::trace_id(&Fields::default()), None);
}

#[test]
fn tracestate_is_kept_or_dropped_whole() {
    let long = |count: usize| {
        (0..count)
            .map(|n| format!("k{n}=1"))
            .collect::<Vec<_>>()
            .join(",")
    };
    for (state, good) in [
        ("", true),
        ("congo=t61rcWkgMzE", true),
        ("a=1,b=2 , c=3", true),
        ("a=1,,b=2", true),
        ("a=1, a=2", true),
        ("tenant@system=1", true),
        ("0tenant@system=1", true),
        ("0simple=1", false),
        ("tenant@0system=1", false),
        ("a@b@c=1", false),
        ("@a=1", false),
        ("A=1", false),
        ("a b=1", false),
        ("a=", false),
        ("=1", false),
        ("a", false),
        ("a=1=2", false),
        ("a=\u{e9}", false),
        (&format!("a={}", "1".repeat(256)), true),
        (&format!("a={}", "1".repeat(257)), false),
        (&format!("{}=1", "a".repeat(256)), true),
        (&format!("{}=1", "a".repeat(257)), false),
        (&format!("{}@{}=1", "a".repeat(241), "b".repeat(14)), true),
        (&format!("{}@{}=1", "a".repeat(242), "b".repeat(14)), false),
        (&format!("{}@{}=1", "a".repeat(241), "b".repeat(15)), false),
        (&long(MOST_STATE_MEMBERS), true),
        (&long(MOST_STATE_MEMBERS + 1), false),
        (&long(1000), false),
        (&format!("a=1{}", " ".repeat(MOST_STATE - 3)), true),
        (&format!("a=1{}", " ".repeat(MOST_STATE - 2)), false),
    ] {
        let list = [("traceparent", GOOD), ("tracestate", state)];
        assert_eq!(received(&list).keeps_state, good, "{state}");
        assert!(received(&list).parent.is_some(), "{state}");
        let kept = sent(&list, false)
            .iter()
            .any(|(name, _)| name == "tracestate");
        assert_eq!(kept, good, "{state}");
    }
    // All fields are one list, and without a parent it is nobody's.
    let half = long(MOST_STATE_MEMBERS / 2 + 1);
    let twice = [
        ("traceparent", GOOD),
        ("tracestate", &*half),
        ("tracestate", &*half),
    ];
    assert!(!received(&twice).keeps_state);
    assert!(!received(&[("tracestate", "a=1")]).keeps_state);
    assert!(!received(&[("tracestate", "a=1"), ("b3", "1")]).keeps_state);
}

#[test]
fn baggage_has_caps() {
    let members = |count: usize| vec!["a=1"; count].join(",");
    for (baggage, good) in [
        ("", true),
        ("userId=alice", true),
        ("a=1;p;q=2 , b = 3", true),
        ("a=%20", true),
        ("a", false),
        ("=1", false),
        ("a b=1", false),
        ("a=\"1\"", false),
        ("a=\u{e9}", false),
        (&members(MOST_BAGGAGE_MEMBERS), true),
        (&members(MOST_BAGGAGE_MEMBERS + 1), false),
        (&format!("a={}", "1".repeat(MOST_BAGGAGE - 2)), true),
        (&format!("a={}", "1".repeat(MOST_BAGGAGE - 1)), false),
    ] {
        assert_eq!(
            received(&[("baggage", baggage)]).keeps_baggage,
            good,
            "{baggage}"
        );
        let kept = sent(&[("Baggage", baggage)], false);
        assert_eq!(kept.iter().any(|(name, _)| name == "Baggage"), good);
    }
}

#[test]
fn b3_is_strict() {
    let long = "0af7651916cd43dd8448eb211c80319c";
    let (short, span) = ("8448eb211c80319c", "b7ad6b7169203331");
    for (value, parent, sampled, debug) in [
        (format!("{long}-{span}-1"), true, Some(true), false),
        (format!("{long}-{span}-0"), true, Some(false), false),
        (format!("{long}-{span}-d"), true, Some(true), true),
        (format!("{long}-{span}"), true, None, false),
        (format!("{short}-{span}-1-{span}"), true, Some(true), false),
        ("0".to_owned(), false, Some(false), false),
        ("1".to_owned(), false, Some(true), false),
        ("d".to_owned(), false, Some(true), true),
        ("x".to_owned(), false, None, false),
        (String::new(), false, None, false),
        (format!("{long}-{span}-2"), false, None, false),
        (format!("{long}-{span}-"), false, None, false),
        (format!("{long}-{span}-1-"), false, None, false),
        (format!("{long}-{span}-1-{span}-"), false, None, false),
        (format!("{long}-{long}-1"), false, None, false),
        (
            format!("{}-{span}-1", long.to_uppercase()),
            false,
            None,
            false,
        ),
        (format!("{}-{span}-1", "0".repeat(32)), false, None, false),
        (format!("{long}-{}-1", "0".repeat(16)), false, None, false),
        (long.to_owned(), false, None, false),
    ] {
        let found = received(&[("b3", &value)]);
        assert_eq!(found.parent.is_some(), parent, "{value}");
        assert_eq!((found.sampled, found.debug), (sampled, debug), "{value}");
        assert!(found.came.b3);
    }
    let twice = format!("{long}-{span}-1");
    assert_eq!(received(&[("b3", &twice), ("b3", &twice)]).parent, None);
    let (id, sp) = (("X-B3-TraceId", long), ("x-b3-spanid", span));
    let flag = ("X-B3-Flags", "1");
    for (list, parent, sampled, debug) in [
        (vec![id, sp, ("X-B3-Sampled", "1")], true, Some(true), false),
        (
            vec![id, sp, ("X-B3-Sampled", "false")],
            true,
            Some(false),
            false,
        ),
        (vec![id, sp, ("X-B3-ParentSpanId", span)], true, None, false),
        (vec![id, sp, flag], true, Some(true), true),
        (vec![("X-B3-Sampled", "0")], false, Some(false), false),
        (vec![id], false, None, false),
        (vec![sp], false, None, false),
        (vec![id, id, sp], false, None, false),
        (vec![id, sp, ("X-B3-Sampled", "2")], false, None, false),
        (vec![id, sp, ("X-B3-Flags", "9")], false, None, false),
        (vec![id, sp, ("X-B3-ParentSpanId", "x")], false, None, false),
        (vec![("X-B3-TraceId", "1"), sp], false, None, false),
    ] {
        let found = received(&list);
        assert_eq!(found.parent.is_some(), parent, "{list:?}");
        assert_eq!((found.sampled, found.debug), (sampled, debug), "{list:?}");
        assert!(found.came.b3_multi);
    }
    assert!(
        !received(&[("X-B3-Other", "1"), ("x-b3-trace", "1")])
            .came
            .b3_multi
    );
}

#[test]
fn what_came_in_a_format_goes_out_in_it() {
    let own = "00-00000000000000010000000000000002-000000000000000c-02";
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let b3 = format!("{trace}-b7ad6b7169203331-1");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let continued = pair("traceparent", &format!("00-{trace}-000000000000000c-00"));
    let other = pair("x", "y");
    assert_eq!(
        sent(&[("x", "y")], false),
        [other.clone(), pair("traceparent", own)]
    );
    assert_eq!(
        sent(&[("traceparent", GOOD), ("x", "y")], false),
        [other, continued.clone()]
    );
    assert_eq!(
        sent(&[("traceparent", "bad"), ("tracestate", "a=1")], false),
        [pair("traceparent", own)]
    );
    let single = pair("b3", &format!("{trace}-000000000000000c-0"));
    assert_eq!(sent(&[("b3", &b3)], false), vec![single.clone()]);
    let sampled = pair("b3", &format!("{trace}-000000000000000c-1"));
    assert_eq!(sent(&[("b3", &b3)], true), [sampled]);
    assert_eq!(
        sent(&[("b3", &b3), ("traceparent", GOOD)], false),
        [continued, single]
    );
    let debug = [
        ("X-B3-TraceId", "8448eb211c80319c"),
        ("X-B3-SpanId", "b7ad6b7169203331"),
        ("X-B3-Flags", "1"),
    ];
    let multi = |last: (&str, &str)| {
        let ids = [
            pair("X-B3-TraceId", "8448eb211c80319c"),
            pair("X-B3-SpanId", "000000000000000c"),
        ];
        ids.into_iter()
            .chain([pair(last.0, last.1)])
            .collect::<Vec<_>>()
    };
    assert_eq!(sent(&debug, true), multi(("X-B3-Flags", "1")));
    assert_eq!(sent(&debug, false), multi(("X-B3-Sampled", "0")));
}

#[test]
fn formats_that_are_not_read_are_passed_on() {
    let only = |formats: Formats| Propagators {
        formats,
        first: formats,
        baggage: false,
    };
    let b3 = only(Formats {
        b3: true,
        ..Formats::default()
    });
    let list = fields(&[
        ("traceparent", GOOD),
        ("tracestate", "A"),
        ("baggage", "?"),
        ("X-B3-TraceId", "?"),
    ]);
    let found = Received::of(&list, &b3);
    assert_eq!((found.parent, found.came), (None, Formats::default()));
    let sampler = Sampler {
        propagators: b3,
        ..sampler(1.0)
    };
    let trace = sampler.decide(&found, false, [0; 4]);
    let outgoing = Outgoing {
        trace: &trace,
        span_id: 1,
    };
    assert!(
        list.iter()
            .all(|(id, name, _)| !outgoing.replaces(id, name))
    );
    let mut names = Vec::new();
    outgoing.write(&mut |name, _| names.push(name.to_vec()));
    assert_eq!(names, [b"b3"]);
    assert!(trace.trace_id != 0 && trace.span_id != 0);
}

#[test]
fn outsiders_decide_nothing() {
    let asked = [GOOD, &GOOD.replace("-01", "-00")];
    for value in asked {
        let found = received(&[("traceparent", value)]);
        for (ratio, chance, sampled) in [
            (0.0, 0, false),
            (1.0, u64::MAX, true),
            (0.5, u64::MAX, false),
            (0.5, 0, true),
        ] {
            let trace = sampler(ratio).decide(&found, false, [1, 2, 3, chance]);
            assert_eq!(trace.sampled, sampled, "{value} {ratio}");
            assert_eq!((trace.trace_id, trace.parent_id), (TRACE, SPAN));
        }
        let trusted = sampler(0.5).decide(&found, true, [1, 2, 3, 0]);
        assert_eq!(Some(trusted.sampled), found.sampled);
        let alone = Sampler {
            follow: false,
            ..sampler(0.0)
        };
        assert!(!alone.decide(&found, true, [1; 4]).sampled);
        let restarts = Sampler {
            continues: false,
            ..sampler(1.0)
        };
        let trace = restarts.decide(&found, false, [1, 2, 3, 4]);
        assert_eq!((trace.trace_id, trace.parent_id), (1 << 64 | 2, 0));
        assert!(!trace.keeps_state && trace.random);
        assert_eq!(restarts.decide(&found, true, [1, 2, 3, 4]).trace_id, TRACE);
    }
    let debug = received(&[("b3", "d")]);
    assert!(!sampler(0.0).decide(&debug, false, [1; 4]).debug);
    assert!(sampler(0.0).decide(&debug, true, [1; 4]).debug);
}

#[test]
fn the_ratio_is_kept() {
    let found = Received::default();
    let mut state = 7_u64;
    let mut drawn = 0;
    for _ in 0..100_000 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn += u32::from(
            sampler(0.01)
                .decide(&found, false, [1, 1, 1, z ^ (z >> 31)])
                .sampled,
        );
    }
    assert!((900..1100).contains(&drawn), "{drawn}");
}

proptest! {
    /// What is written is read again as it was, in each format.
    #[test]
    fn what_is_written_is_read(trace_id in 1_u128.., span_id in 1_u64.., sampled: bool, format in 0..3_usize) {
        let one = |at: usize| format == at;
        let formats = Formats { w3c: one(0), b3: one(1), b3_multi: one(2) };
        let sampler = Sampler { propagators: Propagators { first: formats, ..ALL }, ..sampler(f64::from(sampled)) };
        let random = [(trace_id >> 64) as u64, trace_id as u64, 5, 6];
        let trace = sampler.decide(&Received::default(), false, random);
        let mut fields = Fields::default();
        Outgoing { trace: &trace, span_id }.write(&mut |name, value| fields.push(name, value));
        let found = Received::of(&fields, &ALL);
        prop_assert_eq!(found.parent, Some(Parent { trace_id, span_id }));
        prop_assert_eq!(found.sampled, Some(sampled));
        prop_assert_eq!(found.came, formats);
    }

    /// Whatever comes, what goes out is well formed, and no outsider's word counts.
    #[test]
    fn nothing_that_comes_does_harm(values in prop::collection::vec(("(traceparent|tracestate|baggage|b3|x-b3-(traceid|spanid|sampled|flags))", "[0-9a-fd=, -]{0,60}"), 0..8)) {
        let mut fields = Fields::default();
        for (name, value) in &values {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let found = Received::of(&fields, &ALL);
        let trace = sampler(0.0).decide(&found, false, [9; 4]);
        prop_assert!(!trace.sampled && trace.trace_id != 0 && trace.span_id != 0);
        let mut out = Fields::default();
        Outgoing { trace: &trace, span_id: 1 }.write(&mut |name, value| out.push(name, value));
        let again = Received::of(&out, &ALL);
        prop_assert_eq!(again.parent.map(|parent| parent.trace_id), Some(trace.trace_id));
        prop_assert_eq!(again.sampled, Some(false));
    }
}
