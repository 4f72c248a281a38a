//! `evenkeel schema`

use super::output;
use crate::config;

pub(super) fn main() -> anyhow::Result<()> {
    output::print(&config::schema());
    Ok(())
}
