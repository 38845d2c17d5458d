//! The tasks: what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use umay_core::model::{Consul, Discovery, Dns, Scheme, Source, Upstream, UpstreamTls};
use umay_test::{Server, eventually};

use super::super::{Resolver, State, Task, run};
use super::{at, http};
use crate::telemetry::metrics::Registry;

/// What was started ends with the future, not with the runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_ends_when_it_is_dropped() {
    let agent = Server::start(|conn, _| {
        conn.read_request()?;
        conn.read_to_end()?;
        Ok(())
    });
    let mut upstream = Upstream::new("app", vec![http("app.test", 80)]);
    upstream.discovery = Some(Discovery {
        source: Source::Consul(Consul {
            service: "web".to_owned(),
            agents: vec![at(agent.addr())],
            tag: None,
            datacenter: None,
            token_file: None,
        }),
        scheme: Scheme::Http,
        tls: UpstreamTls::default(),
    });
    let (tell, mut state) = watch::channel(State::default());
    let metrics = Registry::new(1).discovery("app");
    let resolver = Resolver::with_files(&Dns::default(), "/dev/null", "/dev/null");
    let task = tokio::spawn(run(Arc::new(upstream), resolver, metrics, tell));
    eventually("the question", || (agent.connections() == 1).then_some(()));
    task.abort();
    agent.wait_ended(1);
    // The sender is gone too.
    while state.changed().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_part_that_panics_begins_again() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let task = Task::restarting(Duration::from_millis(1), move || {
        let counted = Arc::clone(&counted);
        async move {
            let before = counted.fetch_add(1, Ordering::SeqCst);
            assert!(before >= 2, "as a test wants it");
            std::future::pending().await
        }
    });
    eventually("the third begin", || {
        (begun.load(Ordering::SeqCst) == 3).then_some(())
    });
    drop(task);
}
