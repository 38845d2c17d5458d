//! The keeper: watches over the endpoints of every upstream, away from the requests' path.
//!
//! One task per upstream hears of everything that can change who may be picked: what discovery finds, what
//! probes say, what became of requests, and what somebody asks for. It alone decides how each endpoint is,
//! and publishes a new roster when that has changed; workers only count, and call for attention.

mod by_hand;
mod pace;
mod ward;

pub use by_hand::{AllByHand, Setting, Wish};

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use umay_core::model::Dns;

use crate::discover::Resolver;
use crate::side::Side;
use crate::upstream::Upstream;
use by_hand::ByHand;
use ward::Ward;

/// How long all watches together may take to begin.
const PATIENCE: Duration = Duration::from_secs(1);

/// Commands that wait to be carried out, at most.
const COMMANDS: usize = 16;

/// Watches over all upstreams until it is dropped.
#[derive(Debug)]
pub struct Keeper {
    commands: Commands,
    by_hand: AllByHand,
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
    by_hand: ByHand,
    /// Dropped when what is set by hand is in force.
    begun: Sender<()>,
}

/// Where commands for an upstream go, by its name, as it is now. Taking one out ends the watch over it.
pub type Commands = Arc<Mutex<BTreeMap<String, mpsc::Sender<Command>>>>;

/// What is said to the keeper of an upstream.
#[derive(Debug)]
pub enum Command {
    /// Somebody wishes something of an endpoint.
    Set(Set),
    /// Another upstream has taken its place.
    Succeed(Arc<Upstream>, Arc<Resolver>),
}

/// What somebody wishes of an endpoint.
#[derive(Debug)]
pub struct Set {
    /// The endpoint's label.
    pub endpoint: String,
    /// What is wished.
    pub wish: Wish,
    /// The user who wishes it.
    pub asker: Option<u32>,
    /// Told what came of it; `None` if there is no such endpoint.
    pub done: oneshot::Sender<Option<Done>>,
}

/// What came of a wish. It is in force for every request from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was set at the endpoint before.
    pub before: Setting,
    /// What is set now.
    pub after: Setting,
    /// The weight that the configuration or a registry says; `None` if the endpoint is not there now.
    pub configured: Option<u32>,
    /// Requests and streams in flight there.
    pub in_flight: u64,
    /// No endpoint of the upstream gets new requests any more.
    pub nobody: bool,
}

/// Why nothing came of a wish.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such upstream, or it goes to where clients are headed.
    #[error("there is no upstream {upstream}; there are: {}", all.join(", "))]
    NoUpstream {
        /// Which was meant.
        upstream: String,
        /// Which there are.
        all: Vec<String>,
    },
    /// There is no such endpoint.
    #[error(
        "upstream {upstream} has no endpoint {endpoint}; `umay endpoint list {upstream}` tells which it has"
    )]
    NoEndpoint {
        /// The upstream.
        upstream: String,
        /// Which was meant.
        endpoint: String,
    },
    /// The process ends.
    #[error("its keeper is gone")]
    Gone,
}

impl Keeper {
    /// Starts to watch over these; what is set by hand is told to `by_hand`. Fails if the system gives no thread or no
    /// event queue.
    pub fn start(upstreams: &[Arc<Upstream>], dns: &Dns, by_hand: &AllByHand) -> io::Result<Self> {
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
            by_hand: by_hand.clone(),
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
        let is_there = |name: &str| upstreams.iter().any(|upstream| upstream.name == name);
        commands.retain(|name, _| is_there(name));
        self.by_hand.keep(is_there);
        let (begun, all_begun) = channel();
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
                by_hand: self.by_hand.of(&upstream.name),
                begun: begun.clone(),
            });
        }
        drop((begun, commands));
        // Nothing is sent: it ends when all have begun.
        let _ = all_begun.recv_timeout(PATIENCE);
    }

    /// What is set by hand.
    pub fn by_hand(&self) -> &AllByHand {
        &self.by_hand
    }

    /// Where commands go.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }
}

/// Does what a user wishes of an endpoint of an upstream, by their names.
pub async fn set(
    commands: Commands,
    (upstream, endpoint): (String, String),
    wish: Wish,
    asker: Option<u32>,
) -> Result<Done, Refused> {
    let (to, all) = {
        let commands = commands.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = commands.keys().cloned().collect();
        (commands.get(&upstream).cloned(), all)
    };
    let Some(to) = to else {
        return Err(Refused::NoUpstream { upstream, all });
    };
    let (done, told) = oneshot::channel();
    let command = Command::Set(Set {
        endpoint: endpoint.clone(),
        wish,
        asker,
        done,
    });
    to.send(command).await.map_err(|_| Refused::Gone)?;
    let found = told.await.map_err(|_| Refused::Gone)?;
    found.ok_or(Refused::NoEndpoint { upstream, endpoint })
}
