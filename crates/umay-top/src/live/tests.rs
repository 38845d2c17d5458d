//! Frames of the live view, without a terminal.
