//! What the host tells the guest, and the guest's last word.

use serde::{Deserialize, Serialize};

/// Where the orders lie in the guest, as JSON.
pub(crate) const PATH: &str = "/orders";

/// What is to be run.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// The test programs' paths in the guest, in order.
    pub(crate) programs: Vec<String>,
    /// What each is given.
    pub(crate) arguments: Vec<String>,
}

/// How the guest's last line begins; whether all tests went well follows.
const LAST: &str = "the guest has run its tests: ";

/// The guest's last line.
pub(crate) fn last_line(success: bool) -> String {
    format!("{LAST}{success}\n")
}

/// Reads it; `None` for any other line.
pub(crate) fn read_last_line(line: &str) -> Option<bool> {
    line.trim_end().strip_prefix(LAST)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_told_from_others() {
        for success in [true, false] {
            let sent = last_line(success).replace('\n', "\r\n");
            assert_eq!(read_last_line(&sent), Some(success));
        }
        for line in ["test result: ok. 1 passed", "the guest has run its tests: perhaps", ""] {
            assert_eq!(read_last_line(line), None, "{line}");
        }
    }
}
