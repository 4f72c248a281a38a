//! `evenkeel export`

use super::{Daemon, output};
use crate::api::model::Exported;

pub(super) fn main(daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let exported: Exported = daemon.get("/v1/export")?;
    if daemon.json {
        return output::json(&exported);
    }
    output::print(&exported.text);
    Ok(())
}
