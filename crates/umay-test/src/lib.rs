//! Scripted peers and real programs for tests.
