//! Programs of the host that the guest gets, with their libraries.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{archive::Archive, guest};

/// Programs that the guest runs.
const PROGRAMS: &[&str] = &["ip", "ethtool", "ipvsadm", "nft", "modprobe"];
/// Where they may be, whatever the PATH of an ordinary user says.
const PLACES: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// What the kernel mounts, and what programs expect.
const DIRECTORIES: &[&str] = &["/dev", "/proc", "/run", "/sys", "/tmp", "/var"];

/// Puts all programs into the archive, and this one as the first process and as the daemon.
///
/// # Errors
///
/// If one is not there.
pub(super) fn add(archive: &mut Archive) -> Result<()> {
    DIRECTORIES.iter().for_each(|path| archive.directory(Path::new(path)));
    archive.device(Path::new("/dev/console"), (5, 1));
    archive.link(Path::new("/var/run"), "/run");
    archive.link(Path::new("/sbin"), "bin");
    let this = env::current_exe().context("cannot tell where this program is")?;
    let mut libraries = BTreeSet::new();
    add_program(archive, &mut libraries, Path::new(guest::INIT), &this)?;
    archive.link(Path::new(guest::DAEMON), guest::INIT);
    for name in PROGRAMS {
        let path = find(name).with_context(|| format!("there is no `{name}`; run `cargo xtask setup --vm`"))?;
        add_program(archive, &mut libraries, &Path::new("/bin").join(name), &path)?;
    }
    for library in libraries {
        archive.file(&library, &fs::read(&library).with_context(|| format!("cannot read {}", library.display()))?);
    }
    Ok(())
}

fn add_program(archive: &mut Archive, libraries: &mut BTreeSet<PathBuf>, name: &Path, path: &Path) -> Result<()> {
    archive.file(name, &fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    let output = Command::new("ldd").arg(path).output().context("cannot run `ldd`")?;
    ensure!(output.status.success(), "`ldd {}`: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    libraries.extend(libraries_of(&String::from_utf8_lossy(&output.stdout)));
    Ok(())
}

fn find(name: &str) -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file())
}

/// Reads `ldd`: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader; what is not a file has no path.
fn libraries_of(ldd: &str) -> Vec<PathBuf> {
    let paths = ldd.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd3a5f2000)\n\
                   \tlibnl-3.so.200 => /lib/x86_64-linux-gnu/libnl-3.so.200 (0x00007f0b7c2c1000)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0b7c0e0000)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f0b7c2f5000)\n";
        let expected =
            ["/lib/x86_64-linux-gnu/libnl-3.so.200", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries_of(ldd), expected.map(PathBuf::from));
        assert!(libraries_of("\tstatically linked\n").is_empty());
    }
}
