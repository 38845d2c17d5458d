//! What certificates say of themselves, read for people and for picking; trusting is not done here.

use std::net::IpAddr;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use umay_core::route::ClientCertFacts;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::subject;

/// What a server's certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The DNS names and addresses that it is for, in lower case.
    pub(super) names: Vec<String>,
    /// Unix time in seconds.
    pub(super) not_before: u64,
    /// Unix time in seconds.
    pub(super) not_after: u64,
    /// It may sign other certificates.
    pub(super) is_ca: bool,
    /// Issuer and subject are the same.
    pub(super) is_self_issued: bool,
}

/// Reads a certificate; `None` if it is none.
pub(super) fn leaf(der: &[u8]) -> Option<Leaf> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let seconds = |time: ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    Some(Leaf {
        names: names(&cert),
        not_before: seconds(cert.validity().not_before),
        not_after: seconds(cert.validity().not_after),
        is_ca: cert.is_ca(),
        is_self_issued: cert.issuer().as_raw() == cert.subject().as_raw(),
    })
}

/// What a verified client certificate says.
pub(super) fn client_facts(der: &[u8]) -> ClientCertFacts {
    let sha256 = sha256(der);
    let Ok((_, cert)) = X509Certificate::from_der(der) else {
        return ClientCertFacts {
            sha256,
            ..ClientCertFacts::default()
        };
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
            Some((*text).to_owned())
        }
        _ => None,
    };
    ClientCertFacts {
        common_name: subject::common_name(cert.subject()),
        sans: alternative_names(&cert)
            .map(|names| names.iter().filter_map(text).collect())
            .unwrap_or_default(),
        sha256,
        subject: subject::rfc4514(cert.subject()),
    }
}

/// A day in UTC, such as `2026-11-23`, from Unix time in seconds.
pub(super) fn day(unix: u64) -> String {
    let time = i64::try_from(unix).ok();
    let time = time.and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    time.map_or_else(
        || "a day beyond the calendar".to_owned(),
        |time| time.to_datetime().date().to_string(),
    )
}

/// The names a certificate is for (RFC 9525). The common name counts only if there are no
/// alternative names at all, as in certificates that people make by hand.
fn names(cert: &X509Certificate<'_>) -> Vec<String> {
    match alternative_names(cert) {
        Some(names) => names.iter().filter_map(server_name).collect(),
        None => subject::common_name(cert.subject())
            .filter(|name| looks_like_host(name))
            .map(|name| name.to_ascii_lowercase())
            .into_iter()
            .collect(),
    }
}

fn server_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn looks_like_host(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'*');
    !name.is_empty() && name.bytes().all(fits)
}

fn alternative_names<'a, 'c>(cert: &'c X509Certificate<'a>) -> Option<&'c [GeneralName<'a>]> {
    cert.extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.as_slice()),
            _ => None,
        })
}

/// SHA-256 in hexadecimal. The hash is the one that TLS uses, so that there is only one.
pub fn sha256(bytes: &[u8]) -> String {
    let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() else {
        return String::new();
    };
    let hash = suite.common.hash_provider.hash(bytes);
    subject::hex(hash.as_ref())
}
