//! The command line. Each command has a file.

mod asking;
mod certificates;
mod check;
mod config;
mod demo;
mod drain;
mod endpoint;
mod explain;
mod log;
mod privacy;
mod reach;
mod run;
mod socket;
mod sources;
mod status;
#[cfg(feature = "top")]
mod top;
mod transparent;

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Any protocol on one port.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "A proxy that puts any protocol on one port: HTTPS, HTTP, WebSocket, MQTT, TCP",
    arg_required_else_help = true,
    after_help = ENVIRONMENT
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Proxy, as a file, the environment (UMAY_…) and flags say
    #[command(after_help = ENVIRONMENT)]
    Run(run::Arguments),
    /// Try Umay: a self-signed certificate, endpoints of its own, one port on loopback
    Demo(demo::Arguments),
    /// Proxy this machine's traffic to wherever it is headed, without a configuration
    #[command(after_help = transparent::HELP)]
    Transparent(transparent::Arguments),
    /// Say everything that is wrong with a configuration
    #[command(after_help = ENVIRONMENT)]
    Check(check::Arguments),
    /// Say what would become of a request or a connection, and why
    #[command(after_help = EXPLAIN)]
    Explain(Box<explain::Arguments>),
    /// Show the effective configuration, or the schema of all there can be
    #[command(subcommand, after_help = ENVIRONMENT)]
    Config(config::Config),
    /// Say how a Umay that runs is: what is wrong, what it does, how its endpoints are
    #[command(after_help = status::HELP)]
    Status(status::Arguments),
    /// Watch a Umay that runs, in the terminal
    #[cfg(feature = "top")]
    #[command(after_help = asking::HELP)]
    Top(top::Arguments),
    /// What of clients is told where, how it is protected and how long it is kept
    #[command(subcommand, after_help = ENVIRONMENT)]
    Privacy(privacy::Privacy),
    /// Let a Umay that runs read its configuration again; the same as SIGHUP, and tells what came of it
    #[command(after_help = socket::HELP)]
    Reload(socket::Socket),
    /// Let the program's file, as it is now, take over from a Umay that runs; the same as SIGUSR2. Nothing that is open breaks
    #[command(after_help = socket::HELP)]
    Upgrade(socket::Socket),
    /// Show the endpoints of a Umay that runs, take one out of use, or give it another weight
    #[command(subcommand, after_help = socket::HELP)]
    Endpoint(endpoint::Endpoint),
    /// What of its event log a Umay that runs writes
    #[command(subcommand, after_help = socket::HELP)]
    Log(log::Log),
    /// End a Umay that runs, in order; the same as SIGTERM, and tells what is open
    #[command(after_help = socket::HELP)]
    Drain(drain::Drain),
}

/// What no flag's help can say.
const ENVIRONMENT: &str = "\
Every key of the file has a name in the environment: timeouts.connect is UMAY_TIMEOUTS__CONNECT.
Flags come before the environment, the environment before the file. All keys: docs/config.md.";

const EXPLAIN: &str = "\
Ends with 0 if a route takes it, and with 1 if none does.
  umay explain https://api.example.com/v1/users umay.toml --method POST --header 'X-Canary: 1'
  umay explain tls:db.example.com umay.toml
  umay explain https://api.example.com/ --socket /run/umay/admin.sock   # of a Umay that runs, with its endpoints as they are";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With the line and a mark
    Text,
    /// As a list of objects
    Json,
}

/// Does what the command line says.
pub fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(args) => run::main(args),
        Command::Demo(args) => demo::main(&args),
        Command::Transparent(args) => transparent::main(&args),
        Command::Check(args) => check::main(args),
        Command::Explain(args) => explain::main(*args),
        Command::Config(command) => config::main(command),
        Command::Status(args) => status::main(&args),
        #[cfg(feature = "top")]
        Command::Top(args) => top::main(&args),
        Command::Privacy(command) => privacy::main(command),
        Command::Reload(socket) => socket::tell(&socket, "/reload"),
        Command::Upgrade(socket) => socket::tell(&socket, "/upgrade"),
        Command::Endpoint(command) => endpoint::main(&command),
        Command::Log(command) => log::main(&command),
        Command::Drain(args) => drain::main(&args),
    }
}

fn colour() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none()
}

fn eprint(text: &str) {
    // Who closed our standard error does not want to know.
    let _ = io::stderr().write_all(text.as_bytes());
}
