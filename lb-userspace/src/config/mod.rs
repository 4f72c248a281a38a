//! Configuration: what the user wrote, what was checked.
//!
//! Texts (`sources`) → tree with places (`yaml`) → raw types (`reader`, [`raw`]) → checks (`check`) → [`model`]. Each step notes all
//! that is wrong and goes on, so one reading shows all problems.

mod check;
mod export;
mod field;
mod limits;
pub mod model;
mod passive;
mod probe;
mod problem;
pub mod raw;
mod reader;
pub mod scheduler;
mod sources;
mod suggest;
mod tree;
mod yaml;

use std::{fs::File, io::Read, path::Path};

use self::model::Config;
pub use self::{
    check::{check_all, check_backend, check_one},
    export::export,
    problem::{ConfigError, Problem},
    sources::{AppliedServices, Origins, Proposal, Sources, differences},
};

/// Largest configuration that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// Largest file of a secret, in bytes.
const MAX_SECRET: u64 = 8 << 10;

/// Reads and checks a configuration file with what it includes, and the file of its secret if it names one.
///
/// # Errors
///
/// All problems of the file; a file that cannot be read is a problem without a place.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    Sources::read(path)?.config(&AppliedServices::new(), Some(&secret))
}

/// Reads the file of a secret.
///
/// # Errors
///
/// Why it cannot be read.
pub fn secret(path: &Path) -> Result<String, String> {
    read_text(path, MAX_SECRET)
}

/// Checks a configuration, named `file` in errors. Reads no files: `hash_secret_file` is checked but leaves
/// `hash_secret` at `None`.
///
/// # Errors
///
/// All problems of the text.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
    Sources::of(text, file).config(&AppliedServices::new(), None)
}

/// The JSON schema (draft 2020-12) of the file, pretty-printed, with a line end.
///
/// It describes keys, types and ranges; what holds between values only the checks know.
pub fn schema() -> String {
    let schema = schemars::schema_for!(raw::Document);
    format!("{:#}\n", schema.as_value())
}

/// The configuration, if nothing is wrong.
fn finish(config: Option<Config>, mut problems: Vec<Problem>, file: &str) -> Result<Config, ConfigError> {
    match config {
        Some(config) if problems.is_empty() => return Ok(config),
        _ if problems.is_empty() => problems.push(unreadable()),
        _ => {}
    }
    Err(ConfigError { file: file.to_owned(), problems })
}

/// A refusal never goes without a reason, even if a check forgot to give one.
fn unreadable() -> Problem {
    let reason = "the configuration cannot be read".to_owned();
    Problem { file: None, line: 0, column: 0, reason, remedy: "start from configs/minimal.yaml".to_owned() }
}

/// Reads at most so many bytes of text, so that a device or a log given by mistake does not fill the memory.
fn read_text(path: &Path, most: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("larger than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
}
