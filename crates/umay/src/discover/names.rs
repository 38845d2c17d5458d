//! Following names: the addresses of one, and SRV records (RFC 2782).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::rdata::SRV;
use tokio::sync::mpsc;
use tokio::time::sleep;
use umay_core::model::{Dns, Scheme};

use super::entry::{Gathered, Wanted, located, scale};
use super::pace::{Backoff, LEAST};
use super::resolver::{Addresses, Family, Resolver};
use super::table::{News, Report};

/// Asks for a name's addresses again and again.
pub(super) async fn follow(name: Arc<str>, resolver: Arc<Resolver>, news: mpsc::Sender<News>) {
    let mut held = Held::default();
    let mut rhythm = Rhythm::new(resolver.dns());
    loop {
        let answer = resolver.addresses(&name).await;
        let grace = resolver.dns().grace;
        let answer = answer.and_then(|addresses| held.take(&name, addresses, grace));
        let (report, wait) = rhythm.take(answer);
        if news
            .send(News::Name(Arc::clone(&name), report))
            .await
            .is_err()
        {
            return;
        }
        sleep(wait).await;
    }
}

/// Asks for a name's SRV records again and again.
pub(super) async fn follow_srv(
    name: String,
    scheme: Scheme,
    resolver: Arc<Resolver>,
    news: mpsc::Sender<News>,
) {
    let mut rhythm = Rhythm::new(resolver.dns());
    loop {
        let answer = resolver.srv(&name).await;
        let answer =
            answer.and_then(|(records, ttl)| Ok((endpoints(&name, &records, scheme)?, ttl)));
        let answer = answer.map(|((what, complaint), ttl)| (what, complaint, ttl));
        let (report, wait) = rhythm.take(answer);
        if news.send(News::Source(report)).await.is_err() {
            return;
        }
        sleep(wait).await;
    }
}

/// When to ask again, and until when the last good answer counts.
struct Rhythm<'a> {
    dns: &'a Dns,
    backoff: Backoff,
    good: Option<Instant>,
}

impl<'a> Rhythm<'a> {
    fn new(dns: &'a Dns) -> Self {
        Self {
            dns,
            backoff: Backoff::up_to(dns.max_ttl),
            good: None,
        }
    }

    /// Turns an answer (what, what is wrong all the same, its TTL) into a report and the wait until the
    /// next question.
    fn take<T>(
        &mut self,
        answer: Result<(T, Option<String>, Duration), String>,
    ) -> (Report<T>, Duration) {
        match answer {
            Ok((what, complaint, ttl)) => {
                self.good = Some(Instant::now());
                let wait = if complaint.is_some() {
                    ttl.min(self.backoff.next()).max(self.dns.min_ttl)
                } else {
                    self.backoff.reset();
                    ttl
                };
                (Report::Good { what, complaint }, wait.max(LEAST))
            }
            Err(why) => {
                let wait = self.backoff.next();
                let left = self
                    .good
                    .map(|good| self.dns.grace.saturating_sub(good.elapsed()));
                let left = left.filter(|left| !left.is_zero());
                let report = Report::Failed {
                    why,
                    lost: left.is_none(),
                };
                // Not to be used longer than that because of the pause.
                let wait = left.map_or(wait, |left| wait.min(left));
                (report, wait.max(LEAST))
            }
        }
    }
}

/// The last good addresses of each kind, since one kind can fail alone.
#[derive(Default)]
struct Held {
    v4: Kept,
    v6: Kept,
}

type Kept = Option<(Vec<IpAddr>, Instant)>;

impl Held {
    /// All addresses that count now, what is wrong all the same, and the TTL; or why there are none.
    fn take(
        &mut self,
        name: &str,
        addresses: Addresses,
        grace: Duration,
    ) -> Result<(Vec<IpAddr>, Option<String>, Duration), String> {
        let Addresses { v4, v6, ttl } = addresses;
        let (mut all, complaint) = keep(&mut self.v4, v4, grace);
        let (more, other) = keep(&mut self.v6, v6, grace);
        all.extend(more);
        if all.is_empty() {
            // Those that it has were left out.
            return Err(format!("`{name}` has no address that can be connected to"));
        }
        Ok((all, complaint.or(other), ttl))
    }
}

/// The addresses of one kind that count now. That a kind cannot be had matters only if there were such
/// addresses: some servers never answer about IPv6.
fn keep(kept: &mut Kept, family: Family, grace: Duration) -> (Vec<IpAddr>, Option<String>) {
    match family {
        Ok(addresses) => {
            *kept = Some((addresses.clone(), Instant::now()));
            (addresses, None)
        }
        Err(why) => match kept {
            Some((addresses, good)) if !addresses.is_empty() && good.elapsed() < grace => {
                (addresses.clone(), Some(why))
            }
            _ => (Vec::new(), None),
        },
    }
}

/// The endpoints of SRV records: the lower the number of a record's priority, the more it is wanted;
/// weights count within a priority.
fn endpoints(
    name: &str,
    records: &[SRV],
    scheme: Scheme,
) -> Result<(Vec<Wanted>, Option<String>), String> {
    // A root for a target says that there is decidedly nothing (RFC 2782).
    let records: Vec<&SRV> = records.iter().filter(|srv| !srv.target.is_root()).collect();
    if records.is_empty() {
        return Err(format!("`{name}` says that there is nothing"));
    }
    let priorities: BTreeSet<u16> = records.iter().map(|srv| srv.priority).collect();
    let mut gathered = Gathered::default();
    for srv in &records {
        let beside = records
            .iter()
            .filter(|other| other.priority == srv.priority);
        let most = beside.map(|other| other.weight).max().unwrap_or(1);
        let rank = priorities.range(..srv.priority).count();
        let target = srv.target.to_ascii();
        let host = target.trim_end_matches('.');
        let endpoint = located(host, srv.port, scheme).map(|mut endpoint| {
            endpoint.weight = scale(srv.weight.into(), most.into());
            endpoint.priority = u32::try_from(rank).unwrap_or(u32::MAX);
            Wanted {
                endpoint,
                absolute: true,
            }
        });
        gathered.add(name, endpoint);
    }
    gathered.end()
}
