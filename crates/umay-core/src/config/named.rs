//! The files that a configuration was made from, and those that it names: what to watch.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Reference, Sources};
use crate::model::{CertificatePair, CertificateSource, ListenerTls, Model, Source, UpstreamTls};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A document of the configuration.
    Document,
    /// An entry of `include`: a directory, perhaps with a pattern behind it.
    Include,
    /// A value that stands in a file of its own.
    Value,
    /// A certificate or its key, or a directory of them.
    Certificate,
    /// Authorities or revocation lists.
    Trust,
    /// What a registry wants to hear.
    Credential,
    /// Endpoints, which are followed by whoever discovers them.
    Endpoints,
}

impl Sources {
    /// The files that these sources were read from. What is named in vain is there, too: it may
    /// come.
    pub fn files(&self) -> BTreeMap<PathBuf, Purpose> {
        let mut files = BTreeMap::new();
        let entries = self.included.iter().map(|included| &included.entry);
        files.extend(entries.map(|entry| (entry.clone(), Purpose::Include)));
        let documents = self.documents().map(|(path, _)| path.to_owned());
        files.extend(documents.map(|path| (path, Purpose::Document)));
        let values = self.values.0.keys().filter_map(|value| match value {
            Reference::File(path) => Some(path.clone()),
            Reference::Env(_) => None,
        });
        files.extend(values.map(|path| (path, Purpose::Value)));
        files
    }
}

/// The files that a model names and that are read: not those that are written, such as logs.
pub fn files(model: &Model) -> BTreeMap<PathBuf, Purpose> {
    let mut files = BTreeMap::new();
    for listener in model.listeners.values() {
        if let Some(tls) = &listener.tls {
            of_listener(&mut files, tls);
        }
    }
    for upstream in model.upstreams.values() {
        of_upstream(&mut files, &upstream.tls);
        let Some(discovery) = &upstream.discovery else {
            continue;
        };
        of_upstream(&mut files, &discovery.tls);
        let (path, purpose) = match &discovery.source {
            Source::File(path) => (Some(path), Purpose::Endpoints),
            Source::Consul(consul) => (consul.token_file.as_ref(), Purpose::Credential),
            Source::Etcd(etcd) => (
                etcd.login.as_ref().map(|(_, path)| path),
                Purpose::Credential,
            ),
            Source::Srv(_) | Source::OriginalDestination => continue,
        };
        files.extend(path.map(|path| (path.clone(), purpose)));
    }
    files
}

type Files = BTreeMap<PathBuf, Purpose>;

fn of_pair(files: &mut Files, pair: &CertificatePair) {
    for path in [&pair.cert, &pair.key] {
        files.insert(path.clone(), Purpose::Certificate);
    }
}

fn of_listener(files: &mut Files, tls: &ListenerTls) {
    for certificates in &tls.certificates {
        match certificates {
            CertificateSource::Pair(pair) => of_pair(files, pair),
            CertificateSource::Dir(dir) => {
                files.insert(dir.clone(), Purpose::Certificate);
            }
        }
    }
    if let Some(pair) = &tls.default {
        of_pair(files, pair);
    }
    if let Some(asked) = &tls.client_auth {
        let trust = [Some(&asked.ca), asked.crl.as_ref()];
        files.extend(
            trust
                .into_iter()
                .flatten()
                .map(|path| (path.clone(), Purpose::Trust)),
        );
    }
}

fn of_upstream(files: &mut Files, tls: &UpstreamTls) {
    let trust = [tls.ca.as_ref(), tls.crl.as_ref()];
    files.extend(
        trust
            .into_iter()
            .flatten()
            .map(|path| (path.clone(), Purpose::Trust)),
    );
    if let Some(pair) = &tls.client {
        of_pair(files, pair);
    }
}
