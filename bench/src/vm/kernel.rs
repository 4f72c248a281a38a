//! The guest's kernel, unpacked from its package by `cargo xtask setup --vm`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::archive::Archive;

/// Beginning of the version.
const SERIES: &str = "6.12.";
/// What of the modules is needed, with what that needs.
const MODULES: &[&str] = &["kernel/net", "kernel/lib", "kernel/crypto", "kernel/arch", "kernel/drivers/net/veth.ko.xz"];

/// A kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// As `uname -r` gives it.
    pub(super) version: String,
    /// What QEMU boots.
    pub(super) image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The one in the workspace's target folder.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) fn find() -> Result<Self> {
        Self::find_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/vm/kernel"))
    }

    /// The newest in a folder.
    fn find_in(folder: &Path) -> Result<Self> {
        let names = fs::read_dir(folder.join("boot")).into_iter().flatten();
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let versions = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
        let version = versions.filter(|version| version.starts_with(SERIES)).max_by_key(|version| numbers(version));
        let version = version.with_context(|| {
            let folder = folder.display();
            format!("there is no kernel {SERIES}* for the guest in {folder}; run `cargo xtask setup --vm`")
        })?;
        let modules = folder.join("lib/modules").join(&version);
        ensure!(
            modules.join("modules.dep.bin").is_file(),
            "{} is not complete; remove {} and run `cargo xtask setup --vm`",
            modules.display(),
            folder.display()
        );
        Ok(Self { image: folder.join("boot").join(format!("vmlinuz-{version}")), version, modules })
    }

    /// Puts the network modules and their index into the archive.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub(super) fn add_modules(&self, archive: &mut Archive) -> Result<()> {
        for entry in fs::read_dir(&self.modules)? {
            let path = entry?.path();
            if path.is_file() {
                self.add(&path, archive)?;
            }
        }
        MODULES.iter().try_for_each(|part| self.add(&self.modules.join(part), archive))
    }

    fn add(&self, path: &Path, archive: &mut Archive) -> Result<()> {
        if path.is_dir() {
            return fs::read_dir(path)?.try_for_each(|entry| self.add(&entry?.path(), archive));
        }
        let content = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let within = path.strip_prefix(&self.modules)?;
        archive.file(&Path::new("/lib/modules").join(&self.version).join(within), &content);
        Ok(())
    }
}

/// The numbers of a version, which compare as versions do.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(versions: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("boot")).expect("the folder is ours");
        for version in versions {
            fs::write(folder.path().join("boot").join(format!("vmlinuz-{version}")), "").expect("the folder is ours");
            let modules = folder.path().join("lib/modules").join(version);
            fs::create_dir_all(&modules).expect("the folder is ours");
            fs::write(modules.join("modules.dep.bin"), "").expect("the folder is ours");
        }
        folder
    }

    #[test]
    fn the_newest_of_the_series_is_taken() {
        let folder = folder(&["6.12.9-cloud-amd64", "6.12.111-cloud-amd64", "6.13.1-amd64"]);
        let kernel = Kernel::find_in(folder.path()).expect("there are two");
        assert_eq!(kernel.version, "6.12.111-cloud-amd64");
        assert!(kernel.image.is_file());
    }

    #[test]
    fn without_a_kernel_or_its_index_one_is_told_what_to_do() {
        let empty = folder(&[]);
        let half = folder(&["6.12.9"]);
        fs::remove_file(half.path().join("lib/modules/6.12.9/modules.dep.bin")).expect("it is there");
        for folder in [empty, half] {
            let error = Kernel::find_in(folder.path()).expect_err("there is no whole kernel").to_string();
            assert!(error.contains("cargo xtask setup --vm"), "{error}");
        }
    }
}
