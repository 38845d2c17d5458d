//! What a load has seen, and how it tells.

use std::io::Write;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// No connection, or no TLS on it, or no upgrade.
    Connect,
    /// The connection ended in an answer or before it.
    Read,
    /// The request could not be sent.
    Write,
    /// Nothing came for too long.
    Timeout,
    /// Another status than the one that is right.
    Status,
    /// An answer with the right status that is not what it has to be.
    Wrong,
}

impl Fault {
    const ALL: [(Self, &str); 6] = [
        (Self::Connect, "connect"),
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::Timeout, "timeout"),
        (Self::Status, "status"),
        (Self::Wrong, "wrong"),
    ];
}

/// Answers that were right, and faults.
#[derive(Default)]
pub(crate) struct Counts {
    /// How long each right answer took, in microseconds.
    pub(crate) micros: Vec<u32>,
    /// Bytes of right answers.
    pub(crate) bytes: u64,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
    faults: Vec<Fault>,
}

impl Counts {
    /// Counts an answer, or what there was instead.
    pub(crate) fn count(&mut self, took: Duration, answer: Result<usize, Fault>) {
        match answer {
            Ok(bytes) => {
                self.micros
                    .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
                self.bytes += bytes as u64;
            }
            Err(fault) => self.faults.push(fault),
        }
    }

    /// What all connections have counted, when they are done; they began at `begun`.
    pub(crate) async fn of(begun: Instant, connections: Vec<JoinHandle<Self>>) -> Self {
        let mut all = Self::default();
        for connection in connections {
            all.add(connection.await.unwrap_or_default());
        }
        all.took = begun.elapsed();
        all
    }

    fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.bytes += other.bytes;
        self.faults.extend(other.faults);
    }

    /// The line that `bench` reads.
    pub(crate) fn json(mut self) -> String {
        self.micros.sort_unstable();
        let micros = &self.micros;
        let quantile = |thousandth: usize| {
            let at = micros.len() * thousandth / 1000;
            micros.get(at).copied().unwrap_or(0)
        };
        let faults: String = Fault::ALL
            .iter()
            .map(|(fault, name)| {
                let count = self.faults.iter().filter(|one| *one == fault).count();
                format!(",\"{name}\":{count}")
            })
            .collect();
        format!(
            "DONE {{\"requests\":{},\"micros\":{},\"bytes\":{},\"p50\":{},\"p99\":{},\"p999\":{}{faults}}}",
            micros.len(),
            self.took.as_micros(),
            self.bytes,
            quantile(500),
            quantile(990),
            quantile(999),
        )
    }
}

/// A line on standard output.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_faults_are_told() {
        let mut counts = Counts::default();
        for micros in (1..=1000).rev() {
            counts.count(Duration::from_micros(micros), Ok(2));
        }
        counts.count(Duration::ZERO, Err(Fault::Wrong));
        counts.took = Duration::from_secs(1);
        assert_eq!(
            counts.json(),
            "DONE {\"requests\":1000,\"micros\":1000000,\"bytes\":2000,\"p50\":501,\"p99\":991,\"p999\":1000,\
             \"connect\":0,\"read\":0,\"write\":0,\"timeout\":0,\"status\":0,\"wrong\":1}"
        );
    }
}
