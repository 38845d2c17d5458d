//! The command line.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use umay_core::config::{self, Loaded, Place, Problem, Severity, Sources};
use umay_core::model::Model;

use crate::admin;
use crate::app::{App, Plan, Read};
use crate::demo::{self, Demo};
use crate::original;
use crate::telemetry::events;
use crate::tls::{self, TlsProblem};
use crate::transparent::{self, Applied, Exempt, Ports, Rules, Ways};

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
    Run(Config),
    /// Try Umay: a self-signed certificate, endpoints of its own, one port on loopback
    Demo(DemoArgs),
    /// Proxy this machine's traffic to wherever it is headed, without a configuration
    #[command(after_help = TRANSPARENT)]
    Transparent(TransparentArgs),
    /// Say everything that is wrong with a configuration
    #[command(after_help = ENVIRONMENT)]
    Check(Check),
    /// Let a Umay that runs read its configuration again; the same as SIGHUP, and tells what came of it
    #[command(after_help = SOCKET)]
    Reload(Reload),
    /// Take an endpoint out of use, or into use again, in a Umay that runs
    #[command(subcommand, after_help = SOCKET)]
    Endpoint(Endpoint),
}

/// What no flag's help can say.
const ENVIRONMENT: &str = "\
Every key of the file has a name in the environment: timeouts.connect is UMAY_TIMEOUTS__CONNECT.
Flags come before the environment, the environment before the file. All keys: docs/config.md.";

const TRANSPARENT: &str = "\
Without --outbound and --inbound: --outbound. Connections within the machine are left alone, and so are Umay's own.
If Umay is killed, the rules stay, and connections to the ports fail until they are removed:
  nft delete table inet umay_transparent
More: docs/transparent.md.";

#[derive(Clone, Debug, Args)]
struct Config {
    /// Configuration file (TOML); also UMAY_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Debug, Args)]
struct Flags {
    /// Where to listen, such as 127.0.0.1:8443 (repeatable)
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Endpoints to proxy to: host:port, http://, https://, tcp:// or tls:// (repeatable, or with commas)
    #[arg(long, value_name = "ENDPOINT")]
    to: Vec<String>,
    /// Certificate chain for TLS (PEM; repeatable, each with its --key)
    #[arg(long, value_name = "FILE")]
    cert: Vec<String>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    key: Vec<String>,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: String,
}

#[derive(Debug, Args)]
struct TransparentArgs {
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

#[derive(Debug, Args)]
struct Check {
    /// Configuration file (TOML); also UMAY_CONFIG
    file: Option<PathBuf>,
    /// How problems are told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    flags: Flags,
}

const SOCKET: &str = "\
Umay has to run with admin.socket = \"PATH\"; whoever may open that file may do this.";

#[derive(Debug, Args)]
struct Reload {
    /// The admin socket; also UMAY_ADMIN__SOCKET
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Endpoint {
    /// Give it no new requests; what is in flight goes on
    Drain(Which),
    /// Give it requests again
    Undrain(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// The upstream's name, as in /status
    upstream: String,
    /// The endpoint's address, as in /status
    endpoint: String,
    /// The admin socket; also UMAY_ADMIN__SOCKET
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

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
        Command::Run(config) => run(config),
        Command::Demo(args) => demo(&args),
        Command::Transparent(args) => transparent(&args),
        Command::Check(args) => check(args),
        Command::Reload(args) => reload(args.socket),
        Command::Endpoint(Endpoint::Drain(which)) => drain(&which, true),
        Command::Endpoint(Endpoint::Undrain(which)) => drain(&which, false),
    }
}

fn run(config: Config) -> anyhow::Result<ExitCode> {
    let sources = sources(config.config.clone(), config.flags.clone())?;
    let (loaded, plan) = match plan(&sources) {
        Ok(planned) => planned,
        Err(problems) => {
            eprint(&config::render(&problems, &sources, colour()));
            return Ok(ExitCode::FAILURE);
        }
    };
    events::start(&loaded.model.log.level)?;
    for problem in &loaded.warnings {
        tracing::warn!("{problem}");
    }
    let app = App::start(&loaded.model, plan)?;
    app.run_from(Some(Box::new(move |old| read_again(&config, old))))
}

/// Reads the configuration again, from all its sources, to take the place of what is served.
fn read_again(config: &Config, old: &Plan) -> Result<Read, String> {
    let sources = sources(config.config.clone(), config.flags.clone());
    let sources = sources.map_err(|error| format!("{error:#}"))?;
    let told = |problems: &[Problem]| config::render(problems, &sources, false);
    let (loaded, plan) = planned_by(&sources, |model| old.succeed(model)).map_err(|p| told(&p))?;
    Ok(Read {
        warnings: loaded.warnings.iter().map(Problem::to_string).collect(),
        model: loaded.model,
        plan,
    })
}

fn check(args: Check) -> anyhow::Result<ExitCode> {
    let sources = sources(args.file, args.flags)?;
    let (problems, code) = match plan(&sources) {
        Ok((loaded, _)) => (loaded.warnings, ExitCode::SUCCESS),
        Err(problems) => (problems, ExitCode::FAILURE),
    };
    if args.format == Format::Json {
        let json = serde_json::to_string_pretty(&config::to_json(&problems))?;
        writeln!(io::stdout(), "{json}")?;
        return Ok(code);
    }
    eprint(&config::render(&problems, &sources, colour()));
    let errors = problems
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .count();
    let warnings = problems.len() - errors;
    let verdict = match (errors, warnings) {
        (0, 0) => "The configuration is good.".to_owned(),
        (0, warnings) => format!("The configuration can be used; warnings: {warnings}."),
        (errors, _) => {
            format!("The configuration cannot be used; errors: {errors}, warnings: {warnings}.")
        }
    };
    writeln!(io::stdout(), "{verdict}")?;
    Ok(code)
}

/// Asks a running Umay to read its configuration again.
fn reload(socket: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let answer = ask(socket, "/reload")?;
    let done = answer.get("done").and_then(serde_json::Value::as_str);
    writeln!(io::stdout(), "{}", done.unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the Umay that listens at a socket for something. What it does not do is an error.
fn ask(socket: Option<PathBuf>, target: &str) -> anyhow::Result<serde_json::Value> {
    let socket = socket.or_else(|| env::var_os("UMAY_ADMIN__SOCKET").map(PathBuf::from));
    let socket =
        socket.context("which Umay? give --socket FILE, the admin.socket of its configuration")?;
    let answer = admin::ask(&socket, target)
        .with_context(|| format!("cannot ask the Umay at {}", socket.display()))?;
    match answer.get("error").and_then(serde_json::Value::as_str) {
        Some(error) => anyhow::bail!("{error}"),
        None => Ok(answer),
    }
}

/// Asks a running Umay to drain an endpoint, or to end that.
fn drain(which: &Which, drain: bool) -> anyhow::Result<ExitCode> {
    let (upstream, endpoint) = (&which.upstream, &which.endpoint);
    let action = if drain { "drain" } else { "undrain" };
    let answer = ask(
        which.socket.clone(),
        &admin::target(upstream, endpoint, action),
    )?;
    let in_flight = answer.get("in_flight").and_then(serde_json::Value::as_u64);
    let text = match (drain, in_flight.unwrap_or(0)) {
        (true, 0) => format!("{endpoint} gets no new requests, and nothing is in flight."),
        (true, count) => format!("{endpoint} gets no new requests; in flight: {count}."),
        (false, _) => format!("{endpoint} gets requests again."),
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// Everything from the sources to what can be started, with all that is wrong on the way.
fn plan(sources: &Sources) -> Result<(Loaded, Plan), Vec<Problem>> {
    planned_by(sources, Plan::build)
}

fn planned_by(
    sources: &Sources,
    build: impl FnOnce(&Model) -> Result<Plan, Vec<TlsProblem>>,
) -> Result<(Loaded, Plan), Vec<Problem>> {
    let mut loaded = config::load(sources)?;
    let files = std::mem::take(&mut loaded.files);
    let place = |problem: &TlsProblem| Problem {
        severity: match problem.severity {
            tls::Severity::Error => Severity::Error,
            tls::Severity::Warning => Severity::Warning,
        },
        place: problem
            .file
            .as_ref()
            .and_then(|file| files.get(file))
            .cloned()
            .unwrap_or(Place::Document),
        message: problem.what.clone(),
        hint: problem.hint.clone(),
    };
    let plan =
        build(&loaded.model).map_err(|problems| problems.iter().map(place).collect::<Vec<_>>())?;
    loaded.warnings.extend(plan.warnings().map(place));
    Ok((loaded, plan))
}

fn sources(file: Option<PathBuf>, flags: Flags) -> anyhow::Result<Sources> {
    let file = file.or_else(|| env::var_os("UMAY_CONFIG").map(PathBuf::from));
    let file = match file {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read the configuration {}", path.display()))?;
            Some((path, text))
        }
    };
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let ours = |(name, value)| (text(name), text(value));
    let flag = |key: &str, values: Vec<String>| {
        let (key, flag) = (key.to_owned(), format!("--{key}"));
        let one = move |value| (key.clone(), value, flag.clone());
        values.into_iter().map(one).collect::<Vec<_>>()
    };
    let flags = [
        flag("listen", flags.listen),
        flag("to", flags.to),
        flag("cert", flags.cert),
        flag("key", flags.key),
    ];
    Ok(Sources {
        file,
        env: env::vars_os()
            .map(ours)
            .filter(|(name, _)| name.starts_with("UMAY_"))
            .collect(),
        flags: flags.concat(),
    })
}

/// Traffic is sent here by rules, and goes on to where it was headed.
fn transparent(args: &TransparentArgs) -> anyhow::Result<ExitCode> {
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
    events::start(&loaded.model.log.level)?;
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
    App::start_with(&loaded.model, plan, apply)?.run()
}

/// The embedded default: everything in one process, nothing to prepare.
fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let endpoints = demo::start().context("cannot start the demo's endpoints")?;
    let files = DemoFiles::write()?;
    let at = endpoints.endpoints();
    let [one, two] = at.http;
    let text = format!(
        "listen = {listen:?}\ncert = {cert:?}\nkey = {key:?}\n\
         [[route]]\nname = \"http\"\nprotocol = \"http\"\nto = [\"http://{one}\", \"http://{two}\"]\nbalance = \"round_robin\"\n\
         [[route]]\nname = \"tcp\"\nprotocol = \"tcp\"\nto = \"tcp://{tcp}\"\n\
         [log]\naccess = \"off\"\nlevel = \"warn\"\n",
        listen = args.listen,
        cert = files.path("cert.pem"),
        key = files.path("key.pem"),
        tcp = at.tcp,
    );
    let Some((loaded, plan)) = planned("demo.toml", text) else {
        return Ok(ExitCode::FAILURE);
    };
    drop(files);
    events::start(&loaded.model.log.level)?;
    let app = App::start(&loaded.model, plan)?;
    let proxy = app.listening.first().map(|(_, address)| *address);
    let proxy = proxy.context("the demo does not listen anywhere")?;
    let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    let guide = demo::guide(proxy, app.admin_address, colour);
    writeln!(io::stdout(), "{guide}")?;
    let code = app.run();
    Demo::stop(endpoints);
    code
}

/// What a document of Umay's own leads to; `None` if what is wrong was told.
fn planned(name: &str, text: String) -> Option<(Loaded, Plan)> {
    let sources = Sources {
        file: Some((PathBuf::from(name), text)),
        // The admin listener, say, may have to be elsewhere.
        env: env::vars()
            .filter(|(name, _)| name.starts_with("UMAY_"))
            .collect(),
        flags: Vec::new(),
    };
    let planned = plan(&sources);
    planned
        .inspect_err(|problems| eprint(&config::render(problems, &sources, colour())))
        .ok()
}

/// The demo's certificate and key, as files for as long as they are read.
struct DemoFiles(PathBuf);

impl DemoFiles {
    fn write() -> anyhow::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let made = tls::self_signed(&["localhost", "127.0.0.1", "::1"])?;
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        let dir = env::temp_dir().join(format!("umay-demo-{}-{seed:x}", std::process::id()));
        // Private, and fails if somebody was there first.
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let files = Self(dir);
        for (name, text) in [("cert.pem", made.cert), ("key.pem", made.key)] {
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(files.path(name))?;
            file.write_all(text.as_bytes())?;
        }
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for DemoFiles {
    fn drop(&mut self) {
        // What cannot be removed is a certificate that is good for nothing else.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn colour() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none()
}

fn eprint(text: &str) {
    // Who closed our standard error does not want to know.
    let _ = io::stderr().write_all(text.as_bytes());
}
