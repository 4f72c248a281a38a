//! The guest's kernel, unpacked from its package by `cargo xtask setup --vm`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{REMEDY, archive::Archive};

/// The series that `cargo xtask setup --vm` unpacks: Debian 12's own kernel, and its newer one.
pub const ALL: [&str; 2] = ["6.1", "6.12"];
/// What of the modules is needed, with what that needs: folders, and beginnings of files' names.
const MODULES: &[&str] = &[
    "kernel/net/",
    "kernel/lib/",
    "kernel/crypto/",
    "kernel/arch/",
    "kernel/drivers/net/bonding/",
    "kernel/drivers/net/dummy.ko",
    "kernel/drivers/net/veth.ko",
];

/// A kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` gives it.
    pub version: String,
    /// What QEMU boots.
    pub image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The one of a series, such as `6.12`, in the workspace's target folder.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn find(series: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/vm").join(format!("linux-{series}"));
        Self::find_in(&folder, series)
    }

    /// The newest of a series in a folder.
    fn find_in(folder: &Path, series: &str) -> Result<Self> {
        let names = fs::read_dir(folder.join("boot")).into_iter().flatten();
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let versions = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
        let of_series = |version: &String| version.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'));
        let version = versions.filter(of_series).max_by_key(|version| numbers(version));
        let version = version.with_context(|| {
            let folder = folder.display();
            format!("there is no kernel {series} for the guest in {folder}; {REMEDY}")
        })?;
        let modules = folder.join("lib/modules").join(&version);
        ensure!(
            modules.join("modules.dep.bin").is_file(),
            "{} is not complete; remove {} and {REMEDY}",
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
    pub fn add_modules(&self, archive: &mut Archive) -> Result<()> {
        self.add(&self.modules, archive)
    }

    fn add(&self, path: &Path, archive: &mut Archive) -> Result<()> {
        let within = path.strip_prefix(&self.modules)?;
        if path.is_dir() {
            return fs::read_dir(path)?.try_for_each(|entry| self.add(&entry?.path(), archive));
        }
        if is_needed(within) {
            let content = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            archive.file(&Path::new("/lib/modules").join(&self.version).join(within), &content);
        }
        Ok(())
    }
}

/// Whether the guest needs a file of the modules' folder: the index, which lies on top, and some of the modules.
fn is_needed(file: &Path) -> bool {
    let index = file.parent() == Some(Path::new(""));
    index || MODULES.iter().any(|part| file.to_string_lossy().starts_with(part))
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
        let folder = folder(&["6.1.200-amd64", "6.12.9-cloud-amd64", "6.12.111-cloud-amd64", "6.13.1-amd64"]);
        let kernel = Kernel::find_in(folder.path(), "6.12").expect("there are two");
        assert_eq!(kernel.version, "6.12.111-cloud-amd64");
        assert!(kernel.image.is_file());
        let kernel = Kernel::find_in(folder.path(), "6.1").expect("there is one");
        assert_eq!(kernel.version, "6.1.200-amd64");
    }

    #[test]
    fn of_the_modules_only_the_network_goes_along() {
        for (file, expected) in [
            ("modules.dep.bin", true),
            ("kernel/net/ipv4/ipip.ko", true),
            ("kernel/drivers/net/veth.ko.xz", true),
            ("kernel/drivers/net/bonding/bonding.ko", true),
            ("kernel/drivers/net/ethernet/intel/e1000/e1000.ko", false),
            ("kernel/network.ko", false),
        ] {
            assert_eq!(is_needed(Path::new(file)), expected, "{file}");
        }
    }

    #[test]
    fn without_a_kernel_or_its_index_one_is_told_what_to_do() {
        let empty = folder(&[]);
        let half = folder(&["6.12.9"]);
        fs::remove_file(half.path().join("lib/modules/6.12.9/modules.dep.bin")).expect("it is there");
        for folder in [empty, half] {
            let error = Kernel::find_in(folder.path(), "6.12").expect_err("there is no whole kernel").to_string();
            assert!(error.contains("cargo xtask setup --vm"), "{error}");
        }
    }
}
