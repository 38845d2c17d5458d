//! Who is asked when nobody is left of those who are first: other groups, and whoever was left out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use umay_test::{GET, Refusing, Server, Umay, answer, eventually, umay};

fn standing(umay: &Umay, word: &str) -> f64 {
    let labels = [("upstream", "web"), ("standing", word)];
    umay.metric("umay_upstream_endpoints", &labels)
}

#[test]
fn a_first_group_that_is_down_costs_no_request() {
    // Three of four: more than may be ejected.
    let down = [Refusing::new(), Refusing::new(), Refusing::new()];
    let backup = Server::ok("backup");
    let first: String = down
        .iter()
        .map(|refusing| format!("\"http://{}\", ", refusing.addr()))
        .collect();
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"web\"\n[upstream.web]\n\
         to = [{first}{{ to = \"http://{}\", priority = 1 }}]\n",
        backup.addr()
    );
    let mut conn = umay.connect();
    for _ in 0..100 {
        assert_eq!(conn.ask(GET).unwrap().text(), "backup");
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(conn.ask(post).unwrap().text(), "backup");
    }
    eventually("the first group left out", || {
        conn.ask(GET).unwrap();
        (standing(&umay, "ejected") + standing(&umay, "failing") == 3.0).then_some(())
    });
    // Now it is asked at once.
    let retried = || {
        let labels = [("upstream", "web"), ("result", "retried")];
        umay.metric("umay_upstream_retries_total", &labels)
    };
    let before = retried();
    for _ in 0..50 {
        assert_eq!(conn.ask(GET).unwrap().text(), "backup");
    }
    assert_eq!(retried(), before);
}

#[test]
fn who_was_left_out_is_asked_before_a_request_fails() {
    let is_down = || Arc::new(AtomicBool::new(false));
    let server = |name: &'static str, down: &Arc<AtomicBool>| {
        let down = Arc::clone(down);
        Server::start(move |conn, _| {
            while conn.read_request()?.is_some() {
                if down.load(Ordering::Relaxed) {
                    return Ok(());
                }
                conn.send(answer("200 OK", "", name))?;
            }
            Ok(())
        })
    };
    let (a_down, b_down) = (is_down(), is_down());
    let (a, b) = (server("a", &a_down), server("b", &b_down));
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\nto = \"web\"\n[upstream.web]\nbalance = \"round_robin\"\n\
         to = [\"http://{}\", \"http://{}\"]\n",
        a.addr(),
        b.addr()
    );
    let mut conn = umay.connect();
    a_down.store(true, Ordering::Relaxed);
    eventually("an ejection", || {
        assert_eq!(conn.ask(GET).unwrap().text(), "b");
        (standing(&umay, "ejected") == 1.0).then_some(())
    });
    // As in a restart of one after the other: the first is back, but still left out, when the second goes.
    a_down.store(false, Ordering::Relaxed);
    b_down.store(true, Ordering::Relaxed);
    for _ in 0..30 {
        assert_eq!(conn.ask(GET).unwrap().text(), "a");
    }
}
