//! What a route asks of a request besides host and path.

use super::{ClientCertFacts, HttpQuery, RouteIdx, hosts, or_any};
use crate::message::{FieldId, Fields};
use crate::model::{Action, ClientCertMatch, HeaderMatch, HostPattern, Route};

/// What a route asks of a request besides host and path.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) route: RouteIdx,
    methods: Vec<Vec<u8>>,
    headers: Vec<HeaderCondition>,
    sni: Vec<HostPattern>,
    client_cert: Option<ClientCertMatch>,
    /// Takes nothing that came over TLS.
    only_insecure: bool,
}

#[derive(Debug)]
struct HeaderCondition {
    id: FieldId,
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Condition {
    pub(super) fn of(idx: RouteIdx, route: &Route) -> Self {
        let matches = &route.matches;
        let header = |header: &HeaderMatch| HeaderCondition {
            id: FieldId::of(header.name.as_bytes()),
            name: header.name.clone().into_bytes(),
            value: header.value.clone().map(String::into_bytes),
        };
        Self {
            route: idx,
            methods: matches
                .methods
                .iter()
                .map(|m| m.clone().into_bytes())
                .collect(),
            headers: matches.headers.iter().map(header).collect(),
            sni: matches.sni.clone(),
            client_cert: matches.client_cert.clone(),
            only_insecure: only_insecure(route),
        }
    }

    pub(super) fn holds(&self, class: SniClass, query: &HttpQuery<'_>) -> bool {
        !(self.only_insecure && query.secure)
            && (self.methods.is_empty() || self.methods.iter().any(|method| method == query.method))
            && self.headers.iter().all(|header| header.holds(query.fields))
            && self.names_server(class, query.sni.unwrap_or_default())
            && proves(self.client_cert.as_ref(), query.client_cert)
    }

    /// True if one of the patterns of this class fits the server name.
    fn names_server(&self, class: SniClass, name: &str) -> bool {
        let fits = |pattern| class_of(pattern) == class && hosts::fits(pattern, name);
        class == SniClass::Any || self.sni.iter().any(fits)
    }
}

impl HeaderCondition {
    fn holds(&self, fields: &Fields) -> bool {
        fields.iter().any(|(id, name, value)| {
            id == self.id
                && (id != FieldId::Other || name.eq_ignore_ascii_case(&self.name))
                && self.value.as_ref().is_none_or(|wanted| wanted == value)
        })
    }
}

/// True for a route that sends clients to the same place over TLS: who has come over TLS is there,
/// and would be sent around for ever.
pub(crate) fn only_insecure(route: &Route) -> bool {
    match &route.action {
        Action::Redirect(to) => {
            to.scheme.as_deref() == Some("https") && to.host.is_none() && to.path.is_none()
        }
        _ => false,
    }
}

/// True if a certificate proves what is asked for, or nothing is asked for.
pub(super) fn proves(asked: Option<&ClientCertMatch>, facts: Option<&ClientCertFacts>) -> bool {
    let Some(asked) = asked else { return true };
    let Some(facts) = facts else { return false };
    let has_name = |name| facts.common_name.as_ref() == Some(name);
    asked.common_name.as_ref().is_none_or(has_name)
        && asked
            .san
            .as_ref()
            .is_none_or(|san| facts.sans.contains(san))
        && asked
            .sha256
            .as_ref()
            .is_none_or(|sha256| facts.sha256 == *sha256)
}

/// The kinds of patterns for server names, the least specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SniClass {
    Any,
    Wildcard,
    Exact,
}

pub(super) fn class_of(pattern: &HostPattern) -> SniClass {
    match pattern {
        HostPattern::Any => SniClass::Any,
        HostPattern::Wildcard(_) => SniClass::Wildcard,
        HostPattern::Exact(_) => SniClass::Exact,
    }
}

/// The classes that occur among a route's patterns for server names.
pub(super) fn sni_classes(patterns: &[HostPattern]) -> impl Iterator<Item = SniClass> {
    [SniClass::Any, SniClass::Wildcard, SniClass::Exact]
        .into_iter()
        .filter(|class| {
            or_any(patterns)
                .iter()
                .any(|pattern| class_of(pattern) == *class)
        })
}
