//! `umay demo`: the embedded default.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::Context;
use clap::Args;

use super::sources::planned;
use crate::app::App;
use crate::demo::{self, Demo};
use crate::telemetry::events;
use crate::tls;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: String,
}

/// The embedded default: everything in one process, nothing to prepare.
pub(super) fn main(args: &Arguments) -> anyhow::Result<ExitCode> {
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
    events::start(&loaded.model.log)?;
    let app = App::start(&loaded.model, plan)?;
    let proxy = app.listening.first().map(|(_, address)| *address);
    let proxy = proxy.context("the demo does not listen anywhere")?;
    let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    let guide = demo::guide(proxy, app.admin_address(), colour);
    writeln!(io::stdout(), "{guide}")?;
    let code = app.run();
    Demo::stop(endpoints);
    code
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
