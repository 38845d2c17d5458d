//! A directory of many certificates: what the start, a change and doing nothing cost. The figures are printed:
//!
//! ```sh
//! UMAY_CERTIFICATES=20000 cargo nextest run --release -p umay -E 'test(many_certificates)' --no-capture -j 1
//! ```

use std::env;
use std::time::{Duration, Instant};

use umay_test::{Certs, Conn, Keys, Server, TempDir, cpu, eventually, peak_rss, rss, umay};

/// How many there are, unless somebody asks for more.
const COUNT: usize = 500;

/// Resident memory that Umay may have, beside what each certificate costs: wide, for builds without optimisation.
const BASE: u64 = 80 << 20;

/// What a certificate may cost of it: 20,000 have room in 200 MiB.
const EACH: u64 = 6 << 10;

fn count() -> usize {
    env::var("UMAY_CERTIFICATES").map_or(COUNT, |count| count.parse().unwrap())
}

#[test]
fn many_certificates_with_p256() {
    measure(Keys::Ecdsa);
}

#[test]
fn many_certificates_half_of_them_with_rsa() {
    measure(Keys::Mixed);
}

fn measure(keys: Keys) {
    let (certs, dir, server) = (Certs::new(), TempDir::new(), Server::ok("hi"));
    let count = count();
    certs.fill(dir.path(), 0..count, keys);
    let umay = umay!()
        .config(format!(
            "listen = \"127.0.0.1:0\"\ncerts = [{:?}]\nto = \"http://{}\"\nlog.access = \"off\"\n",
            dir.path(),
            server.addr()
        ))
        .env("UMAY_WATCH", "true")
        .start();
    let pid = umay.pid();
    let say = |what: &str, before: Duration| {
        let (cpu, mib) = (cpu(pid) - before, rss(pid) >> 20);
        eprintln!(
            "{count} certificates ({keys:?}), {what}: {cpu:?} of CPU time, {mib} MiB resident"
        );
    };
    say("ready", Duration::ZERO);
    let before = cpu(pid);
    eventually("all keys to be proven", || {
        let last = cpu(pid);
        std::thread::sleep(Duration::from_millis(500));
        (cpu(pid) == last).then_some(())
    });
    say("keys looked at beside that", before);

    let trusting = certs.trusting();
    let connect = |number: usize| {
        let name = format!("{number}.test");
        Conn::connect_tls(umay.addr(), &trusting, &name)
    };
    let before = cpu(pid);
    for number in [0, 1, count / 2, count - 1] {
        connect(number).unwrap();
    }
    assert!(connect(count).is_err());
    say("5 handshakes", before);

    let before = cpu(pid);
    certs.fill(dir.path(), count..count + 1, keys);
    let started = Instant::now();
    eventually("the new certificate", || connect(count).ok());
    say("one more", before);
    eprintln!("it was served {:?} after it was written", started.elapsed());

    let before = cpu(pid);
    for number in 0..count.min(1000) {
        connect(number).unwrap();
    }
    say("1000 names asked for", before);

    let most = BASE + EACH * count as u64;
    assert!(peak_rss(pid) < most, "{} bytes", peak_rss(pid));
    if count > COUNT {
        let before = cpu(pid);
        std::thread::sleep(Duration::from_secs(60));
        say("a minute of nothing", before);
    }
}
