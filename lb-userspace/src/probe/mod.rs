//! Probes: one kind a file.
