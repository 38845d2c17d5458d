//! Prometheus's protocol buffers, read back.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::*;
use crate::telemetry::protobuf::{Field, Reader, number, packed, signed, zigzag};

/// Fields of a message with this number.
fn all<'a>(message: &'a [u8], number: u64) -> impl Iterator<Item = Field<'a>> {
    let fields = Reader::new(message).filter(move |(have, _)| *have == number);
    fields.map(|(_, field)| field)
}

fn message(outer: &[u8], number: u64) -> &[u8] {
    match all(outer, number).next() {
        Some(Field::Bytes(bytes)) => bytes,
        other => panic!("{number}: {other:?}"),
    }
}

#[test]
fn protocol_buffers_have_classic_and_native_buckets() {
    let registry = Registry::new(2);
    for (index, micros) in [(0, 700), (0, 710), (1, 125_000), (1, 0)] {
        let worker = registry.worker(index).unwrap();
        worker
            .detection
            .done(Detected::Http1, Duration::from_micros(micros));
    }
    let page = registry.encode(Format::Protobuf);
    let mut reader = Reader::new(&page);
    let families: Vec<_> = std::iter::from_fn(|| reader.delimited()).collect();
    let named = |name: &str| {
        let named = families.iter().filter(|f| message(f, 1) == name.as_bytes());
        let named: Vec<_> = named.copied().collect();
        assert_eq!(named.len(), 1, "{name}");
        named[0]
    };
    let counter = named("umay_retries_total");
    assert_eq!(message(counter, 2), b"Attempts after the first");
    // Nothing is written of a type that is 0, which is a counter.
    assert_eq!(all(counter, 3).next(), None);
    let value = message(message(counter, 4), 3);
    assert_eq!(all(value, 1).next(), Some(Field::Number(0)));
    assert_eq!(
        all(named("umay_build_info"), 3).next(),
        Some(Field::Number(1))
    );

    let family = named("umay_protocol_detection_seconds");
    assert_eq!(all(family, 3).next(), Some(Field::Number(4)));
    let histogram = message(message(family, 4), 7);
    assert_eq!(all(histogram, 1).next(), Some(Field::Number(4)));
    let below: Vec<_> = all(histogram, 3)
        .map(|bucket| match bucket {
            Field::Bytes(bucket) => all(bucket, 1).next(),
            Field::Number(_) => None,
        })
        .collect();
    assert_eq!(below.len(), 18);
    assert_eq!(below[0], Some(Field::Number(1)));
    assert_eq!(below[1], Some(Field::Number(3)));
    assert_eq!(below[17], Some(Field::Number(4)));
    // Schema 3, one zero, up to 2^-20 seconds.
    assert_eq!(all(histogram, 5).next(), Some(Field::Number(6)));
    let zero = 2_f64.powi(-20).to_bits();
    assert_eq!(all(histogram, 6).next(), Some(Field::Number(zero)));
    assert_eq!(all(histogram, 7).next(), Some(Field::Number(1)));
    // 0.7 and 0.71 ms lie in the bucket that ends at 2^(-83/8) s, and 125 ms in that which ends at 2^-3 s.
    let spans: Vec<_> = all(histogram, 12).collect();
    let run = |offset: i64| {
        let mut run = Vec::new();
        signed(&mut run, 1, offset);
        number(&mut run, 2, 1);
        run
    };
    let (first, second) = (run(-83), run(-24 + 82));
    assert_eq!(spans, [Field::Bytes(&first), Field::Bytes(&second)]);
    let mut deltas = Vec::new();
    packed(&mut deltas, 13, [zigzag(2), zigzag(-1)]);
    assert_eq!(message(histogram, 13), message(&deltas, 13), "{deltas:?}");
}

#[test]
fn the_count_is_that_of_the_native_buckets_while_workers_count() {
    let registry = Registry::new(1);
    let done = AtomicBool::new(false);
    let counts: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            let worker = registry.worker(0).unwrap();
            let mut micros = 0;
            while !done.load(Relaxed) {
                micros = (micros * 7 + 3) % 100_003;
                worker
                    .detection
                    .done(Detected::Http1, Duration::from_micros(micros));
            }
        });
        let pages: Vec<_> = (0..300)
            .map(|_| registry.encode(Format::Protobuf))
            .collect();
        done.store(true, Relaxed);
        pages.iter().map(|page| counted(page)).collect()
    });
    for (count, native) in counts {
        assert_eq!(count, native);
    }
}

/// The count of how long detection took, and the sum of its native buckets.
fn counted(page: &[u8]) -> (u64, u64) {
    let mut reader = Reader::new(page);
    let is_it = |family: &&[u8]| message(family, 1) == b"umay_protocol_detection_seconds";
    let family = std::iter::from_fn(|| reader.delimited())
        .find(is_it)
        .unwrap();
    let histogram = message(message(family, 4), 7);
    let number = |field: u64| match all(histogram, field).next() {
        Some(Field::Number(count)) => count,
        _ => 0,
    };
    let native = match all(histogram, 13).next() {
        Some(Field::Bytes(deltas)) => sum(deltas),
        _ => 0,
    };
    (number(1), number(7) + native)
}

/// The sum of counts of which each is told as the difference to the one before, packed.
fn sum(deltas: &[u8]) -> u64 {
    let (mut sum, mut count, mut number, mut shift) = (0, 0_i64, 0_u64, 0);
    for byte in deltas {
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            count += (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
            sum += count.cast_unsigned();
            (number, shift) = (0, 0);
        }
    }
    sum
}
