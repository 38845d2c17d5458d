//! The keeper: watches over the endpoints of every upstream, away from the requests' path.
//!
//! One task per upstream hears of everything that can change who may be picked: what discovery finds, what
//! probes say, what became of requests, and what somebody asks for. It alone decides how each endpoint is,
//! and publishes a new roster when that has changed; workers only count, and call for attention.

mod pace;
mod ward;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use umay_core::model::Dns;

use crate::discover::Resolver;
use crate::side::Side;
use crate::upstream::Upstream;
use ward::Ward;

/// Commands that wait to be carried out, at most.
const COMMANDS: usize = 16;

/// Watches over all upstreams until it is dropped.
#[derive(Debug)]
pub struct Keeper {
    commands: Commands,
    _side: Side,
}

/// Where commands for an upstream go, by its name.
pub type Commands = BTreeMap<String, mpsc::Sender<Command>>;

/// What somebody wants of an endpoint.
#[derive(Debug)]
pub struct Command {
    /// The endpoint's label.
    pub endpoint: String,
    /// True if it should get no new requests, false if it should again.
    pub drain: bool,
    /// Told what is in flight there; `None` if there is no such endpoint.
    pub done: oneshot::Sender<Option<u64>>,
}

impl Keeper {
    /// Starts to watch over these. Fails if the system gives no thread or no event queue.
    pub fn start(upstreams: &[Arc<Upstream>], dns: &Dns) -> io::Result<Self> {
        let resolver = Resolver::new(dns);
        let mut commands = Commands::new();
        let side = Side::start("umay-keeper", || {
            let mut wards = JoinSet::new();
            for upstream in upstreams.iter().filter(|u| !u.is_original_destination()) {
                let (tell, told) = mpsc::channel(COMMANDS);
                commands.insert(upstream.name.clone(), tell);
                wards.spawn(Ward::new(upstream, &resolver, told).run());
            }
            Ok(async move {
                while wards.join_next().await.is_some() {}
                std::future::pending().await
            })
        })?;
        Ok(Self {
            commands,
            _side: side,
        })
    }

    /// Where commands go.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }
}

/// Drains an endpoint, or ends that. Gives what is in flight there, or why it cannot.
pub async fn drain(
    commands: Commands,
    upstream: String,
    endpoint: String,
    drain: bool,
) -> Result<u64, String> {
    let Some(to) = commands.get(&upstream) else {
        let all: Vec<_> = commands.keys().map(String::as_str).collect();
        return Err(format!(
            "there is no upstream {upstream}; there are: {}",
            all.join(", ")
        ));
    };
    let (done, told) = oneshot::channel();
    let command = Command {
        endpoint: endpoint.clone(),
        drain,
        done,
    };
    let gone = |_| "its keeper is gone".to_owned();
    to.send(command).await.map_err(|_| gone(()))?;
    let found = told.await.map_err(|_| gone(()))?;
    found.ok_or_else(|| {
        format!("upstream {upstream} has no endpoint {endpoint}; /status tells which it has")
    })
}
