//! Tables and frames in memory.
