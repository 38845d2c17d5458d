//! Where a configuration comes from: the files, the environment and the flags of this process.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;
use clap::Args;
use umay_core::config::{
    self, LARGEST_DOCUMENT, LARGEST_VALUE, Loaded, MOST_DOCUMENTS, Place, Problem, Reference,
    Severity, Sources,
};

use umay_core::model::Model;

use super::{colour, eprint};
use crate::app::{Described, Plan};
use crate::tls::{self, TlsProblem};

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Where to listen, such as 127.0.0.1:8443 (repeatable)
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Vec<String>,
    /// Endpoints to proxy to: host:port, http://, https://, tcp:// or tls:// (repeatable, or with commas)
    #[arg(long, value_name = "ENDPOINT")]
    pub(super) to: Vec<String>,
    /// Certificate chain for TLS (PEM; repeatable, each with its --key)
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Vec<String>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub(super) key: Vec<String>,
}

impl Flags {
    /// Refuses to go with a flag that asks for another configuration than these.
    pub(super) fn refuse_with(&self, flag: &str) -> anyhow::Result<()> {
        let lists = [&self.listen, &self.to, &self.cert, &self.key];
        anyhow::ensure!(
            lists.iter().all(|list| list.is_empty()),
            "{flag} asks for the configuration that is served: --listen, --to, --cert and --key do not go with it"
        );
        Ok(())
    }
}

/// Reads all sources, with what the document includes and refers to.
pub(super) fn read(file: Option<PathBuf>, flags: &Flags) -> anyhow::Result<Sources> {
    let file = file.or_else(|| env::var_os("UMAY_CONFIG").map(PathBuf::from));
    let file = match file {
        None => None,
        Some(path) => {
            let text = text(&path, LARGEST_DOCUMENT)
                .with_context(|| format!("cannot read the configuration {}", path.display()))?;
            Some((path, text))
        }
    };
    let words = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let ours = |(name, value)| (words(name), words(value));
    let flag = |key: &str, values: &[String]| {
        let one = |value: &String| (key.to_owned(), value.clone(), format!("--{key}"));
        values.iter().map(one).collect::<Vec<_>>()
    };
    let flags = [
        flag("listen", &flags.listen),
        flag("to", &flags.to),
        flag("cert", &flags.cert),
        flag("key", &flags.key),
    ];
    let mut sources = Sources {
        file,
        env: env::vars_os()
            .map(ours)
            .filter(|(name, _)| name.starts_with("UMAY_") || name.starts_with("OTEL_"))
            .collect(),
        flags: flags.concat(),
        ..Sources::default()
    };
    sources.complete(documents, value);
    Ok(sources)
}

/// A file of text that is not larger than it may be.
fn text(path: &Path, most: u64) -> anyhow::Result<String> {
    let mut text = String::new();
    // A pipe or a device has no size to ask for.
    let read = File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > most) {
        anyhow::bail!("it is larger than {} KiB", most / 1024);
    }
    Ok(text)
}

/// The documents that an entry of `include` names.
fn documents(entry: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let name = entry.file_name().map(|name| name.to_string_lossy());
    let pattern = name.filter(|name| name.contains('*'));
    let paths = match &pattern {
        Some(pattern) => list(entry.parent().unwrap_or_else(|| Path::new("")), pattern)?,
        None if entry.is_dir() => list(entry, "*.toml")?,
        None => vec![entry.to_owned()],
    };
    if paths.len() > MOST_DOCUMENTS {
        let (count, entry) = (paths.len(), entry.display());
        return Err(format!(
            "{entry} has {count} documents; the most are {MOST_DOCUMENTS}"
        ));
    }
    let read = |path: PathBuf| match text(&path, LARGEST_DOCUMENT) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(format!("cannot read {}: {error:#}", path.display())),
    };
    paths.into_iter().map(read).collect()
}

/// The files of a directory whose names fit a pattern, in the order of their names.
fn list(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let shown = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let failed = |error| format!("cannot read the directory {}: {error}", shown.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(shown).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let words = name.to_string_lossy();
        let path = dir.join(&name);
        // What begins with a dot is an editor's, or the machinery of a mounted volume. A link counts
        // as what it leads to.
        if !words.starts_with('.') && fits(pattern, &words) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// True if a name fits a pattern, in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(first) else {
        return false;
    };
    let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.any(|at| name.get(at..).is_some_and(|left| fits(rest, left)))
}

/// A value that stands elsewhere.
fn value(reference: &Reference) -> Result<String, String> {
    match reference {
        Reference::Env(name) => env::var(name).map_err(|error| match error {
            env::VarError::NotPresent => format!("there is no variable {name} in the environment"),
            env::VarError::NotUnicode(_) => format!("the variable {name} is no text"),
        }),
        Reference::File(path) => {
            let read = text(path, LARGEST_VALUE);
            read.map_err(|error| format!("cannot read {}: {error:#}", path.display()))
        }
    }
}

/// What the sources say; `None` if what is wrong was told.
pub(super) fn loaded(sources: &Sources) -> Option<Loaded> {
    let tell = |problems: &Vec<Problem>| eprint(&config::render(problems, sources, colour()));
    config::load(sources).inspect_err(tell).ok()
}

/// Everything from the sources to what can be started, with all that is wrong on the way.
pub(super) fn plan(sources: &Sources) -> Result<(Loaded, Plan), Vec<Problem>> {
    planned_by(sources, Plan::build)
}

/// The same with another way to build the plan.
pub(super) fn planned_by(
    sources: &Sources,
    build: impl FnOnce(&Model) -> Result<Plan, Vec<TlsProblem>>,
) -> Result<(Loaded, Plan), Vec<Problem>> {
    let mut loaded = config::load(sources)?;
    let files = loaded.files.clone();
    let place = |problem: &TlsProblem| placed(problem, &files);
    let mut plan =
        build(&loaded.model).map_err(|problems| problems.iter().map(place).collect::<Vec<_>>())?;
    plan.describe(Described {
        sources: sources.clone(),
        places: loaded.routes.clone(),
    });
    loaded.warnings.extend(plan.warnings().map(place));
    Ok((loaded, plan))
}

/// A problem with a file, at the place where the file or the directory that it is in was named.
pub(super) fn placed(problem: &TlsProblem, files: &HashMap<PathBuf, Place>) -> Problem {
    let file = problem.file.iter().flat_map(|file| file.ancestors());
    let named = file.take(3).find_map(|path| files.get(path));
    Problem {
        severity: match problem.severity {
            tls::Severity::Error => Severity::Error,
            tls::Severity::Warning => Severity::Warning,
        },
        place: named.cloned().unwrap_or(Place::Document),
        message: problem.what.clone(),
        hint: problem.hint.clone(),
    }
}

/// What a document of Umay's own leads to; `None` if what is wrong was told.
pub(super) fn planned(name: &str, text: String) -> Option<(Loaded, Plan)> {
    let sources = Sources {
        file: Some((PathBuf::from(name), text)),
        // The admin listener, say, may have to be elsewhere.
        env: env::vars()
            .filter(|(name, _)| name.starts_with("UMAY_"))
            .collect(),
        ..Sources::default()
    };
    let planned = plan(&sources);
    planned
        .inspect_err(|problems| eprint(&config::render(problems, &sources, colour())))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, name, fit) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml~", false),
            ("site-*.toml", "site-a.toml", true),
            ("site-*.toml", "a.toml", false),
            ("*", "anything", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axc", false),
            ("*\u{fc}*", "x\u{fc}y", true),
        ] {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }
}
