//! The kernels that tests and the bench boot in QEMU: fetched from the distribution and unpacked, never installed.

use std::{fs, path::Path};

use crate::workspace;

/// The script that fetches one; it is given a package and a [`folder`], and runs in the workspace's root.
pub(super) const SCRIPT: &str = "xtask/src/setup/guest_kernel.sh";

/// Where a kernel of a series, such as `6.12`, is looked for, in the workspace.
pub(super) fn folder(series: &str) -> String {
    format!("target/vm/linux-{series}")
}

/// Whether a kernel of a series is there.
pub(super) fn is_present(series: &str) -> bool {
    is_complete(&workspace::root().join(folder(series)))
}

/// Whether a kernel is there with the index of its modules, which is made last.
fn is_complete(folder: &Path) -> bool {
    let versions = fs::read_dir(folder.join("lib/modules")).into_iter().flatten();
    let mut complete = versions.filter_map(|version| {
        let version = version.ok()?.file_name().into_string().ok()?;
        let image = folder.join("boot").join(format!("vmlinuz-{version}"));
        Some(image.is_file() && folder.join("lib/modules").join(version).join("modules.dep.bin").is_file())
    });
    complete.any(|complete| complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_its_image_or_its_index_is_not_complete() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let modules = folder.path().join("lib/modules/6.12.1");
        assert!(!is_complete(folder.path()));
        fs::create_dir_all(&modules).expect("the folder is ours");
        fs::write(modules.join("modules.dep.bin"), "").expect("the folder is ours");
        assert!(!is_complete(folder.path()), "there is no image");
        fs::create_dir(folder.path().join("boot")).expect("the folder is ours");
        fs::write(folder.path().join("boot/vmlinuz-6.12.1"), "").expect("the folder is ours");
        assert!(is_complete(folder.path()));
        fs::remove_file(modules.join("modules.dep.bin")).expect("it is there");
        assert!(!is_complete(folder.path()), "there is no index");
    }
}
