//! What is configured: the files, and services that were applied at run time. What a file names is the file's.

use crate::{
    config::{self, AppliedServices, ConfigError, Origins, Sources, model::Config},
    state::Runtime,
};

/// Takes note of the files that are in force from now on: what they name is theirs, whatever was applied before. Returns whether
/// they say something else than the last ones.
pub(super) fn note_files(runtime: &mut Runtime, sources: &Sources, origins: &Origins) -> bool {
    let taken: Vec<String> = runtime.applied.keys().filter(|name| origins.has(name)).cloned().collect();
    for name in &taken {
        runtime.applied.remove(name);
        tracing::warn!(service = name, "the configuration file has this service now: what was applied is forgotten");
    }
    let digest = sources.digest();
    let is_new = runtime.files != digest || !taken.is_empty();
    if is_new {
        runtime.version += 1;
        runtime.files = digest;
    }
    is_new
}

/// The configuration of files and applied services.
pub(super) fn checked(sources: &Sources, applied: &AppliedServices) -> Result<Config, ConfigError> {
    sources.config(applied, Some(&config::secret))
}

/// The same at the start, when the files may have changed while no daemon looked: applied services that they leave no room for stay
/// out, and the reasons are returned. They stay in the state, and are tried again with the next files.
pub(super) fn with_applied(sources: &Sources, applied: &AppliedServices) -> Result<(Config, Vec<String>), ConfigError> {
    let all = checked(sources, applied);
    if applied.is_empty() || all.is_ok() {
        return all.map(|config| (config, Vec::new()));
    }
    checked(sources, &AppliedServices::new())?;
    let (mut good, mut left_out) = (AppliedServices::new(), Vec::new());
    admit(sources, &mut good, applied.clone(), &mut left_out);
    for reason in &left_out {
        tracing::error!("left out, as it does not go with the configuration file: {reason}");
    }
    Ok((checked(sources, &good)?, left_out))
}

/// Adds those of `some` that go with what is good already; half of them at a time, as most of them usually do.
fn admit(sources: &Sources, good: &mut AppliedServices, mut some: AppliedServices, left_out: &mut Vec<String>) {
    let all: AppliedServices =
        good.iter().chain(&some).map(|(name, service)| (name.clone(), service.clone())).collect();
    match checked(sources, &all) {
        Ok(_) => *good = all,
        Err(error) if some.len() <= 1 => left_out.push(error.to_string()),
        Err(_) => {
            let middle = some.keys().nth(some.len() / 2).cloned().unwrap_or_default();
            let rest = some.split_off(&middle);
            admit(sources, good, some, left_out);
            admit(sources, good, rest, left_out);
        }
    }
}
