//! Connections that do nothing: what a proxy keeps for each of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::{Asked, Conn};
use crate::counts::{Counts, Fault, say};

/// Connections that are being opened, or asked on, at the same time.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

type Done = (Duration, Result<(Conn, usize), Fault>);

/// Opens connections up to each of `steps`, with a request on each, and waits for a line after
/// each step. At last it asks again on all, so that a connection that was closed is no idle one.
pub(crate) async fn run(
    to: SocketAddr,
    asked: Asked,
    steps: &[usize],
    tls: Option<TlsConnector>,
) -> anyhow::Result<Counts> {
    let asked = Arc::new(asked);
    let mut counts = Counts::default();
    let mut idle = Vec::new();
    let begun = Instant::now();
    for &step in steps {
        let opened =
            (idle.len()..step).map(|number| open(to, number, Arc::clone(&asked), tls.clone()));
        let mut open = Vec::new();
        all(opened, &mut counts, &mut open).await;
        idle.extend(open);
        say(&format!("OPEN {}", idle.len()))?;
        // Nothing else is to be done in the meantime.
        std::io::stdin().read_line(&mut String::new())?;
    }
    let asked_again = idle.into_iter().map(|conn| again(conn, Arc::clone(&asked)));
    all(asked_again, &mut counts, &mut Vec::new()).await;
    counts.took = begun.elapsed();
    Ok(counts)
}

/// Runs them, not too many at the same time, and keeps their connections.
async fn all(
    mut todo: impl Iterator<Item = impl Future<Output = Done> + Send + 'static>,
    counts: &mut Counts,
    kept: &mut Vec<Conn>,
) {
    let mut running = JoinSet::new();
    for one in todo.by_ref().take(AT_ONCE) {
        running.spawn(one);
    }
    while let Some(done) = running.join_next().await {
        if let Some(one) = todo.next() {
            running.spawn(one);
        }
        let Ok((took, answer)) = done else { continue };
        match answer {
            Ok((conn, bytes)) => {
                counts.count(took, Ok(bytes));
                kept.push(conn);
            }
            Err(fault) => counts.count(took, Err(fault)),
        }
    }
}

async fn open(to: SocketAddr, number: usize, asked: Arc<Asked>, tls: Option<TlsConnector>) -> Done {
    let begun = Instant::now();
    let whole = async {
        let mut conn = Conn::open(to, Some(address(number)), tls.as_ref()).await?;
        let bytes = conn.ask(&asked).await?;
        Ok((conn, bytes))
    };
    let answer = timeout(PATIENCE, whole).await;
    (begun.elapsed(), answer.unwrap_or(Err(Fault::Timeout)))
}

async fn again(mut conn: Conn, asked: Arc<Asked>) -> Done {
    let begun = Instant::now();
    let answer = timeout(PATIENCE, conn.ask(&asked)).await;
    let answer = answer.unwrap_or(Err(Fault::Timeout));
    (begun.elapsed(), answer.map(|bytes| (conn, bytes)))
}

/// Every client has an address of its own, up to fifty thousand of them.
fn address(number: usize) -> Ipv4Addr {
    let third = 1 + number / 200 % 250;
    let fourth = 1 + number % 200;
    Ipv4Addr::new(127, 0, third as u8, fourth as u8)
}
