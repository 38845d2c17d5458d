//! Upstreams: `[upstream.NAME]`.

use std::collections::BTreeMap;

use super::endpoints::{self, ORIGINAL, To};
use super::problem::Place;
use super::section::{Reader, Section, not_other};
use super::{discover, healing, picking, probe, tls};
use crate::model::{OTHER, Scheme, Upstream};

/// Upstreams by name.
pub(super) type Upstreams = BTreeMap<String, Upstream>;

/// What works on endpoints that are known beforehand.
const OF_ENDPOINTS: [&str; 10] = [
    "discover",
    "balance",
    "hash_by",
    "sticky",
    "slow_start",
    "panic",
    "probe",
    "outlier",
    "hedge",
    "tls",
];

/// Reads the named upstreams.
pub(super) fn read(reader: &mut Reader, top: &mut Section<'_>) -> Upstreams {
    let mut upstreams = Upstreams::new();
    let Some(all) = top.section(reader, "upstream") else {
        return upstreams;
    };
    for (name, place, node) in all.entries() {
        let Some(mut section) = Section::open(reader, node, "upstream.NAME") else {
            continue;
        };
        reader.places.upstreams.insert(name.clone(), place.clone());
        check_name(reader, name, place);
        let upstream = upstream(reader, &mut section, name, place);
        section.finish(reader);
        upstreams.insert(name.clone(), upstream);
    }
    upstreams
}

fn check_name(reader: &mut Reader, name: &str, place: &Place) {
    if name.is_empty() {
        reader.error_at(place, "an upstream needs a name", "");
    }
    if name == ORIGINAL {
        let message = format!("`{ORIGINAL}` means where the client was headed");
        reader.error_at(place, message, "name the upstream otherwise");
    }
    if name == OTHER {
        reader.error_at(place, not_other(), "name the upstream otherwise");
    }
    if name.contains([':', ',', '/']) {
        let message =
            format!("`{name}` could be taken for an endpoint; a name has no `:`, `,` or `/`");
        reader.error_at(place, message, "");
    }
}

fn upstream(reader: &mut Reader, section: &mut Section<'_>, name: &str, place: &Place) -> Upstream {
    let problems = reader.problems.len();
    let mut upstream = Upstream::new(name, Vec::new());
    let discovery = section
        .section(reader, "discover")
        .map(|section| discover::read(reader, section));
    upstream.discovery = discovery.flatten();
    match section.take("to").map(|node| endpoints::to(reader, node)) {
        Some(To::Original) => {
            for key in OF_ENDPOINTS {
                if let Some(place) = section.place_of(key) {
                    not_for_original(reader, place, key);
                }
            }
            upstream.discovery = Some(endpoints::original());
        }
        Some(To::Endpoints(endpoints)) => upstream.endpoints = endpoints,
        None => {}
    }
    // One that is wrong has been told of, and is one.
    let nowhere = upstream.endpoints.is_empty() && upstream.discovery.is_none();
    if nowhere && reader.problems.len() == problems {
        let hint = "add to = [\"127.0.0.1:3000\"]";
        reader.error_at(place, format!("upstream `{name}` has no endpoints"), hint);
    }
    picking::read(reader, section, &mut upstream);
    let schemes: Vec<Scheme> = upstream.schemes().collect();
    upstream.probe = section
        .section(reader, "probe")
        .and_then(|section| probe::read(reader, section, &schemes));
    upstream.outlier = healing::outlier(reader, section);
    upstream.retry = healing::retry(reader, section, name);
    upstream.hedge = section
        .section(reader, "hedge")
        .map(|section| healing::hedge(reader, section));
    upstream.limits = section
        .section(reader, "limits")
        .map(|section| healing::limits(reader, section))
        .unwrap_or_default();
    upstream.tls = section
        .section(reader, "tls")
        .map(|section| tls::read(reader, section, "endpoints"))
        .unwrap_or_default();
    for key in ["hash_by", "sticky", "hedge", "panic"] {
        if let Some(place) = section.place_of(key) {
            let told = &mut reader.places.told;
            told.insert((name.to_owned(), key), place.clone());
        }
    }
    upstream
}

/// Complains about what there is no choice for.
pub(super) fn not_for_original(reader: &mut Reader, place: &Place, key: &str) {
    let message =
        format!("`{key}` has nothing to work on: connections go where clients were headed");
    reader.error_at(place, message, "take it out, or name endpoints");
}
