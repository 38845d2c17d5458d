//! Who tells: the resource that all signals of a process have.

use umay_core::model::Tracing;

use crate::telemetry::otlp::attribute;

/// `attributes` of `Resource`.
const ATTRIBUTE: u32 = 1;

/// The fields of a `Resource`; `instance` is a number that no other process has.
pub fn resource(tracing: &Tracing, instance: u128) -> Vec<u8> {
    let mut out = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    let instance = uuid(instance);
    let own = [
        ("service.name", tracing.service_name.as_str()),
        ("service.version", version),
        ("service.instance.id", instance.as_str()),
        ("telemetry.sdk.name", "umay"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", version),
    ];
    // What is configured comes before what is not.
    let configured = |name: &str| tracing.attributes.iter().any(|(have, _)| have == name);
    for (name, value) in own.into_iter().filter(|(name, _)| !configured(name)) {
        attribute(&mut out, ATTRIBUTE, name, value.as_bytes());
    }
    for (name, value) in &tracing.attributes {
        attribute(&mut out, ATTRIBUTE, name, value.as_bytes());
    }
    out
}

/// 128 random bits as a UUID of version 4 (RFC 9562 section 5.4).
fn uuid(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let text = format!("{bits:032x}");
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts
        .map(|(from, to)| text.get(from..to).unwrap_or_default())
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn uuids_say_that_they_are_random() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
