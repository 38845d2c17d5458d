//! What happens when an endpoint is ill or busy: ejection, attempts elsewhere, caps.

use std::time::Duration;

use super::section::{Reader, Section};
use super::settings::{Read, count, duration};
use super::tree::{Node, Value};
use crate::model::{Hedge, Outlier, Retry, UpstreamLimits};

/// A part that can be switched off by a word.
enum Part<'a> {
    Off,
    Told(Section<'a>),
}

fn part<'a>(reader: &mut Reader, section: &mut Section<'a>, key: &'static str) -> Option<Part<'a>> {
    let node = section.take(key)?;
    match &node.value {
        Value::Table(_) => Section::open(reader, node, &section.path_of(key)).map(Part::Told),
        Value::Text(text) | Value::Untyped(text) if text == "off" => Some(Part::Off),
        Value::Text(_) | Value::Untyped(_) => {
            reader.error(node, "expected `off` or a table", "");
            None
        }
        _ => {
            reader.expected(node, "`off` or a table");
            None
        }
    }
}

/// Complains about keys that have no effect, as told by `why`.
fn idle(reader: &mut Reader, section: &Section<'_>, keys: &[&str], why: &str, hint: &str) {
    for key in keys {
        if let Some(place) = section.place_of(key) {
            reader.error_at(place, format!("`{key}` has no effect {why}"), hint);
        }
    }
}

/// `outlier`: `off`, or a table.
pub(super) fn outlier(reader: &mut Reader, upstream: &mut Section<'_>) -> Outlier {
    let mut outlier = Outlier::default();
    let mut section = match part(reader, upstream, "outlier") {
        None => return outlier,
        Some(Part::Off) => {
            outlier.consecutive = 0;
            outlier.success_rate = 0;
            return outlier;
        }
        Some(Part::Told(section)) => section,
    };
    let read = Reader::number as Read;
    for (key, value, range) in [
        ("consecutive", &mut outlier.consecutive, 0..=10_000),
        ("min_requests", &mut outlier.min_requests, 1..=1_000_000),
    ] {
        count(reader, &mut section, key, value, read, range);
    }
    for (key, value, range) in [
        ("success_rate", &mut outlier.success_rate, 0..=100),
        ("max_ejected", &mut outlier.max_ejected, 1..=100),
    ] {
        count(reader, &mut section, key, value, read, range);
    }
    for (key, value) in [
        ("window", &mut outlier.window),
        ("base", &mut outlier.base),
        ("max", &mut outlier.max),
    ] {
        duration(reader, &mut section, key, value, false);
    }
    at_most(
        reader,
        &section,
        "base",
        outlier.base,
        "max",
        &mut outlier.max,
    );
    let off = outlier.consecutive == 0 && outlier.success_rate == 0;
    if off {
        let hint = "raise consecutive or success_rate, or write outlier = \"off\"";
        let why = "while nothing is ejected";
        idle(reader, &section, &["base", "max", "max_ejected"], why, hint);
    }
    if outlier.success_rate == 0 {
        let why = "while `success_rate` is 0";
        idle(
            reader,
            &section,
            &["min_requests", "window"],
            why,
            "take it out",
        );
    }
    section.finish(reader);
    outlier
}

/// Holds two durations in order; the greater one, if it is not told, follows the lesser.
pub(super) fn at_most(
    reader: &mut Reader,
    section: &Section<'_>,
    less: &str,
    least: Duration,
    more: &str,
    most: &mut Duration,
) {
    if least <= *most {
        return;
    }
    match section.place_of(more) {
        None => *most = least,
        Some(place) => {
            let message = format!("`{more}` is shorter than `{less}`");
            reader.error_at(place, message, format!("raise {more}, or lower {less}"));
        }
    }
}

/// `retry`: `off`, or a table. `name` is the upstream's.
pub(super) fn retry(reader: &mut Reader, upstream: &mut Section<'_>, name: &str) -> Retry {
    let mut retry = Retry::default();
    let mut section = match part(reader, upstream, "retry") {
        None => return retry,
        Some(Part::Off) => {
            retry.attempts = 1;
            return retry;
        }
        Some(Part::Told(section)) => section,
    };
    for (key, value, range) in [
        ("attempts", &mut retry.attempts, 1..=10),
        ("budget", &mut retry.budget, 0..=100),
        ("floor", &mut retry.floor, 0..=10_000),
    ] {
        count(reader, &mut section, key, value, Reader::number, range);
    }
    if let Some(node) = section.take("statuses") {
        retry.statuses = statuses(reader, node);
        let place = node.place.clone();
        let key = (name.to_owned(), "retry.statuses");
        reader.places.told.insert(key, place);
    }
    duration(reader, &mut section, "backoff", &mut retry.backoff, true);
    if retry.attempts == 1 {
        let keys = ["statuses", "backoff", "budget", "floor"];
        let hint = "raise attempts, or write retry = \"off\"";
        idle(reader, &section, &keys, "with one attempt", hint);
    } else if retry.attempts == 2 {
        let hint = "the first retry does not wait; take it out";
        idle(reader, &section, &["backoff"], "with two attempts", hint);
    }
    if retry.attempts > 1 && retry.budget == 0 && retry.floor == 0 {
        let place = section.place_of("budget").unwrap_or(section.place);
        let message = "with `budget` and `floor` at 0, nothing is ever tried again";
        reader.error_at(
            place,
            message,
            "raise one of them, or write retry = \"off\"",
        );
    }
    section.finish(reader);
    retry
}

fn statuses(reader: &mut Reader, node: &Node) -> Vec<u16> {
    let mut statuses = Vec::new();
    for node in node.list() {
        let status = reader.number(&node, 400, 599);
        statuses.extend(status.and_then(|status| u16::try_from(status).ok()));
    }
    statuses
}

/// Reads `[upstream.NAME.hedge]`.
pub(super) fn hedge(reader: &mut Reader, mut section: Section<'_>) -> Hedge {
    let mut hedge = Hedge::default();
    let quantile = section
        .take("quantile")
        .and_then(|node| reader.fraction(node, 50.0, 99.9));
    if let Some(quantile) = quantile {
        hedge.quantile = quantile;
    }
    duration(
        reader,
        &mut section,
        "min_delay",
        &mut hedge.min_delay,
        true,
    );
    section.finish(reader);
    hedge
}

/// Reads `[upstream.NAME.limits]`.
pub(super) fn limits(reader: &mut Reader, mut section: Section<'_>) -> UpstreamLimits {
    let mut limits = UpstreamLimits::default();
    for (key, value) in [
        ("endpoint_connections", &mut limits.endpoint_connections),
        ("endpoint_requests", &mut limits.endpoint_requests),
        ("requests", &mut limits.requests),
    ] {
        let number = section
            .take(key)
            .and_then(|node| reader.number(node, 1, 100_000_000));
        *value = number.and_then(|number| u32::try_from(number).ok());
    }
    let queue = &mut limits.queue;
    count(
        reader,
        &mut section,
        "queue",
        queue,
        Reader::number,
        0..=1_000_000,
    );
    let wait = &mut limits.queue_timeout;
    duration(reader, &mut section, "queue_timeout", wait, false);
    let adaptive = section.take("adaptive").and_then(|node| reader.bool(node));
    limits.adaptive = adaptive.unwrap_or(false);
    let caps = ["endpoint_connections", "endpoint_requests", "requests"];
    let capped = caps.iter().any(|key| section.place_of(key).is_some());
    if !capped && !limits.adaptive {
        let hint = "add requests, endpoint_requests, endpoint_connections or adaptive = true";
        let keys = ["queue", "queue_timeout"];
        idle(
            reader,
            &section,
            &keys,
            "without a cap that is waited for",
            hint,
        );
    } else if limits.queue == 0 {
        let why = "while `queue` is 0";
        idle(reader, &section, &["queue_timeout"], why, "take it out");
    }
    if let (Some(each), Some(all)) = (limits.endpoint_requests, limits.requests)
        && each >= all
        && let Some(place) = section.place_of("endpoint_requests")
    {
        let message = "one endpoint may have as much as all together, so this caps nothing";
        reader.warn(place, message, "lower endpoint_requests, or take it out");
    }
    section.finish(reader);
    limits
}
