//! How the endpoints of an upstream are now.

use serde_json::{Value, json};

use crate::upstream::Upstream;

/// Each endpoint, and whether requests, or else streams, go to it.
pub(super) fn endpoints(upstream: &Upstream, is_request: bool) -> Value {
    let roster = upstream.roster();
    let now = upstream.now();
    let told = roster.members.iter().map(|member| {
        let turn = match is_request {
            true => roster.requests_to(&member.endpoint),
            false => roster.streams_to(&member.endpoint),
        };
        let mut told = member.told(now);
        if let Some(told) = told.as_object_mut() {
            told.insert("pick".to_owned(), json!(turn.as_str()));
        }
        told
    });
    told.collect()
}

/// What is to be known of its discovery.
pub(super) fn note(upstream: &Upstream) -> Option<String> {
    let roster = upstream.roster();
    if upstream.is_original_destination() {
        None
    } else if !roster.problem.is_empty() {
        Some(format!(
            "its endpoints are those of before: {}",
            roster.problem
        ))
    } else if !roster.known {
        Some("not all its endpoints are known yet".to_owned())
    } else {
        None
    }
}
