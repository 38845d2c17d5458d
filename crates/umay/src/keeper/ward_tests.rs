//! What a ward remembers of endpoints that come and go.

use umay_core::model::{self, Dns, Endpoint, Scheme};

use super::*;
use crate::discover::Found;
use crate::telemetry::metrics::Registry;

fn found(ports: &[u16]) -> Vec<Found> {
    let found = ports.iter().map(|port| Found {
        endpoint: Endpoint::new(Scheme::Http, "127.0.0.1", *port),
        addresses: vec![([127, 0, 0, 1], *port).into()],
    });
    found.collect()
}

/// Whatever addresses an upstream has in the course of its life, only those that there are take memory.
#[tokio::test]
async fn who_leaves_is_forgotten_ejected_or_not() {
    let mut model = model::Upstream::new("app", Vec::new());
    model.outlier.window = Duration::from_millis(1);
    let registry = Registry::new(1);
    let metrics = (registry.upstream("app"), registry.discovery("app"));
    let upstream = Upstream::build(&model, None, metrics, None).unwrap();
    let (_tell, told) = mpsc::channel(1);
    let mut ward = Ward::new(Order {
        upstream: Arc::clone(&upstream),
        resolver: Resolver::new(&Dns::default()),
        commands: told,
        by_hand: ByHand::default(),
        begun: std::sync::mpsc::channel().0,
    });
    let (discovery, heard) = watch::channel(discover::State::default());
    ward.found = heard;
    let find = |ward: &mut Ward, ports: &[u16]| {
        discovery.send_modify(|state| state.found = found(ports).into());
        ward.find();
        ward.look();
    };
    find(&mut ward, &[1, 2]);
    let bad = &ward.members[0].endpoint;
    for _ in 0..100 {
        bad.metrics.own(0).unwrap().failed.inc();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    ward.look();
    assert_eq!(ward.members[0].standing, Standing::Ejected);
    assert_eq!(ward.ejected.len(), 1);
    find(&mut ward, &[2, 3]);
    assert_eq!(ward.ejected.len(), 0);
    assert!(ward.members.iter().all(|m| m.standing == Standing::Well));
    assert_eq!(upstream.roster().members.len(), 2);
}
