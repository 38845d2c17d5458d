//! Deadlines and caps: sections that are nothing but a list of values with defaults.

use std::time::Duration;

use super::healing::at_most;
use super::scalar;
use super::section::{Reader, Section};
use super::tree::Node;
use crate::model::{Dns, Http2, Limits, Timeouts};

const KIB: u64 = 1024;

/// Reads a number or a size between two bounds.
pub(super) type Read = fn(&mut Reader, &Node, u64, u64) -> Option<u64>;

pub(super) fn timeouts(reader: &mut Reader, top: &mut Section<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(mut section) = top.section(reader, "timeouts") else {
        return timeouts;
    };
    for (key, value, may_be_zero) in [
        ("handshake", &mut timeouts.handshake, false),
        ("header", &mut timeouts.header, false),
        ("body", &mut timeouts.body, false),
        ("send", &mut timeouts.send, false),
        ("keep_alive", &mut timeouts.keep_alive, false),
        ("connect", &mut timeouts.connect, false),
        ("first_byte", &mut timeouts.first_byte, false),
        ("tunnel", &mut timeouts.tunnel, false),
        ("drain", &mut timeouts.drain, true),
        ("drain_delay", &mut timeouts.drain_delay, true),
        ("detect", &mut timeouts.detect, false),
        ("upstream_idle", &mut timeouts.upstream_idle, false),
    ] {
        duration(reader, &mut section, key, value, may_be_zero);
    }
    for (key, value) in [
        ("total", &mut timeouts.total),
        ("upgrade", &mut timeouts.upgrade),
    ] {
        if section.take(key).is_some() {
            let given = value.insert(Duration::ZERO);
            duration(reader, &mut section, key, given, false);
        }
    }
    section.finish(reader);
    timeouts
}

pub(super) fn limits(reader: &mut Reader, top: &mut Section<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = top.section(reader, "limits") else {
        return limits;
    };
    for (key, value, read, least, most) in [
        (
            "head",
            &mut limits.head,
            Reader::size as Read,
            KIB,
            KIB * KIB,
        ),
        ("fields", &mut limits.fields, Reader::number, 1, 10_000),
        ("target", &mut limits.target, Reader::size, 64, KIB * KIB),
        ("pool", &mut limits.pool, Reader::number, 0, 1_000_000),
    ] {
        count(reader, &mut section, key, value, read, least..=most);
    }
    limits.body = section
        .take("body")
        .and_then(|node| reader.size(node, 0, u64::MAX));
    limits.connections = section.take("connections").and_then(|node| {
        let count = reader.number(node, 1, 100_000_000)?;
        usize::try_from(count).ok()
    });
    section.finish(reader);
    limits
}

pub(super) fn http2(reader: &mut Reader, top: &mut Section<'_>) -> Http2 {
    /// RFC 9113 section 6.9.1: no window is larger.
    const WINDOW: u64 = (1 << 31) - 1;
    /// RFC 9113 section 6.5.2: no frame is smaller at most, and none is larger.
    const FRAME: std::ops::RangeInclusive<u64> = 16 * KIB..=(1 << 24) - 1;
    let mut http2 = Http2::default();
    let Some(mut section) = top.section(reader, "http2") else {
        return http2;
    };
    let allowance = &mut http2.allowance;
    for (key, value, read, range) in [
        (
            "max_streams",
            &mut http2.max_streams,
            Reader::number as Read,
            1..=10_000,
        ),
        (
            "stream_window",
            &mut http2.stream_window,
            Reader::size,
            16 * KIB..=WINDOW,
        ),
        (
            "connection_window",
            &mut http2.connection_window,
            Reader::size,
            64 * KIB..=WINDOW,
        ),
        ("max_frame", &mut http2.max_frame, Reader::size, FRAME),
        (
            "max_resets",
            &mut allowance.resets,
            Reader::number,
            1..=1_000_000,
        ),
        (
            "max_pings",
            &mut allowance.pings,
            Reader::number,
            1..=1_000_000,
        ),
        (
            "max_continuations",
            &mut allowance.continuations,
            Reader::number,
            1..=1_000_000,
        ),
    ] {
        count(reader, &mut section, key, value, read, range);
    }
    for (key, value) in [
        ("idle", &mut http2.idle),
        ("ping_interval", &mut http2.ping_interval),
        ("ping_timeout", &mut http2.ping_timeout),
    ] {
        duration(reader, &mut section, key, value, false);
    }
    section.finish(reader);
    http2
}

pub(super) fn dns(reader: &mut Reader, top: &mut Section<'_>) -> Dns {
    let mut dns = Dns::default();
    let Some(mut section) = top.section(reader, "dns") else {
        return dns;
    };
    if let Some(node) = section.take("servers") {
        reader.filled(node, "leave the key out to ask the system's servers");
        for (node, text) in reader.texts(node) {
            dns.servers
                .extend(reader.ok(&node, scalar::resolver(&text)));
        }
    }
    for (key, value, may_be_zero) in [
        ("min_ttl", &mut dns.min_ttl, false),
        ("max_ttl", &mut dns.max_ttl, false),
        ("timeout", &mut dns.timeout, false),
        ("grace", &mut dns.grace, true),
    ] {
        duration(reader, &mut section, key, value, may_be_zero);
    }
    at_most(
        reader,
        &section,
        "min_ttl",
        dns.min_ttl,
        "max_ttl",
        &mut dns.max_ttl,
    );
    section.finish(reader);
    dns
}

pub(super) fn duration(
    reader: &mut Reader,
    section: &mut Section<'_>,
    key: &'static str,
    value: &mut Duration,
    may_be_zero: bool,
) {
    let Some(node) = section.take(key) else {
        return;
    };
    let Some(read) = reader.duration(node) else {
        return;
    };
    if read.is_zero() && !may_be_zero {
        reader.error(
            node,
            format!("`{}` cannot be zero", section.path_of(key)),
            "",
        );
    }
    *value = read;
}

pub(super) fn count<T: TryFrom<u64>>(
    reader: &mut Reader,
    section: &mut Section<'_>,
    key: &'static str,
    value: &mut T,
    read: Read,
    range: std::ops::RangeInclusive<u64>,
) {
    let read = section
        .take(key)
        .and_then(|node| read(reader, node, *range.start(), *range.end()));
    if let Some(read) = read.and_then(|read| T::try_from(read).ok()) {
        *value = read;
    }
}
