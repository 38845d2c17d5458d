//! A listener's certificates: read all at once, taken over from those that were read before, and picked by name.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use umay_core::model::{CertificatePair, CertificateSource, ListenerTls};

use super::certificate::{Certificate, CertificateInfo};
use super::dir;
use super::names::{Id, Names};
use super::problem::TlsProblem;
use crate::conn::unix_now;

/// Keys of so many certificates are proven when they are read: in a tenth of a second at most. Of more at once, the rest
/// are proven later, beside the workers.
const PROVEN: usize = 500;

/// A listener's certificates.
#[derive(Debug)]
pub(super) struct Keyring {
    /// In the order of the configuration.
    certificates: Vec<Arc<Certificate>>,
    /// The certificates in the order in which they are wanted for names that they share.
    order: Vec<Id>,
    /// For clients that send no name.
    nameless: Id,
    pub(super) names: Names,
}

impl Keyring {
    /// Reads all certificates that can be read; `None` if there is none.
    ///
    /// With what was read before, only files that have changed are read. Then a pair that does not fit is no
    /// error: the one that was read from there before is kept or, where there was none, it is left out, so that
    /// all others can change. Both are warnings.
    pub(super) fn read(
        tls: &ListenerTls,
        old: Option<&Self>,
        problems: &mut Vec<TlsProblem>,
    ) -> Option<Self> {
        let old = Old::new(old);
        let entries = entries(tls, &old, problems);
        if entries.is_empty() && problems.is_empty() {
            let what = "a TLS listener has no certificate";
            problems.push(TlsProblem::new(what, "give it a certificate and its key"));
        }
        let mut certificates = Vec::with_capacity(entries.len());
        let mut nameless = 0;
        let mut to_prove = PROVEN;
        for entry in &entries {
            let (pair, is_listed) = match entry {
                Entry::Pair(pair, is_listed) => (pair, *is_listed),
                Entry::Kept(old) => {
                    certificates.push(Arc::clone(old));
                    continue;
                }
            };
            let place = certificates.len();
            let known = old.of(&pair.cert);
            let known = known.filter(|old| is_listed || old.is_of(pair));
            match (read(pair, known, &mut to_prove), known) {
                (Ok(certificate), _) => certificates.push(certificate),
                (Err(more), None) if !(is_listed && old.there) => problems.extend(more),
                (Err(more), known) => {
                    problems.extend(unfit(more, known));
                    certificates.extend(known.cloned());
                }
            }
            if tls.default.as_ref() == Some(pair) && place < certificates.len() {
                nameless = place;
            }
        }
        let order = by_preference(&certificates, unix_now());
        let mut names = Names::new(nameless, tls.default.is_some());
        for id in &order {
            if let Some(certificate) = certificates.get(*id) {
                names.add(*id, &certificate.info.names);
            }
        }
        let is_empty = certificates.is_empty();
        (!is_empty).then_some(Self {
            certificates,
            order,
            nameless,
            names,
        })
    }

    /// True if a client gets the same from both.
    pub(super) fn is(&self, other: &Self) -> bool {
        let pairs = self.certificates.iter().zip(&other.certificates);
        self.certificates.len() == other.certificates.len()
            && (self.nameless, &self.order) == (other.nameless, &other.order)
            && pairs.into_iter().all(|(ours, theirs)| ours.is(theirs))
    }

    /// The certificates for a server name, the most wanted first.
    pub(super) fn pick(&self, sni: Option<&str>) -> impl Iterator<Item = &Certificate> {
        let ids = self.names.pick(sni).unwrap_or_default();
        let certificates = ids.iter().filter_map(|id| self.certificates.get(*id));
        certificates.map(|certificate| &**certificate)
    }

    /// The certificates, in the order of the configuration.
    pub(super) fn infos(&self) -> impl ExactSizeIterator<Item = &CertificateInfo> {
        self.certificates
            .iter()
            .map(|certificate| &certificate.info)
    }

    /// True if it is known of all keys whether they can sign.
    pub(super) fn is_proven(&self) -> bool {
        self.certificates
            .iter()
            .all(|certificate| certificate.is_proven())
    }

    /// Those with a key that is known to be damaged: what is wrong.
    pub(super) fn damaged(&self) -> impl Iterator<Item = TlsProblem> {
        self.certificates
            .iter()
            .filter_map(|certificate| certificate.damage())
    }

    /// Proves all keys, one after the other, until `stop`. Returns how many are damaged.
    pub(super) fn prove(&self, stop: &AtomicBool) -> usize {
        let going = |_: &&Arc<Certificate>| !stop.load(Relaxed);
        let all = self.certificates.iter().take_while(going);
        all.filter(|certificate| !certificate.prove()).count()
    }

    /// The same, on all cores.
    pub(super) fn prove_at_once(&self) {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let share = self.certificates.len().div_ceil(cores).max(1);
        thread::scope(|scope| {
            for part in self.certificates.chunks(share) {
                scope.spawn(move || {
                    for certificate in part {
                        certificate.prove();
                    }
                });
            }
        });
    }
}

impl ResolvesServerCert for Keyring {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fits = |c: &&Certificate| c.key.key.choose_scheme(schemes).is_some();
        // If none fits, the handshake fails with the words for that.
        let fitting = self.pick(hello.server_name()).find(fits);
        let chosen = fitting.or_else(|| self.pick(hello.server_name()).next());
        chosen.map(|certificate| Arc::clone(&certificate.key))
    }
}

/// What was read before, by the file of the chain.
struct Old<'a> {
    by_file: HashMap<&'a Path, &'a Arc<Certificate>>,
    there: bool,
}

impl<'a> Old<'a> {
    fn new(keyring: Option<&'a Keyring>) -> Self {
        let all = keyring.map_or(&[][..], |keyring| &keyring.certificates);
        let by_file = all.iter().map(|old| (old.info.cert_file.as_path(), old));
        Self {
            by_file: by_file.collect(),
            there: keyring.is_some(),
        }
    }

    fn of(&self, cert: &Path) -> Option<&'a Arc<Certificate>> {
        self.by_file.get(cert).copied()
    }

    /// Those of a directory whose chain is not `listed` any more while their key is still there: the next chain may be
    /// on its way.
    fn halves(&self, dir: &Path, listed: &HashSet<PathBuf>) -> Vec<&'a Arc<Certificate>> {
        let is_half = |old: &&&Arc<Certificate>| {
            let info = &old.info;
            let is_here = info.cert_file.parent() == Some(dir) && info.key_file != info.cert_file;
            is_here && !listed.contains(&info.cert_file) && info.key_file.exists()
        };
        self.by_file.values().filter(is_half).copied().collect()
    }
}

fn read(
    pair: &CertificatePair,
    old: Option<&Arc<Certificate>>,
    to_prove: &mut usize,
) -> Result<Arc<Certificate>, Vec<TlsProblem>> {
    let certificate = Certificate::read(pair, old)?;
    if old.is_some_and(|old| old.is(&certificate)) {
        return Ok(certificate);
    }
    if *to_prove > 0 {
        *to_prove -= 1;
        certificate.is_usable();
    }
    match certificate.damage() {
        Some(problem) => Err(vec![problem]),
        None => Ok(certificate),
    }
}

/// What is wrong with a pair, if that does not keep the others from being served.
fn unfit(problems: Vec<TlsProblem>, kept: Option<&Arc<Certificate>>) -> Option<TlsProblem> {
    let what = match kept {
        Some(_) => "the one that was read before is still served",
        None => "it is not served",
    };
    let all: Vec<&str> = problems
        .iter()
        .map(|problem| problem.what.as_str())
        .collect();
    let what = format!("{}; {what}", all.join(", "));
    let first = problems.into_iter().next()?;
    Some(TlsProblem { what, ..first }.into_warning())
}

/// One certificate to be served.
enum Entry {
    /// From these files; true if it was a directory that named them.
    Pair(CertificatePair, bool),
    /// As it was read before, for there is only half of it now.
    Kept(Arc<Certificate>),
}

impl Entry {
    fn cert(&self) -> &Path {
        match self {
            Self::Pair(pair, _) => &pair.cert,
            Self::Kept(old) => &old.info.cert_file,
        }
    }
}

/// All of them, in the order of the configuration, none twice.
fn entries(tls: &ListenerTls, old: &Old<'_>, problems: &mut Vec<TlsProblem>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for source in &tls.certificates {
        match source {
            CertificateSource::Pair(pair) => entries.push(Entry::Pair(pair.clone(), false)),
            CertificateSource::Dir(dir) => match dir::pairs(dir) {
                Ok(found) => entries.extend(listed(dir, found, old, problems)),
                Err(problem) => problems.push(problem),
            },
        }
    }
    entries.extend(tls.default.clone().map(|pair| Entry::Pair(pair, false)));
    let mut seen = HashSet::new();
    entries.retain(|entry| match entry {
        Entry::Pair(pair, _) => seen.insert((pair.cert.clone(), pair.key.clone())),
        Entry::Kept(_) => true,
    });
    entries
}

/// Those of a directory, by name.
fn listed(
    dir: &Path,
    found: Vec<dir::Found>,
    old: &Old<'_>,
    problems: &mut Vec<TlsProblem>,
) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(found.len());
    let mut seen = HashSet::new();
    for found in found {
        match found {
            Ok(pair) => {
                seen.insert(pair.cert.clone());
                entries.push(Entry::Pair(pair, true));
            }
            Err((_, problem)) if !old.there => problems.push(problem),
            Err((cert, problem)) => {
                let known = old.of(&cert);
                problems.extend(unfit(vec![problem], known));
                entries.extend(known.cloned().map(Entry::Kept));
                seen.insert(cert);
            }
        }
    }
    for half in old.halves(dir, &seen) {
        let hint = "put it back, or remove its key, too";
        let problem = TlsProblem::in_file(&half.info.cert_file, "is gone", hint);
        problems.extend(unfit(vec![problem], Some(half)));
        entries.push(Entry::Kept(Arc::clone(half)));
    }
    entries.sort_by(|a, b| a.cert().cmp(b.cert()));
    entries
}

/// Certificates, those first that are wanted most for a name they share: good now, then with
/// the cheaper key (a signature with ECDSA costs a tenth of one with RSA), then good for longest.
fn by_preference(certificates: &[Arc<Certificate>], now: u64) -> Vec<Id> {
    let rank = |certificate: &Arc<Certificate>| {
        let info = &certificate.info;
        let is_good = (info.not_before..=info.not_after).contains(&now);
        let is_rsa = info.key_type == "rsa";
        (!is_good, is_rsa, u64::MAX - info.not_after)
    };
    let mut ranked: Vec<_> = certificates.iter().map(rank).zip(0..).collect();
    ranked.sort();
    ranked.into_iter().map(|(_, id)| id).collect()
}
