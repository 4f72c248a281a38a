//! Results in files: `bench/results/DATE-FORM.json`, and the same as `latest.json`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::results::Results;

/// Raised whenever a field changes its meaning.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File<R> {
    format: u32,
    #[serde(flatten)]
    results: R,
}

/// What must be readable in every format.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// The results as text.
///
/// # Errors
///
/// With a figure that is no number.
pub(crate) fn text(results: &Results) -> Result<String> {
    Ok(serde_json::to_string_pretty(&File { format: FORMAT, results })? + "\n")
}

/// Writes results into a folder, which is made if it is missing. Returns the file that belongs to this run alone.
///
/// # Errors
///
/// If the folder or a file cannot be written.
pub(crate) fn save(results: &Results, folder: &Path) -> Result<PathBuf> {
    let text = text(results)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let own = folder.join(format!("{}-{}.json", results.machine.date.replace(':', ""), results.form()));
    for path in [&own, &folder.join("latest.json")] {
        fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(own)
}

/// Reads what [`save`] wrote.
///
/// # Errors
///
/// If the file cannot be read, holds something else or has another format.
pub(crate) fn load(path: &Path) -> Result<Results> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} cannot be used; name a file of bench/results", path.display()))
}

fn parse(text: &str) -> Result<Results> {
    let Header { format } = serde_json::from_str(text)?;
    ensure!(format == FORMAT, "its format is {format}, this bench writes {FORMAT}: measure the old commit again");
    Ok(serde_json::from_str::<File<Results>>(text)?.results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::results::tests::example;

    #[test]
    fn what_was_saved_is_loaded_under_both_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let results = example();
        let own = save(&results, &folder.path().join("results")).expect("the folder is ours");
        assert_eq!(own.file_name(), Some("2026-01-02T030405Z-short.json".as_ref()));
        for path in [own.clone(), own.with_file_name("latest.json")] {
            assert_eq!(load(&path).expect("it was just written"), results);
        }
    }

    #[test]
    fn other_formats_and_other_files_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("old.json");
        for (text, reason) in [(r#"{"format": 0, "numbers": []}"#, "its format is 0"), ("{}", "missing field")] {
            fs::write(&path, text).expect("the folder is ours");
            let error = format!("{:#}", load(&path).expect_err(text));
            assert!(error.contains(reason) && error.contains("old.json"), "{error}");
        }
    }
}
