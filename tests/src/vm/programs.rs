//! Programs of the host that the guest gets, with their libraries.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{REMEDY, archive::Archive};

/// Where programs may be, whatever the PATH of an ordinary user says.
const PLACES: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// What the kernel mounts, and what programs expect.
const DIRECTORIES: &[&str] = &["/dev", "/proc", "/run", "/sys", "/tmp", "/var"];

/// Puts programs into the archive, with their libraries: those of the host with these names, as `/bin/NAME`, and further ones
/// as pairs of the path in the guest and the file.
///
/// # Errors
///
/// If one is not there.
pub fn add(archive: &mut Archive, names: &[&str], further: &[(&Path, &Path)]) -> Result<()> {
    DIRECTORIES.iter().for_each(|path| archive.directory(Path::new(path)));
    archive.device(Path::new("/dev/console"), (5, 1));
    archive.link(Path::new("/var/run"), "/run");
    archive.link(Path::new("/sbin"), "bin");
    let mut libraries = BTreeSet::new();
    for (name, path) in further {
        add_program(archive, &mut libraries, name, path)?;
    }
    for name in names {
        let path = find(name).with_context(|| format!("there is no `{name}`; {REMEDY}"))?;
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
