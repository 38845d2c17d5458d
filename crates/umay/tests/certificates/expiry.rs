//! The end of certificates: in metrics, in the log once for each step, and in `umay check`.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use umay_test::{Certs, Conn, GET, Pair, Server, Signal, TempDir, Umay, eventually, json, umay};

use super::{check, damaged, parsed};

const DAY: Duration = Duration::from_secs(86_400);

/// For this name, until so long from now.
fn until(certs: &Certs, name: &str, left: Duration) -> Pair {
    certs.issue_with(&[name], |params| {
        params.not_before = (SystemTime::now() - 90 * DAY).into();
        params.not_after = (SystemTime::now() + left).into();
    })
}

fn put(dir: &TempDir, name: &str, pair: &Pair) {
    dir.write(&format!("certs/{name}.crt"), fs::read(&pair.cert).unwrap());
    dir.write(&format!("certs/{name}.key"), fs::read(&pair.key).unwrap());
}

/// In seconds since 1970.
fn in_days(days: u32) -> f64 {
    let end = SystemTime::now() + days * DAY;
    end.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn config(dir: &TempDir, more: &str) -> String {
    let certs = dir.path().join("certs");
    format!("listen = \"127.0.0.1:0\"\ncerts = [{certs:?}]\n{more}")
}

fn reload(umay: &Umay, count: f64) {
    // It says that it is ready a moment before it listens to signals.
    eventually("signals to be listened to", || {
        let status = fs::read_to_string(format!("/proc/{}/status", umay.pid())).unwrap();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        (caught & 1 == 1).then_some(())
    });
    umay.signal(Signal::HUP);
    umay.wait_metric("umay_config_reloads_total", &[("result", "served")], count);
}

#[test]
fn ends_are_metrics() {
    let (certs, dir, server) = (Certs::new(), TempDir::new(), Server::ok("hi"));
    put(&dir, "far", &until(&certs, "far.test", 80 * DAY));
    put(&dir, "near", &until(&certs, "near.test", 30 * DAY));
    let shown = until(&certs, "umay.test", 50 * DAY);
    let more = format!(
        "to = \"app\"\n[upstream.app]\nto = \"https://{}\"\n[upstream.app.tls]\nca = {:?}\n{}",
        server.addr(),
        certs.ca(),
        shown.toml()
    );
    let umay = umay!().config(config(&dir, &more)).start();
    let close = |name: &str, labels: &[(&str, &str)], days: u32| {
        let found = umay.metric(name, labels);
        assert!((found - in_days(days)).abs() < 60.0, "{name}: {found}");
    };
    let series = "umay_tls_certificate_expiry_timestamp_seconds";
    close(series, &[("name", "far.test")], 80);
    let file = dir.path().join("certs/near.crt");
    close(
        series,
        &[("name", "near.test"), ("file", file.to_str().unwrap())],
        30,
    );
    let first = "umay_tls_first_certificate_expiry_timestamp_seconds";
    close(first, &[("listener", "127.0.0.1:0")], 30);
    close(
        "umay_upstream_certificate_expiry_timestamp_seconds",
        &[("upstream", "app")],
        50,
    );
    put(&dir, "near", &until(&certs, "near.test", 90 * DAY));
    reload(&umay, 1.0);
    close(first, &[("listener", "127.0.0.1:0")], 80);
}

#[test]
fn each_step_is_told_once() {
    let (certs, dir, server) = (Certs::new(), TempDir::new(), Server::ok("hi"));
    put(&dir, "far", &until(&certs, "far.test", 22 * DAY));
    put(
        &dir,
        "weeks",
        &until(&certs, "weeks.test", 20 * DAY + DAY / 2),
    );
    put(&dir, "over", &certs.expired(&["over.test"]));
    let umay = umay!()
        .config(config(
            &dir,
            &format!("to = \"http://{}\"\n", server.addr()),
        ))
        .start();
    let told = |words: &str| umay.events().matches(words).count();
    let line = umay.wait_event("weeks.crt expires in 20 days, on 20");
    assert!(line.contains("WARN") && line.contains("weeks.test") && line.contains("renew it"));
    assert_eq!((told("over.crt expired on"), told("far.crt")), (1, 0));
    reload(&umay, 1.0);
    assert_eq!(
        (told("over.crt expired on"), told("weeks.crt expires")),
        (1, 1)
    );
    // Another certificate is another matter, and so is the next step.
    put(&dir, "over", &certs.expired(&["over.test", "again.test"]));
    put(&dir, "far", &until(&certs, "far.test", 6 * DAY + DAY / 2));
    reload(&umay, 2.0);
    umay.wait_event("far.crt expires in 6 days");
    let again = told("over.crt expired on");
    // Both expired ones may have been made within one second, and end in the same then.
    assert!((1..=2).contains(&again), "{again}");
    reload(&umay, 3.0);
    assert_eq!(
        (told("over.crt expired on"), told("far.crt expires")),
        (again, 1)
    );
}

#[test]
fn the_check_tells_of_ends_and_of_damaged_keys() {
    let (certs, dir) = (Certs::new(), TempDir::new());
    put(&dir, "soon", &until(&certs, "soon.test", DAY / 2));
    put(&dir, "over", &certs.expired(&["over.test"]));
    put(&dir, "far", &until(&certs, "far.test", 22 * DAY));
    let path = dir.write("umay.toml", config(&dir, "to = \"http://127.0.0.1:1\"\n"));
    let check = || {
        let (code, out) = check(&path, &["--format", "json"]);
        (code, parsed(std::str::from_utf8(&out.stdout).unwrap()))
    };
    let (code, problems) = check();
    let problems = problems.as_array().unwrap().clone();
    let said: Vec<&str> = problems
        .iter()
        .map(|p| p["message"].as_str().unwrap())
        .collect();
    assert_eq!((code, said.len()), (Some(0), 2), "{said:#?}");
    assert!(said[0].contains("over.crt expired on"), "{said:#?}");
    assert!(said[1].contains("soon.crt expires today, on"), "{said:#?}");
    assert!(
        problems
            .iter()
            .all(|problem| problem["severity"] == json!("warning"))
    );
    // Of many keys not all are looked at when they are loaded; here they are.
    let good = until(&certs, "many.test", 80 * DAY);
    for number in 0..600 {
        put(&dir, &format!("many-{number}"), &good);
    }
    put(&dir, "zzz", &good);
    let key = fs::read_to_string(&good.key).unwrap();
    dir.write("certs/zzz.key", damaged(&key));
    let (code, problems) = check();
    let problems = problems.as_array().unwrap();
    let errors = problems.iter().filter(|p| p["severity"] == json!("error"));
    let errors: Vec<&str> = errors.map(|p| p["message"].as_str().unwrap()).collect();
    assert_eq!((code, errors.len()), (Some(1), 1), "{errors:?}");
    assert!(errors[0].contains("zzz.key has a key that is damaged"));
}

/// With very many certificates those that end first have a series each, and the log stays readable.
#[test]
fn thousands_that_end_at_once_fill_neither_metrics_nor_log() {
    let (certs, dir, server) = (Certs::new(), TempDir::new(), Server::ok("hi"));
    let pair = until(&certs, "a.test", 5 * DAY);
    for number in 0..1005 {
        put(&dir, &number.to_string(), &pair);
    }
    put(&dir, "first", &until(&certs, "first.test", DAY / 2));
    let umay = umay!()
        .config(config(
            &dir,
            &format!("to = \"http://{}\"\n", server.addr()),
        ))
        .start();
    let page = umay.admin_get("/metrics").text();
    let series = "\numay_tls_certificate_expiry_timestamp_seconds{";
    assert_eq!(page.matches(series).count(), 1000);
    assert!(page.contains("name=\"first.test\""));
    let all = [("listener", "127.0.0.1:0")];
    assert_eq!(umay.metric("umay_tls_certificates", &all), 1006.0);
    let line = umay.wait_event("956 more certificates");
    assert!(line.contains("WARN"), "{line}");
    assert_eq!(umay.events().matches(".crt expires").count(), 50);
    let status = parsed(&umay.admin_get("/status").text());
    assert_eq!(status["certificates"].as_array().unwrap().len(), 100);
    assert_eq!(status["certificates"][0]["names"], json!(["first.test"]));
    assert_eq!(status["certificates_count"], json!(1006));
}

/// Of very many keys a damaged one is found beside the workers; whoever asks for it before or after is refused in
/// order, and the log says which file it is.
#[test]
fn a_damaged_key_is_told_and_its_clients_get_an_alert() {
    let (certs, dir, server) = (Certs::new(), TempDir::new(), Server::ok("hi"));
    let good = certs.issue(&["many.test"]);
    for number in 0..600 {
        put(&dir, &format!("many-{number}"), &good);
    }
    let bad = certs.issue(&["bad.test"]);
    put(&dir, "zzz", &bad);
    let key = fs::read_to_string(&bad.key).unwrap();
    dir.write("certs/zzz.key", damaged(&key));
    let umay = umay!()
        .config(config(
            &dir,
            &format!("to = \"http://{}\"\n", server.addr()),
        ))
        .start();
    let connect = |name: &str| Conn::connect_tls(umay.addr(), &certs.trusting(), name);
    let error = format!("{:?}", connect("bad.test").unwrap_err());
    assert!(error.contains("InternalError"), "{error}");
    let line = umay.wait_reason("certificate_unusable");
    assert!(line.to_string().contains("zzz.key"), "{line}");
    let get = GET.replace("a.test", "many.test");
    assert_eq!(connect("many.test").unwrap().ask(get).unwrap().text(), "hi");
    let told = umay.wait_event("zzz.key has a key that is damaged");
    assert!(told.contains("ERROR"), "{told}");
    let all = [("listener", "127.0.0.1:0")];
    umay.wait_metric("umay_tls_certificates_unfit", &all, 1.0);
    assert_eq!(umay.events().matches("is damaged").count(), 1);
}
