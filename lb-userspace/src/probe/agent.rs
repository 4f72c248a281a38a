//! The agent probe: a line that says how the server wants to be treated, as HAProxy's agent check has it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    check::Dial,
    socket,
    trouble::{Trouble, shown},
};
use crate::{
    config::model::Agent,
    health::{Advice, Wants},
};

/// The longest line, in bytes.
const MOST: usize = 512;

/// Connects, sends what there is to send, and reads one line.
pub(super) async fn check(target: &Dial<'_>, agent: &Agent) -> Result<Advice, Trouble> {
    let mut stream = socket::tcp(target).await?;
    stream.write_all(agent.send.as_bytes()).await?;
    let mut line = Vec::with_capacity(MOST);
    let mut part = [0; MOST];
    let end = loop {
        if let Some(end) = line.iter().position(|octet| matches!(octet, b'\n' | b'\r' | 0)) {
            break end;
        }
        if line.len() >= MOST {
            return Err(Trouble::target(format!("the agent's line is longer than {MOST} octets")));
        }
        match stream.read(&mut part).await? {
            0 => break line.len(),
            length => line.extend_from_slice(&part[..length]),
        }
    };
    parse(&line[..end])
}

/// Reads a line: words between blanks, tabs or commas; `#` begins a remark.
fn parse(line: &[u8]) -> Result<Advice, Trouble> {
    let garbage = || Trouble::target(format!("the agent says `{}`, which is no answer of an agent", shown(line)));
    let text = std::str::from_utf8(line).map_err(|_| garbage())?;
    let (words, remark) = text.split_once('#').unwrap_or((text, ""));
    let mut advice = Advice::default();
    let (mut said, mut down) = (false, None);
    for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        said = true;
        match word.to_ascii_lowercase().as_str() {
            "up" => {}
            "ready" => advice.wants = Some(Wants::Ready),
            "drain" => advice.wants = Some(Wants::Drain),
            "maint" => advice.wants = Some(Wants::Maintenance),
            word @ ("down" | "fail" | "failed" | "stopped") => down = Some(word.to_owned()),
            // Limits of connections are not the balancer's.
            word if word.starts_with("maxconn:") => {}
            word => {
                let percent = word.strip_suffix('%').ok_or_else(garbage)?;
                advice.weight_percent = Some(percent.parse().map_err(|_| garbage())?);
            }
        }
    }
    match down {
        _ if !said => Err(Trouble::target("the agent says nothing")),
        None => Ok(advice),
        Some(word) if remark.trim().is_empty() => Err(Trouble::target(format!("the agent says {word}"))),
        Some(word) => Err(Trouble::target(format!("the agent says {word}: {}", shown(remark.as_bytes())))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_line_panics_and_every_refusal_says_why(line: Vec<u8>) {
            match parse(&line) {
                Ok(_) => {}
                Err(Trouble::Target(reason)) => prop_assert!(reason.starts_with("the agent says")),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn lines_of_agents() {
        let good = |percent, wants| Ok(Advice { weight_percent: percent, wants });
        let bad = |reason: &str| Err(Trouble::target(reason));
        for (line, expected) in [
            ("up", good(None, None)),
            ("UP ready 50%", good(Some(50), Some(Wants::Ready))),
            ("75%", good(Some(75), None)),
            ("0%", good(Some(0), None)),
            ("drain", good(None, Some(Wants::Drain))),
            ("maint,10%\t", good(Some(10), Some(Wants::Maintenance))),
            ("up maxconn:30 # fine", good(None, None)),
            ("down", bad("the agent says down")),
            ("failed #disk is full", bad("the agent says failed: disk is full")),
            ("90% stopped", bad("the agent says stopped")),
            ("", bad("the agent says nothing")),
            ("# nothing", bad("the agent says nothing")),
            ("300%", bad("the agent says `300%`, which is no answer of an agent")),
            ("-1%", bad("the agent says `-1%`, which is no answer of an agent")),
            ("HTTP/1.1 400", bad("the agent says `HTTP/1.1 400`, which is no answer of an agent")),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
        assert!(parse(b"\xff\xfe").is_err());
    }
}
