//! What the guest says to the host on its second serial line: one JSON value a line.

use serde::{Deserialize, Serialize};

use crate::figure::Figure;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// What is being done.
    Progress(String),
    /// A result.
    Figure(Figure),
    /// Why there will be no further results.
    Failed(String),
    /// There are no further results.
    Done,
}

impl Line {
    /// As sent.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("a line has only text and numbers") + "\n"
    }

    /// As received; `None` for an empty line. The serial line puts carriage returns between.
    ///
    /// # Errors
    ///
    /// If the guest did not send it.
    pub(super) fn parse(text: &str) -> serde_json::Result<Option<Self>> {
        match text.trim() {
            "" => Ok(None),
            text => serde_json::from_str(text).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Name;

    #[test]
    fn lines_arrive_as_they_were_sent() {
        let name = Name { section: "vm", case: "packet", subject: "direct", quantity: "instructions", flows: Some(1) };
        let figure = Figure::of(name, "instructions", &[1.5, 2.0]);
        for line in [Line::Progress("a\n\"b\"".into()), Line::Figure(figure), Line::Failed("no".into()), Line::Done] {
            let sent = line.text().replace('\n', "\r\n");
            assert_eq!(Line::parse(&sent).expect("it was sent"), Some(line));
        }
        assert_eq!(Line::parse("\r\n").expect("nothing was sent"), None);
    }

    #[test]
    fn what_the_guest_did_not_send_is_an_error() {
        for text in ["[    0.1] Kernel panic", "{\"figure\":{}}", "\"don"] {
            assert!(Line::parse(text).is_err(), "{text}");
        }
    }
}
