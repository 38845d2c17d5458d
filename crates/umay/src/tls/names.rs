//! Which certificate a name gets: an index from the names inside certificates to certificates, which
//! are numbers here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

/// A certificate, by its place in the listener's list.
pub(super) type Id = usize;

/// Certificates by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<Box<str>, Vec<Id>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Vec<Id>>,
    /// For clients that send no name.
    nameless: Id,
    /// Those that ask for an unknown name get it too.
    serves_unknown: bool,
}

impl Names {
    /// An empty index. `nameless` is for clients that send no name, and, if `serves_unknown`, for
    /// those that ask for a name that no certificate has.
    pub(super) fn new(nameless: Id, serves_unknown: bool) -> Self {
        Self {
            nameless,
            serves_unknown,
            ..Self::default()
        }
    }

    /// Adds a certificate with its names. Of several for one name, the first added is wanted most.
    pub(super) fn add(&mut self, id: Id, names: &[String]) {
        for name in names {
            let name = fold(name);
            let (map, key) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent),
                None => (&mut self.exact, name.as_ref()),
            };
            let ids = map.entry(key.into()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }

    /// True if each name here has a certificate in the other index, too.
    pub(super) fn are_all_in(&self, other: &Self) -> bool {
        let exact = self.exact.keys().all(|name| other.exact.contains_key(name));
        let known = |name| other.wildcard.contains_key(name);
        exact && self.wildcard.keys().all(known)
    }

    /// The certificates for a server name, the most wanted first: those with the name itself, else
    /// those with its wildcard, which stands for one label (RFC 9525 section 6.3). `None` if the
    /// name is unknown; never empty.
    pub(super) fn pick(&self, sni: Option<&str>) -> Option<&[Id]> {
        let nameless = std::slice::from_ref(&self.nameless);
        let Some(name) = sni else {
            return Some(nameless);
        };
        let name = fold(name);
        let (exact, wildcard) = self.holders(&name);
        let unknown = self.serves_unknown.then_some(nameless);
        exact.or(wildcard).or(unknown)
    }

    /// True if a request for `host` may come over a connection that was made for `sni`; if not, it is
    /// misdirected (RFC 9110 section 15.5.20).
    ///
    /// It may if the certificate that the name got covers the host, or if the host would get the same
    /// one. It may also if there is nothing to compare: without a server name, or for an address.
    pub(super) fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        let Some(sni) = sni else { return true };
        let (sni, host) = (fold(sni), fold(host));
        if sni == host || is_address(&host) {
            return true;
        }
        let Some(chosen) = self.pick(Some(&sni)) else {
            return false;
        };
        let (exact, wildcard) = self.holders(&host);
        let holders = exact.into_iter().chain(wildcard).flatten();
        let is_covered = holders.copied().any(|id| chosen.contains(&id));
        is_covered || self.pick(Some(&host)) == Some(chosen)
    }

    /// The certificates with a folded name itself, and those with its wildcard.
    fn holders(&self, name: &str) -> (Option<&[Id]>, Option<&[Id]>) {
        let exact = self.exact.get(name).map(Vec::as_slice);
        let parent = match name.split_once('.') {
            Some((label, parent)) if !label.is_empty() => parent,
            _ => return (exact, None),
        };
        (exact, self.wildcard.get(parent).map(Vec::as_slice))
    }
}

/// A name in lower case, without the dot that may end it.
fn fold(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn is_address(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(serves_unknown: bool) -> Names {
        let mut names = Names::new(0, serves_unknown);
        for (id, list) in [
            (0, &["a.example", "b.example"][..]),
            (1, &["*.example"]),
            (2, &["c.example", "C.Example."]),
            (3, &["c.example", "d.c.example"]),
        ] {
            let list: Vec<String> = list.iter().map(|n| (*n).to_owned()).collect();
            names.add(id, &list);
        }
        names
    }

    #[test]
    fn exact_before_wildcard() {
        for (sni, ids) in [
            (None, Some(&[0][..])),
            (Some("a.example"), Some(&[0])),
            (Some("A.EXAMPLE."), Some(&[0])),
            (Some("x.example"), Some(&[1])),
            (Some("c.example"), Some(&[2, 3])),
            (Some("d.c.example"), Some(&[3])),
            (Some("e.c.example"), None),
            (Some("example"), None),
            (Some(".example"), None),
            (Some("*.example"), Some(&[1])),
            (Some(""), None),
        ] {
            assert_eq!(names(false).pick(sni), ids, "{sni:?}");
            assert_eq!(names(true).pick(sni), ids.or(Some(&[0])), "{sni:?}");
        }
    }

    #[test]
    fn tells_misdirected_requests() {
        for (sni, host, covered) in [
            (None, "x.test", true),
            (Some("a.example"), "a.example", true),
            (Some("a.example"), "A.Example.", true),
            (Some("a.example"), "b.example", true),
            (Some("a.example"), "127.0.0.1", true),
            (Some("a.example"), "::1", true),
            (Some("a.example"), "[::1]", true),
            (Some("a.example"), "c.example", false),
            // A wildcard covers a name even if another certificate has it exactly.
            (Some("x.example"), "a.example", true),
            (Some("x.example"), "y.example", true),
            (Some("a.example"), "x.example", false),
            (Some("a.example"), "x.test", false),
            (Some("c.example"), "d.c.example", true),
            (Some("a.example"), "", false),
        ] {
            assert_eq!(names(false).covers(sni, host), covered, "{sni:?} {host}");
        }
        // Unknown names share the default certificate, and nothing else.
        assert!(names(true).covers(Some("x.test"), "y.test"));
        assert!(names(true).covers(Some("x.test"), "a.example"));
        assert!(!names(true).covers(Some("x.test"), "c.example"));
        assert!(!names(true).covers(Some("c.example"), "x.test"));
        assert!(names(true).covers(Some("a.example"), "x.test"));
    }
}
