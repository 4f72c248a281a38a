//! `evenkeel check`

use std::path::PathBuf;

use clap::Args;

use super::output;
use crate::config;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn main(arguments: &Arguments, json: bool) -> anyhow::Result<()> {
    match config::load(&arguments.file) {
        Ok(config) => {
            let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
            let services = config.services.len();
            if json {
                return output::json(
                    &serde_json::json!({ "services": services, "backends": backends, "problems": [] }),
                );
            }
            output::print(&format!("{}: good; services: {services}, backends: {backends}", arguments.file.display()));
            Ok(())
        }
        Err(error) => {
            if json {
                output::json(&error)?;
            }
            Err(error.into())
        }
    }
}
