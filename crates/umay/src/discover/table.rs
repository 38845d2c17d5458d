//! What each part has answered last, and the endpoints that follow from all of it. Without I/O.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use umay_core::model::{self, Scheme};

use super::entry::Wanted;
use super::{Found, MAX_ENDPOINTS, MAX_NAMES, State, origin};
use crate::telemetry::metrics::{Origin, Update};

/// The problems that are told at a time; of the others only how many there are.
const TOLD: usize = 3;

/// What a part reports.
#[derive(Debug)]
pub(super) enum News {
    /// The source has answered, or not.
    Source(Report<Vec<Wanted>>),
    /// A name has.
    Name(Arc<str>, Report<Vec<IpAddr>>),
}

/// An answer, or why there is none.
#[derive(Debug)]
pub(super) enum Report<T> {
    /// An answer.
    Good {
        /// All of it.
        what: T,
        /// What is wrong all the same.
        complaint: Option<String>,
    },
    /// None that can be used.
    Failed {
        /// Why.
        why: String,
        /// The last good answer does not count any more.
        lost: bool,
    },
}

impl<T> Report<T> {
    /// An answer that could, or could not, be made use of.
    pub(super) fn of(answer: Result<(T, Option<String>), String>) -> Self {
        match answer {
            Ok((what, complaint)) => Self::Good { what, complaint },
            Err(why) => Self::Failed { why, lost: false },
        }
    }
}

/// One that is asked.
#[derive(Debug)]
struct Part<T> {
    last: Option<T>,
    complaint: Option<String>,
    good: Option<Instant>,
    answered: bool,
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self {
            last: None,
            complaint: None,
            good: None,
            answered: false,
        }
    }
}

impl<T: PartialEq> Part<T> {
    /// Takes a report; tells what is new, and whether what counts is another than before.
    fn take(&mut self, report: Report<T>, now: Instant) -> (Update, bool) {
        self.answered = true;
        match report {
            Report::Good { what, complaint } => {
                self.good = Some(now);
                self.complaint = complaint;
                let changed = self.last.as_ref() != Some(&what);
                self.last = Some(what);
                let update = if changed {
                    Update::Changed
                } else {
                    Update::Unchanged
                };
                (update, changed)
            }
            Report::Failed { why, lost } => {
                self.complaint = Some(why);
                let changed = lost && self.last.take().is_some();
                (Update::Failed, changed)
            }
        }
    }
}

/// An upstream's parts and endpoints.
#[derive(Debug)]
pub(super) struct Table {
    configured: Vec<Wanted>,
    source: Option<(Origin, Part<Vec<Wanted>>)>,
    names: BTreeMap<Arc<str>, Part<Vec<IpAddr>>>,
    /// Which names there are has changed since somebody asked.
    renamed: bool,
    found: Arc<[Found]>,
    /// There would be too many endpoints, so `found` is what there was before.
    overflow: Option<String>,
}

impl Table {
    /// A table in which nothing has been answered yet.
    pub(super) fn new(upstream: &model::Upstream) -> Self {
        let configured = upstream.endpoints.iter().cloned().map(Wanted::new);
        let discovery = upstream.discovery.as_ref();
        let source = discovery.and_then(|discovery| origin(&discovery.source));
        let mut table = Self {
            configured: configured.collect(),
            source: source.map(|origin| (origin, Part::default())),
            names: BTreeMap::new(),
            renamed: false,
            found: Arc::default(),
            overflow: None,
        };
        table.follow();
        table.build();
        table
    }

    /// The names to follow, if they are others than when this was called last.
    pub(super) fn new_names(&mut self) -> Option<HashSet<Arc<str>>> {
        std::mem::take(&mut self.renamed).then(|| self.names.keys().cloned().collect())
    }

    /// Takes a report; tells how to count it.
    pub(super) fn take(&mut self, news: News, now: Instant) -> (Origin, Update) {
        match news {
            News::Source(report) => {
                let report = self.checked(report);
                let Some((origin, part)) = &mut self.source else {
                    return (Origin::Dns, Update::Unchanged);
                };
                let (update, changed) = part.take(report, now);
                let origin = *origin;
                if changed {
                    self.follow();
                    self.build();
                }
                (origin, update)
            }
            News::Name(name, report) => {
                // It may have been given up while the report was on its way.
                let Some(part) = self.names.get_mut(&name) else {
                    return (Origin::Dns, Update::Unchanged);
                };
                let (update, changed) = part.take(report, now);
                if changed {
                    self.build();
                }
                (Origin::Dns, update)
            }
        }
    }

    /// The present state.
    pub(super) fn state(&self) -> State {
        let source = self.source.as_ref().map(|(_, part)| part);
        let goods = source.map(|part| part.good).into_iter();
        let goods = goods.chain(self.names.values().map(|part| part.good));
        // The oldest; none is older than any.
        let since = goods.min().flatten();
        let names_settled = self.names.values().all(|part| part.answered);
        State {
            found: Arc::clone(&self.found),
            error: self.error(),
            since,
            settled: names_settled && source.is_none_or(|part| part.answered),
        }
    }

    /// A source's list in an order of its own, unless it is too long.
    fn checked(&self, report: Report<Vec<Wanted>>) -> Report<Vec<Wanted>> {
        let Report::Good {
            what: mut list,
            complaint,
        } = report
        else {
            return report;
        };
        list.sort_unstable();
        list.dedup();
        let refused = |why| Report::Failed { why, lost: false };
        let count = list.len() + self.configured.len();
        if count > MAX_ENDPOINTS {
            return refused(too_many(count, MAX_ENDPOINTS, "endpoints"));
        }
        let names = self.wanted_names(&list).len();
        if names > MAX_NAMES.max(self.wanted_names(&[]).len()) {
            return refused(too_many(names, MAX_NAMES, "names"));
        }
        Report::Good {
            what: list,
            complaint,
        }
    }

    fn wanted_names(&self, list: &[Wanted]) -> BTreeSet<String> {
        let wanted = self.configured.iter().chain(list);
        let named = wanted.filter(|wanted| wanted.literal().is_none());
        named.map(Wanted::name).collect()
    }

    fn sourced(&self) -> &[Wanted] {
        let source = self.source.as_ref();
        source
            .and_then(|(_, part)| part.last.as_deref())
            .unwrap_or_default()
    }

    /// Begins to follow the names that are new, and gives up those that nobody wants any more.
    fn follow(&mut self) {
        self.renamed = true;
        let wanted = self.wanted_names(self.sourced());
        self.names.retain(|name, _| wanted.contains(&**name));
        for name in wanted {
            self.names.entry(name.into()).or_default();
        }
    }

    fn build(&mut self) {
        let mut found = Vec::new();
        let mut taken = HashSet::new();
        for wanted in self.configured.iter().chain(self.sourced()) {
            match wanted.literal() {
                Some(address) => place(wanted, &[address], &mut taken, &mut found),
                None => {
                    let part = self.names.get(&*wanted.name());
                    let addresses = part.and_then(|part| part.last.as_deref());
                    place(
                        wanted,
                        addresses.unwrap_or_default(),
                        &mut taken,
                        &mut found,
                    );
                }
            }
            if found.len() > MAX_ENDPOINTS {
                let many = format!("the names have more than {MAX_ENDPOINTS} addresses");
                self.overflow = Some(many);
                return;
            }
        }
        self.overflow = None;
        if found != *self.found {
            self.found = found.into();
        }
    }

    fn error(&self) -> Option<String> {
        let source = self.source.iter().filter_map(|(origin, part)| {
            let why = part.complaint.as_ref()?;
            Some(format!("{}: {why}", origin.as_str()))
        });
        let names = self.names.values();
        let names = names.filter_map(|part| part.complaint.clone());
        let mut all = self.overflow.iter().cloned().chain(source).chain(names);
        let told: Vec<String> = all.by_ref().take(TOLD).collect();
        match (told.is_empty(), all.count()) {
            (true, _) => None,
            (_, 0) => Some(told.join("; ")),
            (_, more) => Some(format!("{}; and {more} more", told.join("; "))),
        }
    }
}

/// Adds an endpoint with those of its addresses that no other of its scheme has.
fn place(
    wanted: &Wanted,
    addresses: &[IpAddr],
    taken: &mut HashSet<(Scheme, SocketAddr)>,
    found: &mut Vec<Found>,
) {
    let endpoint = &wanted.endpoint;
    let raced = matches!(addresses, [a, b] if a.is_ipv4() != b.is_ipv4());
    let mut new: Vec<SocketAddr> = addresses
        .iter()
        .map(|address| SocketAddr::new(*address, endpoint.port))
        .filter(|address| taken.insert((endpoint.scheme, *address)))
        .collect();
    let found_at = |addresses| Found {
        endpoint: endpoint.clone(),
        addresses,
    };
    if raced && !new.is_empty() {
        new.sort_by_key(SocketAddr::is_ipv4);
        found.push(found_at(new));
    } else {
        found.extend(new.into_iter().map(|address| found_at(vec![address])));
    }
}

fn too_many(count: usize, most: usize, what: &str) -> String {
    format!("{count} {what} are more than {most}")
}
