//! `umay transparent`: the way of this machine's traffic through Umay.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use super::sources::planned;
use crate::app::{App, Inherited};
use crate::original;
use crate::telemetry::events;
use crate::transparent::{self, Applied, Exempt, Ports, Rules, Ways};

pub(super) const HELP: &str = "\
Without --outbound and --inbound: --outbound. Connections within the machine are left alone, and so are Umay's own.
If Umay is killed, the rules stay, and connections to the ports fail until they are removed:
  nft delete table inet umay_transparent
More: docs/transparent.md.";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to listen (repeatable) [default: port 15001, of loopback, or with --inbound of all addresses]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Take what this machine opens
    #[arg(long)]
    outbound: bool,
    /// Take what comes to this machine or through it
    #[arg(long)]
    inbound: bool,
    /// Connections to which ports: numbers and ranges with commas, or `all`, which leaves out SSH (22)
    #[arg(long, default_value = "80,443,8080")]
    ports: Ports,
    /// Put the rules in force until Umay ends (needs nft and root) instead of only printing them
    #[arg(long)]
    apply: bool,
}

/// Traffic is sent here by rules, and goes on to where it was headed.
pub(super) fn main(args: &Arguments) -> anyhow::Result<ExitCode> {
    let ways = Ways {
        outbound: args.outbound || !args.inbound,
        inbound: args.inbound,
    };
    let listen = match args.listen.is_empty() {
        true => transparent::addresses(ways),
        false => args.listen.clone(),
    };
    let document = transparent::document(&listen, ways);
    let Some((loaded, plan)) = planned("transparent.toml", document) else {
        return Ok(ExitCode::FAILURE);
    };
    for listener in loaded.model.listeners.values() {
        if let Some(problem) = transparent::unreachable(listener.bind, ways) {
            anyhow::bail!("{problem}");
        }
    }
    events::start(&loaded.model.log)?;
    let apply = |listening: &[(String, SocketAddr)]| {
        let rules = Rules {
            listening: listening.iter().map(|(_, address)| *address).collect(),
            ways,
            ports: args.ports.clone(),
            exempt: match original::can_mark() {
                true => Exempt::Mark,
                false => Exempt::User(rustix::process::geteuid().as_raw()),
            },
        };
        let applied = args.apply.then(|| Applied::new(&rules)).transpose()?;
        writeln!(io::stdout(), "{}", transparent::guide(&rules, args.apply))?;
        Ok(applied)
    };
    App::start_with(&loaded.model, plan, &mut Inherited::default(), apply)?.run()
}
