//! What is wrong with a TLS setting or a file: said with the file's name and with what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// How bad a [`TlsProblem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The settings cannot be used.
    Error,
    /// They can, but peers will probably complain.
    Warning,
}

/// Something wrong with a TLS setting, or with a file that the configuration names. Its display is one line for
/// people; it never holds what is in a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub struct TlsProblem {
    /// How bad it is.
    pub severity: Severity,
    /// The file to look into, if it is about a file.
    pub file: Option<PathBuf>,
    /// What is wrong, with the names of all files that matter.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.hint)
    }
}

impl TlsProblem {
    pub(super) fn in_file(file: &Path, what: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..Self::new(format!("{} {what}", file.display()), hint)
        }
    }

    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: None,
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// So many certificates beside those that were named have expired or soon will.
    pub fn more(count: usize) -> Self {
        let what = format!("{count} more certificates have expired or soon will");
        let hint = "renew them, too; umay_tls_certificate_expiry_timestamp_seconds in /metrics tells which";
        Self::new(what, hint).into_warning()
    }

    pub(super) fn into_warning(self) -> Self {
        Self {
            severity: Severity::Warning,
            ..self
        }
    }
}

/// The TLS library did not take settings that were made here.
pub(super) fn broken(error: &impl fmt::Display) -> TlsProblem {
    TlsProblem::new(format!("TLS cannot be set up: {error}"), "please report it")
}

/// Both values, or all that is wrong with either.
pub(super) fn both<A, B>(
    a: Result<A, TlsProblem>,
    b: Result<B, TlsProblem>,
) -> Result<(A, B), Vec<TlsProblem>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).collect()),
    }
}
