//! Weighted Maglev tables.
