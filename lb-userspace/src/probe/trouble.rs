//! Why a probe did not succeed, in the words of an operator, and whose fault that is.

use std::{error::Error, io};

use nix::errno::Errno;

/// Why a probe did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The target did not answer as it should.
    Target(String),
    /// This node could not ask: that says nothing about the target.
    Node(String),
}

impl Trouble {
    /// A target that did not answer as it should.
    pub(super) fn target(reason: impl Into<String>) -> Self {
        Self::Target(reason.into())
    }

    /// What a library says. If a system call failed, that is the trouble; else `what` goes in front.
    pub(super) fn with(what: &str, error: &(dyn Error + 'static)) -> Self {
        let (mut deepest, mut words) = (error, error.to_string());
        while let Some(source) = deepest.source() {
            deepest = source;
            let further = source.to_string();
            if !words.contains(&further) {
                words = format!("{words}: {further}");
            }
        }
        match deepest.downcast_ref::<io::Error>() {
            Some(error) if error.raw_os_error().is_some() => Self::of_io(error),
            _ => Self::Target(format!("{what}: {words}")),
        }
    }

    fn of_io(error: &io::Error) -> Self {
        if lies_with_us(error) { Self::Node(words(error)) } else { Self::Target(words(error)) }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::of_io(&error)
    }
}

/// Whether the error is about this node's resources rather than about the target.
fn lies_with_us(error: &io::Error) -> bool {
    const OURS: [Errno; 8] = [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::EADDRNOTAVAIL,
        // No right to open a raw socket, or a firewall of this node.
        Errno::EPERM,
        Errno::EAGAIN,
        Errno::EADDRINUSE,
    ];
    error.raw_os_error().is_some_and(|code| OURS.contains(&Errno::from_raw(code)))
}

/// The kernel's own words, as an operator knows them from other tools, without the number.
pub(super) fn words(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else { return error.to_string() };
    let description = Errno::from_raw(code).desc();
    let mut letters = description.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Text of a target as it may be shown: its first line, without control characters, and not too much of it.
pub(crate) fn shown(text: &[u8]) -> String {
    const MOST: usize = 120;
    let text = String::from_utf8_lossy(text);
    let line = text.trim_start().lines().next().unwrap_or_default().trim_end();
    let plain = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    let mut result: String = line.chars().take(MOST).map(plain).collect();
    if line.chars().nth(MOST).is_some() {
        result.push('…');
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_operators_know_them() {
        for (errno, expected) in [
            (Errno::ECONNREFUSED, "connection refused"),
            (Errno::EHOSTUNREACH, "no route to host"),
            (Errno::ENETUNREACH, "network is unreachable"),
            (Errno::ECONNRESET, "connection reset by peer"),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(Trouble::from(error), Trouble::target(expected));
        }
        let ours = io::Error::from_raw_os_error(Errno::EMFILE as i32);
        assert_eq!(Trouble::from(ours), Trouble::Node("too many open files".into()));
    }

    #[test]
    fn what_a_target_says_is_shown_on_one_short_line() {
        assert_eq!(shown(b" full\x1b[2J up\r\nmore"), "full\u{fffd}[2J up");
        assert_eq!(shown(&[b'x'; 500]).chars().count(), 121);
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }
}
