//! A stream that does not move stops no other: not on its connection with the client, not on the
//! connection to the endpoint that it shares, and it costs what the windows say.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::io;
use std::time::Duration;

use umay_test::exchange::{Body, Exchange, Peer};
use umay_test::http2::{Client, Endpoint, Settings, Stream};
use umay_test::{Umay, peak_rss, rss, umay};

const MIB: u64 = 1 << 20;

/// What 100 streams that do not move may cost: each the window that it has towards its sender, and
/// twice 64 KiB that wait to be sent.
const HELD: u64 = 100 * (256 + 128) * 1024 * 5 / 4;

/// A peer that gives each stream 64 KiB, and the connection all it wants.
const NARROW: Settings = Settings {
    stream_window: 64 * 1024,
    connection_window: 256 << 20,
    max_streams: 1000,
    extended_connect: false,
};

/// `/flood` is answered without end, `/stall` reads nothing, anything else is answered with as many
/// bytes as came, and a mebibyte.
fn script(exchange: &mut Exchange<'_>) -> io::Result<()> {
    match exchange.request().target() {
        "/flood" => {
            exchange.respond(200, &[], Body::Unknown)?;
            while exchange.send(&[7; 10_000]).is_ok() {}
            Err(io::Error::other("gone"))
        }
        "/stall" => {
            exchange.respond(200, &[], Body::Unknown)?;
            exchange.wait_gone()?;
            Err(io::Error::other("gone"))
        }
        _ => {
            let length = exchange.read_to_end()?.len();
            exchange.respond(200, &[], Body::Length(length + MIB as usize))?;
            exchange.send(&vec![7; length + MIB as usize])?;
            exchange.finish(&[])
        }
    }
}

/// The same, without reading what is not to be read.
fn stall(exchange: &mut Exchange<'_>) -> io::Result<()> {
    if exchange.request().target() == "/stall" && !exchange.is_http2() {
        // What is read to notice the end is what was to stay unread.
        std::thread::park_timeout(Duration::from_secs(60));
        return Ok(());
    }
    script(exchange)
}

fn before(peer: &Peer, more: &str) -> Umay {
    let scheme = match peer {
        Peer::One(_) => "http",
        Peer::Many(_) => "h2c",
    };
    umay!(
        "listen = \"127.0.0.1:0\"\nto = \"{scheme}://{}\"\n{more}\n",
        peer.addr()
    )
}

fn narrow_peers() -> [Peer; 2] {
    let narrow = Peer::http2_with(None, NARROW, stall);
    [Peer::http1(None, stall), narrow]
}

fn connect(umay: &Umay) -> Client {
    Client::connect_with(umay.addr(), None, NARROW).unwrap()
}

/// A request and an answer that go through whole.
fn goes_through(client: &Client) {
    let body = vec![1; 600_000];
    let mut stream = client.call("POST", "http://a.test/", &[], false).unwrap();
    stream.send(&body).unwrap();
    stream.finish(&[]).unwrap();
    assert_eq!(stream.head().unwrap().status(), 200);
    let length = stream.read_to_end().unwrap().len();
    assert_eq!(length, body.len() + MIB as usize);
}

/// An upload that the endpoint does not take, sent until nobody takes it for so long.
fn stalled_upload(client: &Client, patience: u64) -> (Stream, usize) {
    let patience = Duration::from_millis(patience);
    let mut stream = client
        .call("POST", "http://a.test/stall", &[], false)
        .unwrap();
    let mut sent = 0;
    while let Ok(more) = stream.send_some(&[7; 16_384], patience) {
        sent += more;
        assert!(sent < 64 << 20, "it is taken without end");
    }
    (stream, sent)
}

/// An answer of which only the head is read.
fn stalled_download(client: &Client) -> Stream {
    let mut stream = client
        .call("GET", "http://a.test/flood", &[], true)
        .unwrap();
    assert_eq!(stream.head().unwrap().status(), 200);
    stream
}

#[test]
fn answers_that_are_not_read_stop_no_other() {
    for peer in narrow_peers() {
        let umay = before(&peer, "");
        let client = connect(&umay);
        let _held: Vec<_> = (0..20).map(|_| stalled_download(&client)).collect();
        goes_through(&client);
        // Another client, over the same connection to the endpoint.
        goes_through(&connect(&umay));
        if let Peer::Many(endpoint) = &peer {
            assert_eq!(endpoint.connections(), 1);
        }
    }
}

#[test]
fn uploads_that_are_not_taken_stop_no_other() {
    for peer in narrow_peers() {
        let umay = before(&peer, "");
        let client = connect(&umay);
        // More than the connection's window holds by itself.
        let _held: Vec<_> = (0..8).map(|_| stalled_upload(&client, 200)).collect();
        goes_through(&client);
        goes_through(&connect(&umay));
        if let Peer::Many(endpoint) = &peer {
            assert_eq!(endpoint.connections(), 1);
        }
    }
}

#[test]
fn uploads_that_use_up_an_endpoints_connection_stop_no_other() {
    // As many servers have it: one stream can hold all that the connection has.
    let small = Settings {
        stream_window: 65_535,
        connection_window: 65_535,
        ..NARROW
    };
    let peer = Peer::http2_with(None, small, script);
    let umay = before(&peer, "");
    let client = connect(&umay);
    let held = stalled_upload(&client, 600);
    goes_through(&client);
    goes_through(&connect(&umay));
    let Peer::Many(endpoint) = &peer else {
        unreachable!()
    };
    assert_eq!(endpoint.connections(), 2);
    drop(held);
    goes_through(&client);
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn a_stream_that_goes_on_gets_all_that_was_held() {
    let endpoint = Endpoint::start_with(None, NARROW, |stream| {
        stream.respond(200, &[], false)?;
        let mut sent = 0;
        while sent < 3_000_000 {
            sent += stream.send_some(&[7; 10_000], Duration::from_secs(20))?;
        }
        stream.finish(&[])
    });
    let peer = Peer::Many(endpoint);
    let umay = before(&peer, "");
    let client = connect(&umay);
    let mut held: Vec<_> = (0..20).map(|_| stalled_download(&client)).collect();
    for stream in &mut held {
        assert_eq!(stream.read_to_end().unwrap().len() / 10_000, 300);
    }
}

#[test]
fn what_is_held_for_streams_that_do_not_move_is_bounded() {
    for peer in narrow_peers() {
        let umay = before(&peer, "");
        goes_through(&connect(&umay));
        let start = rss(umay.pid());
        let client = connect(&umay);
        let held: Vec<_> = (0..100).map(|_| stalled_download(&client)).collect();
        goes_through(&connect(&umay));
        let grown = peak_rss(umay.pid()) - start;
        assert!(grown < HELD, "downloads hold {grown} bytes");
        drop((held, client));
        umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
        let client = connect(&umay);
        let held: Vec<_> = (0..99).map(|_| stalled_upload(&client, 20)).collect();
        goes_through(&client);
        let grown = peak_rss(umay.pid()) - start;
        let sent: usize = held.iter().map(|(_, sent)| sent).sum();
        // They were large enough to tell.
        assert!(sent > 99 * 256 * 1024, "{sent}");
        assert!(grown < HELD, "uploads hold {grown} bytes");
        drop((held, client));
        umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
    }
}
