//! What is written, read with the types that OpenTelemetry publishes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use umay_core::message::Method;
use umay_test::collected::{Point, exposed, points, prometheus_name, series};

use super::super::{Exchange, Format, Kind, RouteMetrics};
use super::*;

/// What the parts say, each in a message of its own.
fn read(parts: &[Points]) -> Vec<Point> {
    let mut all = Vec::new();
    for part in parts {
        let mut message = Vec::new();
        nested(&mut message, 1, |out| {
            nested(out, 2, |out| {
                nested(out, 1, |out| bytes(out, 1, b"umay"));
                out.extend_from_slice(&part.bytes);
            });
        });
        let found = points(&message).unwrap();
        assert_eq!(found.len() as u64, part.count);
        all.extend(found);
    }
    all
}

fn told(registry: &Registry, histograms: Histograms) -> Vec<Point> {
    read(&Starts::default().collect(registry, histograms, UNIX_EPOCH))
}

/// A request that took so long.
fn serve(route: &RouteMetrics, worker: usize, millis: u64, trace_id: Option<u128>) {
    let exchange = Exchange {
        method: Method::Get,
        status: 200,
        duration: Duration::from_millis(millis),
        trace_id,
        bytes_in: 1,
        bytes_out: 2,
    };
    route.count(worker, &exchange);
}

/// A registry in which each kind of thing has happened.
fn busy() -> (Arc<Registry>, impl Sized) {
    let registry = Registry::new(2);
    let route = registry.route("web \"one\" ü");
    let upstream = registry.upstream("app");
    for worker in 0..2 {
        let worker = registry.worker(worker).unwrap();
        worker.connections.accepted.add(3);
        worker.connections.active.up();
    }
    for (worker, millis) in [(0, 1), (0, 125), (1, 126), (1, 90_000)] {
        serve(&route, worker, millis, None);
    }
    let discovery = registry.discovery("app");
    (registry, (route, upstream, discovery))
}

/// All families, as a sink gets them.
#[derive(Default)]
struct Families(Vec<(String, Kind)>);

impl Sink for Families {
    fn family(&mut self, family: &Family<'_>) {
        self.0.push((family.name.to_owned(), family.kind));
    }

    fn series(&mut self, _: Labels<'_>, _: Value<'_>) {}
}

#[test]
fn a_collector_comes_to_our_names_again() {
    let (registry, _kept) = busy();
    let mut families = Families::default();
    registry.describe(&mut families);
    let mut names = BTreeSet::new();
    for (ours, kind) in &families.0 {
        let family = Family {
            name: ours,
            help: "",
            kind: *kind,
        };
        let Named { name, unit, shape } = named(&family);
        assert!(names.insert(name.clone()), "{name} twice");
        let word = match shape {
            Shape::Sum { monotonic: true } => "counter",
            _ => "",
        };
        let wanted = match kind {
            Kind::Counter => format!("{ours}_total"),
            Kind::Info => format!("{ours}_info"),
            _ => ours.clone(),
        };
        match name.as_str() {
            // These have the names that OpenTelemetry gives them.
            "process.cpu.time" | "process.memory.usage" | "process.unix.file_descriptor.count" => {}
            _ => assert_eq!(
                prometheus_name(&name, &unit, word),
                wanted,
                "{name} in {unit:?}"
            ),
        }
    }
    assert!(names.len() > 50);
}

#[test]
fn all_of_the_page_is_told() {
    let (registry, _kept) = busy();
    let page = String::from_utf8(registry.encode(Format::Classic)).unwrap();
    let found = told(&registry, Histograms::Explicit);
    for point in &found {
        assert!(!point.help.is_empty() && point.time > 0, "{point:?}");
        let start = UNIX_EPOCH + Duration::from_nanos(point.start);
        match point.kind {
            "gauge" => assert_eq!(point.start, 0),
            _ => assert_eq!(start, registry.started(), "{point:?}"),
        }
    }
    let ours = series(&found);
    let page = exposed(&page);
    let page = page.iter().filter(|(series, _)| {
        // Time goes on, and so does the process.
        !series.contains("_bucket{")
            && !series.contains("_age_seconds")
            && !series.starts_with("process_")
            && !series.starts_with("target_info")
    });
    let mut checked = 0;
    for (series, value) in page {
        assert_eq!(ours.get(series), Some(value), "{series}");
        checked += 1;
    }
    assert!(checked > 60, "{checked}");
    let route = found
        .iter()
        .find(|point| point.kind == "explicit" && point.value > 0.0);
    let counts = |point: &Point| -> u64 { point.buckets.iter().map(|(.., n)| n).sum() };
    assert_eq!(
        route.map(|point| (counts(point), point.get("route"))),
        Some((4, "web \"one\" ü"))
    );
}

#[test]
fn fine_buckets_hold_what_was_observed() {
    let (registry, _kept) = busy();
    let found = told(&registry, Histograms::Exponential);
    assert!(found.iter().all(|point| point.kind != "explicit"));
    let name = "umay.http.request.duration";
    let point = found.iter().find(|point| point.name == name).unwrap();
    assert_eq!((point.value, point.buckets[0].2), (4.0, 0));
    let used = point.buckets.iter().filter(|(.., count)| *count > 0);
    let used: Vec<_> = used.collect();
    // 0.125 is a bound, and belongs to the bucket below it.
    for ((lower, upper, count), seconds) in used.iter().zip([0.001, 0.125, 0.126, 90.0]) {
        let near = 1.0 + 1e-12;
        assert!(
            seconds > *lower * near && seconds <= *upper * near,
            "{seconds}"
        );
        assert!(upper / lower < 1.0906 && *count == 1);
    }
    assert_eq!(used.len(), 4);
    // What nobody has used has no buckets.
    let none = found
        .iter()
        .find(|point| point.name == "umay.worker.lag")
        .unwrap();
    assert_eq!((none.value, none.buckets.len()), (0.0, 1));
}

#[test]
fn what_is_measured_is_left_to_the_resource() {
    let registry = Registry::new(1);
    let mut starts = Starts::default();
    let round = starts.begin(SystemTime::now(), registry.started());
    let mut writer = Writer::new(round, Histograms::Explicit, 0);
    for name in ["target", "umay_build"] {
        let kind = Kind::Info;
        writer.family(&Family {
            name,
            help: "Help",
            kind,
        });
        writer.series(&[("version", "1")], Value::Number(Number::Whole(1)));
    }
    let told = read(&writer.finish());
    let names: Vec<_> = told.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(names, ["umay.build.info"]);
}

#[test]
fn exemplars_are_told_once() {
    let registry = Registry::new(1);
    let route = registry.route("web");
    serve(&route, 0, 3, Some(0xabc));
    let mut starts = Starts::default();
    for histograms in [Histograms::Explicit, Histograms::Exponential] {
        let told = read(&starts.collect(&registry, histograms, UNIX_EPOCH));
        let all: Vec<_> = told.iter().flat_map(|point| &point.exemplars).collect();
        assert_eq!(all, [&(format!("{:032x}", 0xabc), 0.003)]);
        let later = SystemTime::now() + Duration::from_secs(1);
        let told = read(&starts.collect(&registry, histograms, later));
        assert!(told.iter().all(|point| point.exemplars.is_empty()));
    }
}

#[test]
fn what_is_much_is_told_in_parts() {
    let registry = Registry::new(1);
    let routes: Vec<_> = (0..900)
        .map(|number| registry.route(&format!("{number:0600}")))
        .collect();
    for route in &routes {
        serve(route, 0, 3, None);
    }
    let parts = Starts::default().collect(&registry, Histograms::Explicit, UNIX_EPOCH);
    assert!(parts.len() > 3, "{}", parts.len());
    for part in &parts {
        assert!(part.bytes.len() < 1024 * 1024, "{}", part.bytes.len());
    }
    let mut series = BTreeSet::new();
    let found = read(&parts);
    for point in &found {
        assert!(series.insert(point.series(&point.name)), "{point:?}");
        assert_eq!(point.time, found[0].time);
    }
    let durations = found
        .iter()
        .filter(|point| point.name == "umay.http.request.duration");
    assert_eq!(durations.count(), 900);
    // A name that is larger than a part goes alone.
    let _huge = registry.route(&"x".repeat(FULL));
    assert!(!told(&registry, Histograms::Explicit).is_empty());
}

#[test]
fn a_route_that_comes_again_counts_anew() {
    let registry = Registry::new(1);
    let mut starts = Starts::default();
    let count = |starts: &mut Starts, registry: &Registry| {
        let told = read(&starts.collect(registry, Histograms::Explicit, UNIX_EPOCH));
        let point = told
            .into_iter()
            .find(|point| point.name == "umay.http.request.duration");
        point.map(|point| (point.start, point.time, point.value))
    };
    let observe = |registry: &Arc<Registry>, times: u32| {
        let route = registry.route("web");
        for _ in 0..times {
            serve(&route, 0, 3, None);
        }
        route
    };
    let route = observe(&registry, 5);
    let (start, first, _) = count(&mut starts, &registry).unwrap();
    assert_eq!(start, nanos(registry.started()));
    drop(route);
    let _route = observe(&registry, 2);
    let (again, _, value) = count(&mut starts, &registry).unwrap();
    assert_eq!((again, value), (first, 2.0));
}
