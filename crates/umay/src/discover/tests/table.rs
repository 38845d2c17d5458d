//! What follows from what the parts say.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umay_core::model::{Discovery, Endpoint, Scheme, Source, Upstream, UpstreamTls};

use super::super::entry::Wanted;
use super::super::table::{News, Report, Table};
use super::super::{MAX_ENDPOINTS, MAX_NAMES};
use super::{http, lines};
use crate::telemetry::metrics::{Origin, Update};

fn table(endpoints: Vec<Endpoint>) -> Table {
    let mut upstream = Upstream::new("app", endpoints);
    upstream.discovery = Some(Discovery {
        source: Source::Srv("x.test".to_owned()),
        scheme: Scheme::Http,
        tls: UpstreamTls::default(),
    });
    Table::new(&upstream)
}

fn good<T>(what: T) -> Report<T> {
    Report::of(Ok((what, None)))
}

fn failed<T>(lost: bool) -> Report<T> {
    let why = "it is ill".to_owned();
    Report::Failed { why, lost }
}

fn names(table: &mut Table) -> Option<usize> {
    table.new_names().map(|names| names.len())
}

fn list(endpoints: Vec<Endpoint>) -> News {
    News::Source(good(endpoints.into_iter().map(Wanted::new).collect()))
}

fn name(name: &str, addresses: &[&str]) -> News {
    let parse = |text: &&str| text.parse::<IpAddr>().unwrap();
    News::Name(name.into(), good(addresses.iter().map(parse).collect()))
}

#[test]
fn the_source_and_the_names_come_together() {
    let mut table = table(vec![http("127.0.0.1", 1), http("a.test", 2)]);
    let now = Instant::now();
    assert_eq!(lines(&table.state()), ["127.0.0.1=127.0.0.1:1"]);
    assert!(!table.state().settled);
    let counted = table.take(list(vec![http("b.test", 3), http("127.0.0.9", 4)]), now);
    assert_eq!(counted, (Origin::Srv, Update::Changed));
    assert_eq!(names(&mut table), Some(2));
    assert_eq!(names(&mut table), None);
    table.take(name("a.test", &["127.0.0.2"]), now);
    assert!(!table.state().settled && table.state().since.is_none());
    table.take(
        name("b.test", &["127.0.0.3", "::1"]),
        now + Duration::from_secs(1),
    );
    let state = table.state();
    assert!(state.settled);
    assert_eq!(state.since, Some(now));
    let all = [
        "127.0.0.1=127.0.0.1:1",
        "127.0.0.9=127.0.0.9:4",
        "a.test=127.0.0.2:2",
        "b.test=[::1]:3,127.0.0.3:3",
    ];
    assert_eq!(lines(&state), all);
    // A name that nobody wants any more goes, with whatever is still on its way.
    table.take(list(Vec::new()), now);
    assert_eq!(names(&mut table), Some(1));
    table.take(name("b.test", &["127.0.0.3"]), now);
    assert_eq!(
        lines(&table.state()),
        ["127.0.0.1=127.0.0.1:1", "a.test=127.0.0.2:2"]
    );
}

#[test]
fn another_order_is_no_change() {
    let mut table = table(Vec::new());
    let (a, b) = (http("127.0.0.1", 1), http("127.0.0.2", 1));
    table.take(list(vec![a.clone(), b.clone()]), Instant::now());
    let before = table.state().found;
    let counted = table.take(list(vec![b, a.clone(), a]), Instant::now());
    assert_eq!(counted, (Origin::Srv, Update::Unchanged));
    assert!(Arc::ptr_eq(&before, &table.state().found));
}

#[test]
fn an_address_is_found_once_in_a_scheme() {
    let tls = Endpoint::new(Scheme::Https, "127.0.0.1", 1);
    let mut table = table(vec![http("127.0.0.1", 1), http("a.test", 1), tls]);
    let now = Instant::now();
    table.take(list(vec![http("b.test", 1)]), now);
    table.take(name("a.test", &["127.0.0.1", "::1"]), now);
    table.take(name("b.test", &["127.0.0.1"]), now);
    let all = [
        "127.0.0.1=127.0.0.1:1",
        "127.0.0.1=127.0.0.1:1",
        "a.test=[::1]:1",
    ];
    assert_eq!(lines(&table.state()), all);
}

#[test]
fn what_fails_keeps_its_last_answer_until_it_is_lost() {
    let mut table = table(vec![http("a.test", 1)]);
    let now = Instant::now();
    table.take(list(vec![http("127.0.0.9", 1)]), now);
    table.take(name("a.test", &["127.0.0.1"]), now);
    let later = now + Duration::from_secs(9);
    let counted = table.take(News::Name("a.test".into(), failed(false)), later);
    assert_eq!(counted, (Origin::Dns, Update::Failed));
    let state = table.state();
    assert_eq!(state.error.as_deref(), Some("it is ill"));
    assert_eq!((state.found.len(), state.since), (2, Some(now)));
    table.take(News::Name("a.test".into(), failed(true)), later);
    assert_eq!(lines(&table.state()), ["127.0.0.9=127.0.0.9:1"]);
    table.take(News::Source(failed(false)), later);
    assert_eq!(table.state().found.len(), 1);
    let error = table.state().error.unwrap();
    assert_eq!(error, "srv: it is ill; it is ill");
}

#[test]
fn only_a_few_problems_are_told() {
    let names: Vec<String> = (0..9).map(|n| format!("n{n}.test")).collect();
    let mut table = table(names.iter().map(|name| http(name, 1)).collect());
    for name in &names {
        table.take(
            News::Name(name.as_str().into(), failed(true)),
            Instant::now(),
        );
    }
    let error = table.state().error.unwrap();
    assert_eq!(error, "it is ill; it is ill; it is ill; and 6 more");
}

#[test]
fn there_are_only_so_many_endpoints() {
    let many = |count: usize| -> Vec<Endpoint> {
        let host = |n: usize| format!("10.0.{}.{}", n / 250, n % 250);
        (0..count).map(|n| http(&host(n), 1)).collect()
    };
    let mut table = table(vec![http("127.0.0.1", 1)]);
    table.take(list(many(MAX_ENDPOINTS - 1)), Instant::now());
    assert_eq!(table.state().found.len(), MAX_ENDPOINTS);
    let counted = table.take(list(many(MAX_ENDPOINTS)), Instant::now());
    assert_eq!(counted.1, Update::Failed);
    let state = table.state();
    assert_eq!(state.found.len(), MAX_ENDPOINTS);
    assert!(
        state
            .error
            .unwrap()
            .contains("10001 endpoints are more than 10000")
    );
    table.take(list(many(3)), Instant::now());
    assert_eq!(table.state().found.len(), 4);
    assert!(table.state().error.is_none());
}

#[test]
fn there_are_only_so_many_names_and_addresses() {
    let named = |count: usize| (0..count).map(|n| http(&format!("n{n}.test"), 1)).collect();
    let mut table = table(vec![http("a.test", 1)]);
    let now = Instant::now();
    table.take(list(named(MAX_NAMES - 1)), now);
    assert_eq!(names(&mut table), Some(MAX_NAMES));
    assert_eq!(table.take(list(named(MAX_NAMES)), now).1, Update::Failed);
    assert_eq!(names(&mut table), None);
    // Few names with many addresses.
    table.take(list(Vec::new()), now);
    table.take(name("a.test", &["127.0.0.1"]), now);
    let addresses = |count: u32| {
        let ips = (0..count).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        News::Name("a.test".into(), good(ips.collect()))
    };
    table.take(addresses(10_001), now);
    assert_eq!(lines(&table.state()), ["a.test=127.0.0.1:1"]);
    assert!(
        table
            .state()
            .error
            .unwrap()
            .contains("more than 10000 addresses")
    );
    table.take(addresses(10_000), now);
    assert_eq!(table.state().found.len(), 10_000);
    assert!(table.state().error.is_none());
}
