//! HTTP/1.1 at a fixed rate: how long an answer takes when nobody is busy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout};

use crate::client::{Asked, Conn};
use crate::counts::{Counts, Fault};

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// When which connection sends.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    connections: u32,
    /// Between two requests of one connection.
    period: Duration,
    length: Duration,
}

impl Pace {
    pub(crate) fn new(connections: u32, per_second: u32, length: Duration) -> Self {
        Self {
            connections,
            period: Duration::from_secs(1) * connections / per_second,
            length,
        }
    }
}

/// Loads `to`; the connections take turns.
pub(crate) async fn run(to: SocketAddr, asked: Asked, pace: Pace) -> Counts {
    let asked = Arc::new(asked);
    let begun = Instant::now();
    let end = begun + pace.length;
    let tasks: Vec<_> = (0..pace.connections)
        .map(|number| {
            let first = begun + pace.period * number / pace.connections;
            tokio::spawn(connection(to, Arc::clone(&asked), first, end, pace.period))
        })
        .collect();
    Counts::of(begun, tasks).await
}

async fn connection(
    to: SocketAddr,
    asked: Arc<Asked>,
    first: Instant,
    end: Instant,
    period: Duration,
) -> Counts {
    let mut counts = Counts::default();
    let mut conn = match Conn::open(to, None, None).await {
        Ok(conn) => conn,
        Err(fault) => {
            counts.count(Duration::ZERO, Err(fault));
            return counts;
        }
    };
    let mut due = first;
    while due < end {
        // A request that had to wait for the answer before it is late from when it was due.
        // Otherwise what the alarm is late is the client's own affair.
        let begun = if Instant::now() > due {
            due
        } else {
            sleep_until(due.into()).await;
            Instant::now()
        };
        let answer = timeout(PATIENCE, conn.ask(&asked)).await;
        let answer = answer.unwrap_or(Err(Fault::Timeout));
        counts.count(begun.elapsed(), answer);
        if answer.is_err() {
            break;
        }
        due += period;
    }
    counts
}
