//! For how long certificates are still good.

use super::page::Page;

/// So many certificates have a series of their own, those that end first; with twenty thousand, one scrape in a
/// thousand lines is enough.
pub const MOST_CERTIFICATES: usize = 1000;

/// How long the certificates are good that are served or shown now. Times are in seconds since 1970.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Each listener with TLS.
    pub listeners: Vec<ListenerEnds>,
    /// Certificates of listeners, those that end first before the others; no more than [`MOST_CERTIFICATES`].
    pub certificates: Vec<CertificateEnd>,
    /// Each upstream whose endpoints are shown a certificate, and when that one ends.
    pub upstreams: Vec<(String, u64)>,
}

/// The certificates of one listener.
#[derive(Debug, PartialEq, Eq)]
pub struct ListenerEnds {
    /// Its name.
    pub listener: String,
    /// How many it has.
    pub count: usize,
    /// Pairs of certificate and key that could not be used as they are in their files.
    pub unfit: usize,
    /// When the first of them ends.
    pub first: Option<u64>,
}

/// When one certificate ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEnd {
    /// The listener that has it.
    pub listener: String,
    /// The first of its names; nothing if it has none.
    pub name: String,
    /// The file of its chain.
    pub file: String,
    /// The last second at which it is good.
    pub not_after: u64,
}

impl Page<'_> {
    pub(super) fn certificates(&mut self, ends: &Ends) {
        let all = &ends.listeners;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let time = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
        self.gauges(
            "umay_tls_certificates",
            "Certificates that a listener has",
            all.iter()
                .map(|l| ([("listener", l.listener.as_str())], count(l.count))),
        );
        self.gauges(
            "umay_tls_certificates_unfit",
            "Pairs of certificate and key that cannot be used as their files are now; what was read before is served, if anything",
            all.iter().map(|l| ([("listener", l.listener.as_str())], count(l.unfit))),
        );
        self.gauges(
            "umay_tls_first_certificate_expiry_timestamp_seconds",
            "When the first of a listener's certificates expires, since the Unix epoch",
            all.iter()
                .filter_map(|l| Some(([("listener", l.listener.as_str())], time(l.first?)))),
        );
        self.gauges(
            "umay_tls_certificate_expiry_timestamp_seconds",
            "When a certificate expires, since the Unix epoch; of the 1000 that do so first",
            ends.certificates.iter().map(|c| {
                let labels = [
                    ("listener", c.listener.as_str()),
                    ("name", c.name.as_str()),
                    ("file", c.file.as_str()),
                ];
                (labels, time(c.not_after))
            }),
        );
        self.gauges(
            "umay_upstream_certificate_expiry_timestamp_seconds",
            "When the certificate expires that endpoints are shown, since the Unix epoch",
            ends.upstreams
                .iter()
                .map(|(name, end)| ([("upstream", name.as_str())], time(*end))),
        )
    }
}
