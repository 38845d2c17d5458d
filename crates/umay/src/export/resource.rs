//! Who tells: the resource that all signals of a process have, and the frame that it is told in.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use crate::telemetry::metrics::architecture;
use crate::telemetry::otlp::{attribute, bytes, length_of, prefix};

/// `attributes` of `Resource`.
const ATTRIBUTE: u32 = 1;

/// The fields of a `Resource`.
pub fn resource(service_name: &str, attributes: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    let instance = uuid(instance());
    let own = [
        ("service.name", service_name),
        ("service.version", version),
        ("service.instance.id", instance.as_str()),
        ("host.arch", architecture()),
        ("os.type", std::env::consts::OS),
        ("telemetry.sdk.name", "umay"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", version),
    ];
    // What is configured comes before what is not.
    let configured = |name: &str| attributes.iter().any(|(have, _)| have == name);
    for (name, value) in own.into_iter().filter(|(name, _)| !configured(name)) {
        attribute(&mut out, ATTRIBUTE, name, value.as_bytes());
    }
    for (name, value) in attributes {
        attribute(&mut out, ATTRIBUTE, name, value.as_bytes());
    }
    out
}

/// A number that no other process has; the same for all signals, and after a reload.
fn instance() -> u128 {
    static INSTANCE: OnceLock<u128> = OnceLock::new();
    *INSTANCE.get_or_init(|| {
        let random = RandomState::new();
        u128::from(random.hash_one(0)) << 64 | u128::from(random.hash_one(1))
    })
}

/// An `ExportTraceServiceRequest` or `ExportMetricsServiceRequest`, which are alike: one resource, one scope, and the
/// spans or metrics as they are.
pub(super) fn frame<'p>(resource: &[u8], parts: impl Iterator<Item = &'p [u8]> + Clone) -> Vec<u8> {
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"umay");
    bytes(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
    let told: usize = parts.clone().map(<[u8]>::len).sum();
    let of_scope = length_of(1, scope.len()) + told;
    let of_resource = length_of(1, resource.len()) + length_of(2, of_scope);
    let mut out = Vec::with_capacity(length_of(1, of_resource));
    prefix(&mut out, 1, of_resource);
    bytes(&mut out, 1, resource);
    prefix(&mut out, 2, of_scope);
    bytes(&mut out, 1, &scope);
    for part in parts {
        out.extend_from_slice(part);
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
