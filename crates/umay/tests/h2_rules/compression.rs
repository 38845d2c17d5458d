//! HPACK (RFC 7541), and header blocks (section 4.3).

use std::io;

use umay_test::frames::{Frame, Peer, flag, hpack};

use crate::Expect::{Reset, Status};
use crate::{NOT_COMPRESSION, PROTOCOL, Rule, rule};

/// Sends a GET whose head ends in these bytes.
fn ending(c: &mut Peer, path: &str, more: &[u8]) -> io::Result<()> {
    let block = [&c.request("GET", path, &[]), more].concat();
    let stream = c.next_stream();
    c.send(&Frame::headers(stream, block).end())
}

/// The head of a GET from the static table, as far as it has it.
fn from_table(c: &Peer) -> Vec<u8> {
    let scheme = if c.scheme == "http" { 6 } else { 7 };
    [
        hpack::indexed(2),
        hpack::indexed(scheme),
        hpack::indexed(4),
        [vec![0x41], hpack::huffman("a.test")].concat(),
    ]
    .concat()
}

pub(crate) const RULES: &[Rule] = &[
    rule(
        "RFC 7541 6.1",
        "fields from the static table, and a name from it",
        |c| {
            let block = from_table(c);
            c.send(&Frame::headers(1, block).end())
        },
        Status(1, 200),
    ),
    rule(
        "RFC 7541 6.1",
        "fields from the dynamic table",
        |c| {
            let block = from_table(c);
            c.send(&Frame::headers(1, &block).end())?;
            let scheme = if c.scheme == "http" { 6 } else { 7 };
            let again: Vec<u8> = [2, scheme, 4, 62]
                .into_iter()
                .flat_map(hpack::indexed)
                .collect();
            c.send(&Frame::headers(3, again).end())
        },
        Status(3, 200),
    ),
    rule(
        "RFC 7541 6.2",
        "literals of all three kinds, with and without Huffman code",
        |c| {
            let mut more = hpack::kept("x-kept", "1");
            more.extend(hpack::literal("x-not", "2"));
            more.extend([vec![0x10], hpack::string("x-never"), hpack::string("3")].concat());
            more.extend([vec![0x40], hpack::huffman("x-huff"), hpack::huffman("4~")].concat());
            // A name from the table of what was kept: the last is first.
            more.extend([hpack::integer(0, 4, 62), hpack::string("5")].concat());
            more.extend([hpack::integer(0x10, 4, 63), hpack::string("6")].concat());
            ending(c, "/", &more)
        },
        Status(1, 200),
    ),
    rule(
        "RFC 7541 5.1",
        "an integer with more bytes than it needs",
        |c| {
            // 31 and three bytes of nothing.
            let value = [
                vec![0, 0x01, b'x'],
                vec![0x7f, 0x80, 0x80, 0x00],
                vec![b'v'; 127],
            ];
            ending(c, "/", &value.concat())
        },
        Status(1, 200),
    ),
    rule(
        "RFC 7541 5.1",
        "an integer that is too large for anything",
        |c| {
            ending(
                c,
                "/refused",
                &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            )
        },
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 6.1",
        "index 0",
        |c| ending(c, "/refused", &hpack::indexed(0)),
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 2.3.3",
        "an index beyond the tables",
        |c| ending(c, "/refused", &hpack::indexed(70)),
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 2.3.3",
        "a name with an index beyond the tables",
        |c| {
            let field = [hpack::integer(0x40, 6, 70), hpack::string("x")].concat();
            ending(c, "/refused", &field)
        },
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 5.2",
        "Huffman code padded with more than seven bits",
        |c| {
            // "e" is 00101, then eleven ones.
            let field = [
                vec![0],
                hpack::string("x"),
                hpack::raw_huffman(&[0x2f, 0xff]),
            ]
            .concat();
            ending(c, "/refused", &field)
        },
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 5.2",
        "Huffman code padded with zeros",
        |c| {
            let field = [vec![0], hpack::string("x"), hpack::raw_huffman(&[0x28])].concat();
            ending(c, "/refused", &field)
        },
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 5.2",
        "Huffman code with its end in it",
        |c| {
            let end = hpack::raw_huffman(&[0xff, 0xff, 0xff, 0xff]);
            let field = [vec![0], hpack::string("x"), end].concat();
            ending(c, "/refused", &field)
        },
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 6.3",
        "a table that is larger than allowed",
        |c| {
            let block = [hpack::resize(4097), c.request("GET", "/refused", &[])].concat();
            c.send(&Frame::headers(1, block).end())
        },
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 4.2",
        "a change of the table's size behind a field",
        |c| ending(c, "/refused", &hpack::resize(100)),
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 4.2",
        "two changes of the table's size in front",
        |c| {
            let block = [hpack::resize(0), hpack::resize(4096), from_table(c)].concat();
            c.send(&Frame::headers(1, block).end())
        },
        Status(1, 200),
    ),
    rule(
        "RFC 7541 4.3",
        "a table of nothing forgets everything",
        |c| {
            let block = [from_table(c), hpack::kept("x", "y")].concat();
            c.send(&Frame::headers(1, block).end())?;
            let block = [
                hpack::resize(0),
                c.request("GET", "/refused", &[]),
                hpack::indexed(62),
            ];
            c.send(&Frame::headers(3, block.concat()).end())
        },
        NOT_COMPRESSION,
    ),
    rule(
        "RFC 7541 4.4",
        "a field that is larger than the table empties it, and is no error",
        |c| {
            let long = "x".repeat(5000);
            ending(c, "/", &hpack::kept("x", long))?;
            ending(c, "/", &[])
        },
        Status(3, 200),
    ),
    rule(
        "4.3",
        "a header block that is cut off",
        |c| ending(c, "/refused", &[0, 5, b'x']),
        NOT_COMPRESSION,
    ),
    rule(
        "4.3",
        "a header block of nothing but noise",
        |c| c.send(&Frame::headers(1, [0xff; 40]).end()),
        NOT_COMPRESSION,
    ),
    rule(
        "4.3",
        "a header block that is cut off, in CONTINUATION",
        |c| {
            let block = c.request("GET", "/refused", &[]);
            let cut = &block[..block.len() - 2];
            c.send(
                &Frame::headers(1, &cut[..10])
                    .without(flag::END_HEADERS)
                    .end(),
            )?;
            c.send(&Frame::continuation(1, &cut[10..]).with(flag::END_HEADERS))
        },
        NOT_COMPRESSION,
    ),
    rule(
        "4.3",
        "the block of a stream that is refused changes the table all the same",
        |c| {
            let bad = [
                c.request("GET", "/refused", &[]),
                hpack::kept("x-kept", "y"),
                hpack::literal("keep-alive", "y"),
            ];
            c.send(&Frame::headers(1, bad.concat()).end())?;
            c.jump_to(3);
            ending(c, "/", &hpack::indexed(62))
        },
        Status(3, 200),
    ),
    rule(
        "4.3",
        "trailers with a bad index",
        |c| {
            c.post("/", &[])?;
            c.send(&Frame::headers(1, hpack::indexed(99)).end())
        },
        NOT_COMPRESSION,
    ),
    rule(
        "4.3",
        "an empty head",
        |c| c.send(&Frame::headers(1, "").end()),
        Reset(1, PROTOCOL),
    ),
];
