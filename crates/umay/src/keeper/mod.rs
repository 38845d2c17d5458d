//! The keeper: watches over the endpoints of every upstream, away from the requests' path.
//!
//! One task per upstream hears of everything that can change who may be picked: what discovery finds, what
//! probes say, what became of requests, and what somebody asks for. It alone decides how each endpoint is,
//! and publishes a new roster when that has changed; workers only count, and call for attention.

mod pace;
mod ward;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

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
    start: mpsc::UnboundedSender<Order>,
    dns: Dns,
    resolver: Arc<Resolver>,
    _side: Side,
}

/// An upstream that is to be watched.
#[derive(Debug)]
struct Order {
    upstream: Arc<Upstream>,
    resolver: Arc<Resolver>,
    commands: mpsc::Receiver<Command>,
}

/// Where commands for an upstream go, by its name, as it is now. Taking one out ends the watch over it.
pub type Commands = Arc<Mutex<BTreeMap<String, mpsc::Sender<Command>>>>;

/// What is said to the keeper of an upstream.
#[derive(Debug)]
pub enum Command {
    /// Somebody wants something of an endpoint.
    Drain(Drain),
    /// Another upstream has taken its place.
    Succeed(Arc<Upstream>, Arc<Resolver>),
}

/// What somebody wants of an endpoint.
#[derive(Debug)]
pub struct Drain {
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
        let (start, mut started) = mpsc::unbounded_channel::<Order>();
        let side = Side::start("umay-keeper", || {
            Ok(async move {
                let mut wards = JoinSet::new();
                loop {
                    tokio::select! {
                        order = started.recv() => match order {
                            Some(order) => drop(wards.spawn(Ward::new(order).run())),
                            None => return,
                        },
                        Some(ended) = wards.join_next() => if let Err(error) = ended {
                            // Its upstream stays as it is from now on.
                            tracing::error!(%error, "a watch over an upstream broke; please report it");
                        }
                    }
                }
            })
        })?;
        let mut keeper = Self {
            commands: Commands::default(),
            start,
            dns: dns.clone(),
            resolver: Resolver::new(dns),
            _side: side,
        };
        keeper.follow(upstreams, dns);
        Ok(keeper)
    }

    /// Watches over these from now on. What is known of those that stay is kept.
    pub fn follow(&mut self, upstreams: &[Arc<Upstream>], dns: &Dns) {
        if self.dns != *dns {
            (self.dns, self.resolver) = (dns.clone(), Resolver::new(dns));
        }
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.retain(|name, _| upstreams.iter().any(|upstream| upstream.name == *name));
        for upstream in upstreams.iter().filter(|u| !u.is_original_destination()) {
            if let Some(to) = commands.get(&upstream.name) {
                let succeed = Command::Succeed(Arc::clone(upstream), Arc::clone(&self.resolver));
                if to.try_send(succeed).is_ok() {
                    continue;
                }
            }
            let (tell, told) = mpsc::channel(COMMANDS);
            commands.insert(upstream.name.clone(), tell);
            // The thread lives as long as this does.
            let _ = self.start.send(Order {
                upstream: Arc::clone(upstream),
                resolver: Arc::clone(&self.resolver),
                commands: told,
            });
        }
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
    let (to, all) = {
        let commands = commands.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = commands.keys().cloned().collect();
        (commands.get(&upstream).cloned(), all)
    };
    let Some(to) = to else {
        return Err(format!(
            "there is no upstream {upstream}; there are: {}",
            all.join(", ")
        ));
    };
    let (done, told) = oneshot::channel();
    let command = Command::Drain(Drain {
        endpoint: endpoint.clone(),
        drain,
        done,
    });
    let gone = |_| "its keeper is gone".to_owned();
    to.send(command).await.map_err(|_| gone(()))?;
    let found = told.await.map_err(|_| gone(()))?;
    found.ok_or_else(|| {
        format!("upstream {upstream} has no endpoint {endpoint}; /status tells which it has")
    })
}
