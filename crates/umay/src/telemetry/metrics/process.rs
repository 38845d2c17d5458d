//! What the kernel knows about the process, from `/proc/self`. What cannot be read is left out.

use std::fs;

/// The machine, in the words of OpenTelemetry's conventions.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// A reading of the process's own resources.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Open file descriptors.
    pub(super) open_fds: Option<u64>,
    /// The soft limit on open file descriptors.
    pub(super) max_fds: Option<u64>,
    /// Resident memory in bytes.
    pub(super) resident_bytes: Option<u64>,
    /// User and system time in seconds.
    pub(super) cpu_seconds: Option<f64>,
}

impl Process {
    /// Reads them now.
    pub(super) fn read() -> Self {
        let text =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self {
            // One of them is the directory that is being listed.
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|dir| (dir.count() as u64).saturating_sub(1)),
            max_fds: after(&text("limits"), "Max open files"),
            resident_bytes: after(&text("status"), "VmRSS:").map(|kib| kib * 1024),
            cpu_seconds: cpu_seconds(&text("stat")),
        }
    }
}

/// The number that follows a label at the start of a line.
fn after(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `stat` (proc(5)), counted after the command's name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    // USER_HZ is 100 in Linux's interface on every platform that Umay is built for.
    Some((user + system) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_process() {
        let process = Process::read();
        assert!(process.open_fds.unwrap() >= 3);
        assert!(process.max_fds.unwrap() >= process.open_fds.unwrap());
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!(process.cpu_seconds.unwrap() < 10_000.0);
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("7"), None);
        assert_eq!(
            after("Max open files  1024  4096 files", "Max open files"),
            Some(1024)
        );
    }
}
