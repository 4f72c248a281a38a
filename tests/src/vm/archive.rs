//! An archive that Linux takes as its first file system: cpio in the "newc" form (the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// The archive, as far as it is written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    /// A directory and those above it; nothing if it is there already. Paths are absolute, as in the guest.
    pub fn directory(&mut self, path: &Path) {
        if path == Path::new("/") || !self.directories.insert(path.to_owned()) {
            return;
        }
        self.parent(path);
        self.entry(path, DIRECTORY, (0, 0), &[]);
    }

    /// A file that may be executed.
    pub fn file(&mut self, path: &Path, content: &[u8]) {
        self.parent(path);
        self.entry(path, PROGRAM, (0, 0), content);
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &Path, target: &str) {
        self.parent(path);
        self.entry(path, LINK, (0, 0), target.as_bytes());
    }

    /// A character device.
    pub fn device(&mut self, path: &Path, number: (u32, u32)) {
        self.parent(path);
        self.entry(path, CHARACTER_DEVICE, number, &[]);
    }

    /// The whole archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("/TRAILER!!!"), 0, (0, 0), &[]);
        self.bytes
    }

    fn parent(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &Path, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let path = path.strip_prefix("/").unwrap_or(path).as_os_str().as_encoded_bytes();
        let (inode, links) = (self.entries, 1);
        let (size, name_size) = (content.len() as u32, path.len() as u32 + 1);
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mode, name and content of each entry.
    fn read(archive: &[u8]) -> Vec<(u32, String, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < archive.len() {
            assert_eq!(&archive[at..at + 6], b"070701");
            let field = |i: usize| {
                let digits = std::str::from_utf8(&archive[at + 6 + 8 * i..at + 14 + 8 * i]).expect("digits");
                u32::from_str_radix(digits, 16).expect("a number")
            };
            let name = at + 110;
            let content = (name + field(11) as usize).next_multiple_of(4);
            let end = content + field(6) as usize;
            let text = String::from_utf8(archive[name..name + field(11) as usize - 1].to_vec()).expect("a name");
            entries.push((field(1), text, archive[content..end].to_vec()));
            at = end.next_multiple_of(4);
        }
        entries
    }

    #[test]
    fn directories_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file(Path::new("/usr/bin/ip"), b"first");
        archive.file(Path::new("/usr/bin/nft"), b"no");
        archive.link(Path::new("/sbin"), "usr/bin");
        let entries = read(&archive.finish());
        let expected: [(u32, &str, &[u8]); 6] = [
            (DIRECTORY, "usr", b""),
            (DIRECTORY, "usr/bin", b""),
            (PROGRAM, "usr/bin/ip", b"first"),
            (PROGRAM, "usr/bin/nft", b"no"),
            (LINK, "sbin", b"usr/bin"),
            (0, "TRAILER!!!", b""),
        ];
        let expected = expected.map(|(mode, name, content)| (mode, name.to_owned(), content.to_vec()));
        assert_eq!(entries, expected);
    }

    #[test]
    fn a_device_has_its_number() {
        let mut archive = Archive::default();
        archive.device(Path::new("/console"), (5, 1));
        let bytes = archive.finish();
        assert_eq!(&bytes[6 + 8 * 9..6 + 8 * 11], b"0000000500000001");
    }
}
