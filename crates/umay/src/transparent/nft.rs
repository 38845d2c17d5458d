//! Rules in the kernel for as long as Umay wants them there, by way of the program `nft`.

use std::io::{self, ErrorKind, Write};
use std::process::{Command, Output, Stdio};

use anyhow::bail;

use super::Rules;
use super::rules::TABLE;

/// Rules that are in force. Taken out when dropped.
#[derive(Debug)]
pub struct Applied {
    /// What stands in place of them while Umay drains.
    suspended: String,
}

impl Applied {
    /// Puts rules in force: all of them, or none.
    pub fn new(rules: &Rules) -> anyhow::Result<Self> {
        let output = match nft(&rules.to_string()) {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!(
                    "nft is not installed (Debian and Ubuntu: apt install nftables); \
                     without --apply the rules are only printed"
                );
            }
            Err(error) => bail!("cannot run nft: {error}"),
        };
        if output.status.success() {
            return Ok(Self {
                suspended: rules.suspended(),
            });
        }
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("File exists") {
            bail!(
                "there is a table {TABLE} already: of another `umay transparent --apply`, or left by one that was \
                 killed; remove it with `nft delete table {TABLE}`"
            );
        }
        if said.contains("not permitted") {
            bail!(
                "nft may not change rules: run as root (sudo), or give the capability CAP_NET_ADMIN to Umay and to \
                 what it starts (AmbientCapabilities=CAP_NET_ADMIN in a unit of systemd)"
            );
        }
        bail!("nft does not take the rules: {}", said.trim())
    }

    /// Redirects no new connection any more; those that were redirected go on.
    pub fn suspend(&self) {
        change(&self.suspended, "new connections go their own way");
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        change(&format!("delete table {TABLE}"), "the rules are removed");
    }
}

fn change(commands: &str, what: &str) {
    let why = match nft(commands) {
        Ok(output) if output.status.success() => return tracing::info!(table = TABLE, "{what}"),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let hint = "rules could not be changed; to remove them: nft delete table";
    tracing::error!(table = TABLE, why, "{hint}");
}

/// Gives commands to nft, which does all of them or none.
fn nft(commands: &str) -> io::Result<Output> {
    let run = |program: &str| {
        let mut child = Command::new(program)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // They are smaller than a pipe. If nft does not read them, it says why.
            let _ = stdin.write_all(commands.as_bytes());
            let _ = stdin.write_all(b"\n");
        }
        child.wait_with_output()
    };
    match run("nft") {
        // It lives where not everybody's PATH leads.
        Err(error) if error.kind() == ErrorKind::NotFound => run("/usr/sbin/nft"),
        ran => ran,
    }
}
