//! Host patterns: a map from them, and the reading of hosts.

use std::collections::HashMap;

use crate::model::HostPattern;

/// Longest name that a pattern can match (RFC 1035 section 2.3.4, in text).
const MAX_HOST: usize = 253;

/// Values by host pattern.
#[derive(Debug, Default)]
pub(super) struct HostMap<T> {
    exact: HashMap<Box<[u8]>, T>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<[u8]>, T>,
    any: T,
}

impl<T: Default> HostMap<T> {
    /// The value of a pattern, made if it is new.
    pub(super) fn entry(&mut self, pattern: &HostPattern) -> &mut T {
        let key = |name: &str| bare(name.as_bytes()).to_ascii_lowercase().into();
        match pattern {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(key(name)).or_default(),
            HostPattern::Wildcard(name) => self.wildcard.entry(key(name)).or_default(),
        }
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let named = self.exact.values_mut().chain(self.wildcard.values_mut());
        named.chain([&mut self.any])
    }

    /// Visits the values whose patterns match a host, the most specific first, until one answers.
    pub(super) fn find<'a, R>(
        &'a self,
        host: &[u8],
        mut visit: impl FnMut(&'a T) -> Option<R>,
    ) -> Option<R> {
        let host = bare(host);
        let mut buffer = [0; MAX_HOST];
        if let (false, Some(folded)) = (host.is_empty(), buffer.get_mut(..host.len())) {
            folded.copy_from_slice(host);
            folded.make_ascii_lowercase();
            let found = self.named(folded).find_map(&mut visit);
            if found.is_some() {
                return found;
            }
        }
        visit(&self.any)
    }

    /// The values that match a lower-case host by name, the most specific first.
    fn named<'a, 'h>(&'a self, host: &'h [u8]) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let exact = self.exact.get(host);
        let dots = if self.wildcard.is_empty() { &[] } else { host };
        let dots = dots.iter().enumerate().skip(1).filter(|(_, b)| **b == b'.');
        let parents = dots.filter_map(|(dot, _)| host.get(dot + 1..));
        exact
            .into_iter()
            .chain(parents.filter_map(|parent| self.wildcard.get(parent)))
    }
}

/// True if a pattern fits a name, in any case. No name is fitted by [`HostPattern::Any`] only.
pub(super) fn fits(pattern: &HostPattern, name: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        _ if name.is_empty() => false,
        HostPattern::Exact(exact) => exact.eq_ignore_ascii_case(name),
        HostPattern::Wildcard(parent) => {
            let split = name.len().checked_sub(parent.len() + 1);
            let parts = split.and_then(|split| name.split_at_checked(split));
            parts.is_some_and(|(front, tail)| {
                let tail = tail.strip_prefix('.');
                !front.is_empty() && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(parent))
            })
        }
    }
}

/// Splits an authority into host and port. An IPv6 address comes without its brackets. The port is
/// `None` if there is none, or if it is empty (RFC 3986 section 3.2.3). What is no port is left
/// with the host.
pub fn split_authority(authority: &[u8]) -> (&[u8], Option<u16>) {
    let Some(colon) = memchr::memrchr(b':', authority) else {
        return (unbracketed(authority), None);
    };
    let (host, port) = authority.split_at(colon);
    let digits = port.get(1..).unwrap_or_default();
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|d| d.parse().ok());
    let is_port = digits.iter().all(u8::is_ascii_digit) && number.is_some() != digits.is_empty();
    // A colon inside of an IPv6 address begins no port, with or without brackets.
    let whole_host = !host.contains(&b':') || host.ends_with(b"]");
    if is_port && whole_host {
        (unbracketed(host), number)
    } else {
        (unbracketed(authority), None)
    }
}

/// A host without brackets and without the dot that may end a name.
fn bare(host: &[u8]) -> &[u8] {
    let host = unbracketed(host);
    host.strip_suffix(b".").unwrap_or(host)
}

fn unbracketed(host: &[u8]) -> &[u8] {
    let inner = host
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"));
    inner.unwrap_or(host)
}
