//! Where the process is in its life, for `/readyz` and whoever else must know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A stage of the process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not all listeners accept yet.
    Starting,
    /// All listeners accept.
    Ready,
    /// No new work is wanted; what is open may finish.
    Draining,
}

impl Stage {
    /// The word for logs and pages: `starting`, `ready`, `draining`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    /// One sentence for people.
    pub fn what(self) -> &'static str {
        match self {
            Self::Starting => "Umay is starting: not all listeners accept connections yet.",
            Self::Ready => "Umay is ready.",
            Self::Draining => "Umay is shutting down: it finishes what is open.",
        }
    }
}

/// The stage, shared by all who set it or ask for it. Starts as [`Stage::Starting`].
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicU8>);

impl Health {
    /// Enters a stage.
    pub fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Release);
    }

    /// The stage that the process is in.
    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Ready,
            _ => Stage::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_see_the_stage() {
        let health = Health::default();
        let seen = health.clone();
        assert_eq!(seen.stage(), Stage::Starting);
        for stage in [Stage::Ready, Stage::Draining, Stage::Starting] {
            health.set(stage);
            assert_eq!(seen.stage(), stage);
        }
    }
}
