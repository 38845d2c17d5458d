//! TLS towards endpoints and registries.

use super::scalar;
use super::section::{Reader, Section};
use super::tree::Node;
use crate::model::{CertificatePair, HostPattern, UpstreamTls};

/// Reads it; `whom` is who would not be verified.
pub(super) fn read(reader: &mut Reader, mut section: Section<'_>, whom: &str) -> UpstreamTls {
    let path = |reader: &mut Reader, node: Option<&Node>| node.and_then(|node| reader.path(node));
    let ca = path(reader, section.take("ca"));
    let crl = path(reader, section.take("crl"));
    let sni = section.take("sni").and_then(|node| {
        let text = reader.text(node)?;
        match reader.ok(node, scalar::host(text))? {
            HostPattern::Exact(name) => Some(name),
            _ => {
                reader.error(node, "this has to be one name", "");
                None
            }
        }
    });
    let (cert, key) = (section.take("cert"), section.take("key"));
    let client = match (path(reader, cert), path(reader, key)) {
        (Some(cert), Some(key)) => Some(CertificatePair { cert, key }),
        (None, None) => None,
        _ => {
            reader.error_at(section.place, "`cert` and `key` need each other", "");
            None
        }
    };
    let accept_any = section.take("dangerous_accept_any_certificate");
    let accept_any = accept_any
        .and_then(|node| reader.bool(node))
        .unwrap_or(false);
    if accept_any {
        let message =
            format!("{whom} are not verified: anybody on the way can read and change everything");
        let hint = "name the authority with ca = \"FILE\" instead, if you can";
        reader.warn(section.place, message, hint);
    }
    section.finish(reader);
    UpstreamTls {
        ca,
        crl,
        sni,
        client,
        accept_any,
    }
}
