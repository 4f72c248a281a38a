//! The state file: written whole, beside the old one, and put in its place in one step.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Runtime;

/// Version of the file's form.
const VERSION: u32 = 1;

/// Where the state is kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    runtime: Runtime,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Store {
    /// Opens a directory, which is made if it is missing (mode 0700).
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| {
            format!("state directory {} cannot be made; see `node.state_directory`", directory.display())
        })?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The state; empty if there is none yet.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is of another version: it is left alone then.
    pub fn load(&self) -> Result<Runtime> {
        let path = self.path("state.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Runtime::default()),
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        let damaged = || format!("{} is damaged; move it away to start without run-time changes", path.display());
        // Another version may have other fields, so its number is read alone first.
        let head: Head = serde_json::from_str(&text).with_context(damaged)?;
        anyhow::ensure!(
            head.version == VERSION,
            "{} has version {}, this evenkeel knows {VERSION}; move it away to start without run-time changes",
            path.display(),
            head.version
        );
        let document: Document = serde_json::from_str(&text).with_context(damaged)?;
        Ok(document.runtime)
    }

    /// Keeps a state.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the old one stays.
    pub fn save(&self, runtime: &Runtime) -> Result<()> {
        let document = Document { version: VERSION, runtime: runtime.clone() };
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        self.write("state.json", &text)
    }

    /// Reads a small file of the directory; `None` if it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{}", self.path(name).display())),
        }
    }

    /// Writes a file so that after a crash it is the old or the new one, whole.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path(name);
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(content)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_damage_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("opens");
        assert_eq!(store.load().expect("nothing yet"), Runtime::default());
        let mut runtime = Runtime::default();
        runtime.backend_mut("web", ("2001:db8::1".parse().expect("an address"), 443)).weight = Some(9);
        store.save(&runtime).expect("saves");
        assert_eq!(store.load().expect("loads"), runtime);
        fs::write(directory.path().join("state.json"), "{").expect("writes");
        let message = format!("{:#}", store.load().expect_err("damaged"));
        assert!(message.contains("state.json is damaged"), "{message}");
        fs::write(directory.path().join("state.json"), r#"{"version": 2, "more": []}"#).expect("writes");
        let message = format!("{:#}", store.load().expect_err("of another version"));
        assert!(message.contains("has version 2"), "{message}");
    }
}
