//! `umay explain`: what would become of a request or a connection, and why. It connects nowhere but to a Umay that runs,
//! if that is asked.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use umay_core::route::ClientCertFacts;

use super::Format;
use super::socket::Running;
use super::sources::{Flags, loaded, read};
use crate::admin::Question as Request;
use crate::explain::{self, Ground, Question, Target, Text};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What is asked for: a URL, or a stream: tcp:, tls:NAME, mqtt: or mqtts:NAME, perhaps with :PORT
    target: Target,
    /// Configuration file (TOML); also UMAY_CONFIG
    #[arg(conflicts_with_all = ["socket", "running"])]
    file: Option<PathBuf>,
    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,
    /// A header of the request, as in "X-Canary: 1" (repeatable)
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The listener, by its name, if several could be meant
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Common name of the client's certificate
    #[arg(long, value_name = "NAME")]
    client_cert_cn: Option<String>,
    /// A subject alternative name of it (repeatable)
    #[arg(long, value_name = "NAME")]
    client_cert_san: Vec<String>,
    /// Its SHA-256
    #[arg(long, value_name = "HEX")]
    client_cert_sha256: Option<String>,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    flags: Flags,
}

/// Explains it.
pub(super) fn main(args: Arguments) -> anyhow::Result<ExitCode> {
    let question = question(&args)?;
    let told = if args.running.is_asked() {
        args.flags.refuse_with("--socket")?;
        let request = Request::post("/explain", Some(question.to_json()));
        let answer = args.running.ask(&request)?;
        let told = answer.as_array().cloned();
        told.context("it is another version of Umay that answers")?
    } else {
        let sources = read(args.file, &args.flags)?;
        let Some(loaded) = loaded(&sources) else {
            return Ok(ExitCode::FAILURE);
        };
        let ground = Ground {
            model: &loaded.model,
            places: &loaded.routes,
            running: None,
        };
        explain::explain(&question, &ground).map_err(anyhow::Error::msg)?
    };
    show(&told, args.format)?;
    Ok(match explain::is_served(&told) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn question(args: &Arguments) -> anyhow::Result<Question> {
    let mut headers = Vec::new();
    for header in &args.headers {
        let (name, value) = header.split_once(':').context("a header is NAME: VALUE")?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let shows = args.client_cert_cn.is_some()
        || !args.client_cert_san.is_empty()
        || args.client_cert_sha256.is_some();
    let sha256 = args.client_cert_sha256.as_deref().unwrap_or_default();
    Ok(Question {
        target: args.target.clone(),
        method: args.method.clone(),
        headers,
        listener: args.listener.clone(),
        cert: shows.then(|| ClientCertFacts {
            common_name: args.client_cert_cn.clone(),
            sans: args.client_cert_san.clone(),
            sha256: sha256.replace(':', "").to_ascii_lowercase(),
            subject: String::new(),
        }),
    })
}

fn show(told: &[Value], format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => writeln!(io::stdout(), "{}", serde_json::to_string_pretty(told)?)?,
        Format::Text => {
            let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
            for told in told {
                write!(io::stdout(), "{}", Text { told, colour })?;
            }
        }
    }
    Ok(())
}
