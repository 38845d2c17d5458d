//! Loads and endpoints for `bench`, where wrk and h2load are no help: WebSocket, gRPC, idle
//! connections, a fixed rate. For benchmarks only: it speaks as much of each protocol as it takes
//! to be quick and to see whether every answer is right, and no more.

mod client;
mod counts;
mod endpoint;
mod idle;
mod rate;
mod ws;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Loads and endpoints for the benchmarks.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// An endpoint: echoes WebSocket messages and gRPC calls; GET /status has its counts.
    Endpoint {
        /// Where HTTP/1.1 is spoken, and WebSocket after an upgrade.
        #[arg(long)]
        ws: SocketAddr,
        /// Where gRPC is spoken: HTTP/2 with prior knowledge.
        #[arg(long)]
        grpc: SocketAddr,
    },
    /// WebSocket: each connection sends a message when the last was echoed.
    Ws {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        seconds: u64,
        /// Bytes of a message: 8 to 125.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(8..=125))]
        size: u8,
    },
    /// HTTP/1.1 requests at a fixed rate, whether or not answers come.
    Rate {
        #[command(flatten)]
        ask: Ask,
        #[arg(long)]
        connections: u32,
        #[arg(long)]
        seconds: u64,
        /// Requests per second, of all connections together.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        per_second: u32,
    },
    /// Connections that are idle after one request each, opened in steps. After each step it says
    /// so and waits for a line.
    Idle {
        #[command(flatten)]
        ask: Ask,
        /// How many there are to be after each step.
        #[arg(long, value_delimiter = ',')]
        steps: Vec<usize>,
        /// Speak TLS and take no certificate but this.
        #[arg(long)]
        cert: Option<PathBuf>,
    },
}

/// What is asked for, and what has to be answered.
#[derive(Args)]
struct Ask {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    path: String,
    /// A file with what every body has to be.
    #[arg(long)]
    body: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let what = Cli::parse().what;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        match what {
            What::Endpoint { ws, grpc } => endpoint::run(ws, grpc).await,
            What::Ws {
                to,
                connections,
                seconds,
                size,
            } => Ok(ws::run(to, connections, Duration::from_secs(seconds), size).await),
            What::Rate {
                ask,
                connections,
                seconds,
                per_second,
            } => {
                let asked = client::Asked::new(&ask.path, &ask.body)?;
                let pace = rate::Pace::new(connections, per_second, Duration::from_secs(seconds));
                Ok(rate::run(ask.to, asked, pace).await)
            }
            What::Idle { ask, steps, cert } => {
                let asked = client::Asked::new(&ask.path, &ask.body)?;
                let tls = cert.as_deref().map(client::tls).transpose()?;
                idle::run(ask.to, asked, &steps, tls).await
            }
        }
    })?;
    counts::say(&done.json())
}
