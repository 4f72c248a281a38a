//! What a run leaves behind.
//!
//! - [`results`]: everything a run found; [`json`] keeps it in files.
//! - [`terminal`]: tables of figures and bars. [`compare`]: ratios to an earlier run.
//! - [`report`]: the page, with the [`plots`]. [`number`]: how figures are written.

pub(crate) mod compare;
pub(crate) mod json;
mod number;
mod plots;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod terminal;
