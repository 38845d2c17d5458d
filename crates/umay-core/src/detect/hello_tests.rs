//! Real and built ClientHellos, whole, cut and broken.

use proptest::prelude::*;

use super::*;

/// OpenSSL 3.0, TLS 1.2 only, server name `Example.COM`.
const OPENSSL_TLS12: &str = "16030100b1010000ad0303b0285ba61a8fe96462c27d3b60d28947c8d600f95d8fea\
cc16b8e9d9e33d74d600001ec02cc030c02bc02fcca9cca8c024c028c023c027009f009e006b006700ff010000660000\
0010000e00000b4578616d706c652e434f4d000b000403000102000a000c000a001d0017001e00190018002300000016\
000000170000000d002a0028040305030603080708080809080a080b0804080508060401050106010303010303020402\
05020602";

/// OpenSSL 3.0, TLS 1.3, server name `api.example.com`, ALPN `h2` and `http/1.1`; without the 204
/// bytes of zeros of its padding extension.
const OPENSSL_TLS13: &str = "1603010200010001fc0303fb2a7741e1fdb08e51ebface36e79dbe6d5eb532289a87\
8a937dbe40969f033520ab3060fa1e816c87a52e35a592225506209447a7561f1658306e8968d0f51057002413021303\
1301c02cc030c02bc02fcca9cca8c024c028c023c027009f009e006b006700ff0100018f00000014001200000f617069\
2e6578616d706c652e636f6d000b000403000102000a00160014001d0017001e00190018010001010102010301040023\
00000010000e000c02683208687474702f312e310016000000170000000d002a0028040305030603080708080809080a\
080b080408050806040105010601030303010302040205020602002b00050403040303002d0002010100330026002400\
1d0020499bb5d187047b83c72bd3420bba51ee070fd1a14ccc8bf0ff7ce9b2f4921e00001500cc";

fn hex(text: &str) -> Vec<u8> {
    let digit = |d: u8| (d as char).to_digit(16).unwrap() as u8;
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// A vector with `width` bytes of length in front.
fn vector(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32).to_be_bytes();
    [&length[4 - width..], bytes].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, value)].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    extension(0, &vector(2, &[&[0][..], &vector(2, name)].concat()))
}

fn alpn(names: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|n| vector(1, n.as_bytes())).collect();
    extension(16, &vector(2, &list))
}

/// A ClientHello message with these extensions.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let start = [
        &[3, 3][..],
        &[7; 32],
        &vector(1, &[9; 32]),
        &vector(2, &[0x13, 1]),
    ]
    .concat();
    let body = [
        &start[..],
        &vector(1, &[0]),
        &vector(2, &extensions.concat()),
    ]
    .concat();
    [&[1][..], &vector(3, &body)].concat()
}

/// Puts a message into records of these lengths, and what is left into a last one.
fn records(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), message);
    for cut in cuts.iter().copied().chain(std::iter::repeat(1 << 14)) {
        let (fragment, next) = rest.split_at(cut.min(rest.len()));
        if fragment.is_empty() {
            break;
        }
        out.extend([&[22, 3, 1][..], &vector(2, fragment)].concat());
        rest = next;
    }
    out
}

fn named(sni: Option<&str>, alpn: &[&str]) -> Hello {
    Hello::Hello(ClientHello {
        sni: sni.map(str::to_owned),
        alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
    })
}

/// Asserts the answer, that every shorter prefix is not enough, and that longer ones change nothing.
fn check(bytes: &[u8], expected: &Hello) {
    for end in 0..bytes.len() {
        assert_eq!(client_hello(&bytes[..end]), Hello::NeedMore, "{end}");
    }
    assert_eq!(client_hello(bytes), *expected);
    for more in [&[0; 6][..], &[22, 3, 1, 0, 0], &[23; 500]] {
        assert_eq!(client_hello(&[bytes, more].concat()), *expected);
    }
}

#[test]
fn real_hellos() {
    let tls12 = hex(OPENSSL_TLS12);
    check(&tls12, &named(Some("example.com"), &[]));
    let tls13 = [hex(OPENSSL_TLS13), vec![0; 204]].concat();
    check(&tls13, &named(Some("api.example.com"), &["h2", "http/1.1"]));
    for hello in [&tls12[..], &tls13] {
        assert_eq!(sniff(hello), Verdict::Tls);
        check(
            &records(&hello[5..], &[1, 1, 1, 1, 1, 100]),
            &client_hello(hello),
        );
    }
}

#[test]
fn grease_ech_and_post_quantum_sizes() {
    let extensions = [
        extension(0x0a0a, &[]),
        sni(b"a-b_c.example"),
        extension(0xfe0d, &[5; 300]),
        extension(51, &[6; 1216 + 32 + 20]),
        alpn(&["h2"]),
        extension(0x1a1a, &[0]),
    ];
    let built = records(&message(&extensions), &[]);
    check(&built, &named(Some("a-b_c.example"), &["h2"]));
}

#[test]
fn hellos_without_a_name() {
    check(&records(&message(&[]), &[]), &named(None, &[]));
    // TLS 1.2 allows a hello that ends before the extensions.
    let whole = message(&[]);
    let bare = &whole[4..whole.len() - 2];
    let bare = [&[1][..], &vector(3, bare)].concat();
    check(&records(&bare, &[]), &named(None, &[]));
}

#[test]
fn names_are_normalised_or_refused() {
    let bad = Hello::Malformed("bad_server_name");
    let long = [&[b'a'; 63][..]; 4].join(&b'.');
    for (name, expected) in [
        (&b"X.Example"[..], named(Some("x.example"), &[])),
        (b"x.example.", named(Some("x.example"), &[])),
        (
            b"xn--bcher-kva.example",
            named(Some("xn--bcher-kva.example"), &[]),
        ),
        (
            &long[..253],
            named(std::str::from_utf8(&long[..253]).ok(), &[]),
        ),
        (b"192.0.2.1", named(None, &[])),
        (b"192.0.2.1.", named(None, &[])),
        (b"2001:db8::1", named(None, &[])),
        (&long[..254], bad.clone()),
        (&[b'a'; 64], bad.clone()),
        (b"", bad.clone()),
        (b".", bad.clone()),
        (b"a..b", bad.clone()),
        (b"[::1]", bad.clone()),
        (b"a b", bad.clone()),
        (b"a/b", bad.clone()),
        (b"a\0b", bad.clone()),
        (b"*.example", bad.clone()),
        ("b\u{fc}cher.example".as_bytes(), bad.clone()),
        (b"\xff", bad.clone()),
    ] {
        check(&records(&message(&[sni(name)]), &[]), &expected);
    }
}

#[test]
fn broken_hellos() {
    let entry = |name: &[u8]| [&[0][..], &vector(2, name)].concat();
    let two_names = extension(0, &vector(2, &[entry(b"a"), entry(b"b")].concat()));
    let other_type = extension(0, &vector(2, &[&[1][..], &vector(2, b"a")].concat()));
    for (extensions, word) in [
        (vec![sni(b"a"), sni(b"a")], "duplicate_extension"),
        (vec![sni(b"192.0.2.1"), sni(b"a")], "duplicate_extension"),
        (vec![alpn(&["h2"]), alpn(&["h2"])], "duplicate_extension"),
        (vec![two_names], "bad_server_name"),
        (vec![other_type], "bad_server_name"),
        (vec![extension(0, &[])], "bad_server_name"),
        (vec![extension(0, &[0, 0])], "bad_server_name"),
        (vec![extension(16, &[0, 0])], "bad_alpn"),
        (vec![alpn(&[""])], "bad_alpn"),
        (vec![extension(16, &[0, 3, 3, 1, 1])], "bad_alpn"),
        (vec![vec![0]], "extension_cut"),
        (vec![vec![0, 99, 0, 2, 0]], "extension_cut"),
    ] {
        let hello = records(&message(&extensions), &[]);
        check(&hello, &Hello::Malformed(word));
    }
    let good = message(&[sni(b"a")]);
    let cut = [&[1][..], &vector(3, &good[4..good.len() - 1])].concat();
    check(&records(&cut, &[]), &Hello::Malformed("hello_cut"));
    let odd = [&[3, 3][..], &[7; 32], &[0], &vector(2, &[0x13]), &[1, 0]].concat();
    let odd = [&[1][..], &vector(3, &odd)].concat();
    check(&records(&odd, &[]), &Hello::Malformed("hello_cut"));
    let long = [&good[4..], &[0]].concat();
    let long = [&[1][..], &vector(3, &long)].concat();
    check(
        &records(&long, &[]),
        &Hello::Malformed("data_after_extensions"),
    );
}

#[test]
fn broken_records() {
    for (bytes, word) in [
        (&b"G"[..], "not_a_handshake"),
        (&[22, 2], "bad_record_version"),
        (&[22, 3, 1, 0, 0], "bad_record_length"),
        (&[22, 3, 1, 0x40, 1], "bad_record_length"),
        (&[22, 3, 1, 0, 9, 2], "not_a_client_hello"),
        (&[22, 3, 1, 0, 9, 1, 1, 0, 1], "hello_too_long"),
        (&[22, 3, 1, 0, 9, 1, 0, 0, 4], "data_after_hello"),
        (&[22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 0], "bad_record_length"),
        (&[22, 3, 1, 0, 1, 1, 23], "not_a_handshake"),
    ] {
        check(bytes, &Hello::Malformed(word));
    }
}

#[test]
fn the_caps_hold_on_both_sides() {
    let sized = |len: usize| {
        let empty = message(&[extension(99, &[])]).len() - 4;
        message(&[
            sni(b"a"),
            extension(99, &vec![0; len - empty - sni(b"a").len()]),
        ])
    };
    let header = |body: [u8; 3]| client_hello(&records(&[&[1][..], &body].concat(), &[]));
    assert_eq!(header([1, 0, 0]), Hello::NeedMore);
    assert_eq!(header([1, 0, 1]), Hello::Malformed("hello_too_long"));
    // A hello of one extension ends below 64 KiB: its lengths have 16 bits.
    let largest = records(&sized(65_000), &[]);
    assert_eq!(client_hello(&largest), named(Some("a"), &[]));
    assert_eq!(client_hello(&largest[..largest.len() - 1]), Hello::NeedMore);
    let tiny = records(&sized(65_000), &vec![1; 65_000]);
    assert_eq!(client_hello(&tiny[..MAX_HELLO_PREFIX]), Hello::NeedMore);
    let longer = &tiny[..=MAX_HELLO_PREFIX];
    assert_eq!(client_hello(longer), Hello::Malformed("hello_too_long"));
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(
        name in "[a-z]{1,10}(\\.[a-z0-9-]{1,10}){0,3}",
        size in 0..3000_usize,
        cuts in prop::collection::vec(1..2000_usize, 0..40),
    ) {
        let extensions = [extension(99, &vec![0; size]), sni(name.as_bytes()), alpn(&["x"])];
        let message = message(&extensions);
        let bytes = records(&message, &cuts);
        prop_assert_eq!(client_hello(&bytes), named(Some(&name), &["x"]));
        for end in 0..bytes.len() {
            prop_assert_eq!(client_hello(&bytes[..end]), Hello::NeedMore);
        }
    }

    #[test]
    fn damage_never_panics_and_answers_stay(
        at in 0..517_usize,
        byte in any::<u8>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = [hex(OPENSSL_TLS13), vec![0; 204]].concat();
        bytes[at] = byte;
        bytes.extend(noise);
        let mut last = Hello::NeedMore;
        for end in 0..=bytes.len() {
            let hello = client_hello(&bytes[..end]);
            prop_assert!(last == Hello::NeedMore || last == hello, "{}", end);
            last = hello;
        }
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let record = records(&[&[1, 0, 0, bytes.len() as u8][..], &bytes].concat(), &[]);
        prop_assert!(client_hello(&record) != Hello::NeedMore);
        client_hello(&bytes);
    }
}
