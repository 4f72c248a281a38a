//! Values that both sources have: ports, masks, times, and text as it may be shown or written.

use std::{net::IpAddr, time::Duration};

use ipnet::ip_mask_to_prefix;

/// Longest text in a message or a row, in characters.
const MAX_SHOWN: usize = 300;

/// Text as it may be shown: one line, without what moves a terminal's cursor, of bounded length.
pub(super) fn shown(text: &str) -> String {
    let mut result = String::new();
    for (index, letter) in text.chars().enumerate() {
        match letter {
            _ if index == MAX_SHOWN => {
                result.push('…');
                break;
            }
            '\t' => result.push(' '),
            _ if letter.is_control() => result.extend(letter.escape_debug()),
            _ => result.push(letter),
        }
    }
    result
}

/// A text as a scalar of YAML, plain where that cannot be taken for anything else.
pub(super) fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '/')
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/'))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_word || text.parse::<std::net::Ipv4Addr>().is_ok() {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            // What YAML calls printable may stand for itself; of the rest every letter has a number.
            ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' => {
                quoted.push(letter)
            }
            _ => quoted.push_str(&format!("\\U{:08X}", u32::from(letter))),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of texts in YAML.
pub(super) fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| scalar(word)).collect::<Vec<_>>().join(", "))
}

/// A time in YAML, in the largest unit of which it is a whole number, milliseconds at least.
pub(super) fn time(time: Duration) -> String {
    match (time.as_millis() % 1000, time.as_secs()) {
        (0, seconds) if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (0, seconds) if seconds > 0 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        (0, seconds) => format!("{seconds}s"),
        _ => format!("{}ms", time.as_millis()),
    }
}

/// The port of this number or name; a name is looked up in the text of `/etc/services`.
pub(super) fn port(text: &str, services: &str, protocol: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let lines = services.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, port) = (words.next()?, words.next()?);
            let (number, of) = port.split_once('/')?;
            (of == protocol && (name == text || words.any(|alias| alias == text))).then(|| number.parse().ok())?
        })
        .next()
}

/// The length of a prefix, written as a mask or as a length; of IPv6 it is a length alone.
pub(super) fn prefix_length(text: &str, is_ipv4: bool) -> Option<u8> {
    if let Ok(length) = text.parse::<u8>() {
        return (1..=if is_ipv4 { 32 } else { 128 }).contains(&length).then_some(length);
    }
    let mask: IpAddr = text.parse().ok()?;
    let length = ip_mask_to_prefix(mask).ok()?;
    (mask.is_ipv4() == is_ipv4 && length > 0).then_some(length)
}

/// Words as a shell reads them: in quotes where that is needed.
pub(super) fn shell_words(words: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-:@%+,=".contains(letter))
    };
    let quoted = |word: &String| {
        if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_numbers_and_names() {
        let services = "# comment\nhttp 80/tcp www # web\ndomain\t53/tcp\ndomain 53/udp\nhttp 8/udp\n";
        let found = ["80", "http", "www", "domain", "nobody", "70000"].map(|text| port(text, services, "tcp"));
        assert_eq!(found, [Some(80), Some(80), Some(80), Some(53), None, None]);
    }

    #[test]
    fn masks_have_lengths() {
        let v4 =
            ["255.255.255.0", "24", "255.0.255.0", "0.0.0.0", "ffff::", "33"].map(|text| prefix_length(text, true));
        assert_eq!(v4, [Some(24), Some(24), None, None, None, None]);
        assert_eq!([prefix_length("64", false), prefix_length("ffff::", false)], [Some(64), Some(16)]);
    }

    #[test]
    fn scalars_mean_their_text() {
        for text in [
            "a",
            "10.0.0.1",
            "2001:db8::1",
            "yes",
            "",
            "a: b",
            "\"",
            "\\",
            "\u{7f}\n\t",
            "é\u{feff}\u{1f600}",
            "1e3",
            "~",
        ] {
            let read: String = serde_saphyr::from_str(&scalar(text)).unwrap();
            assert_eq!(read, text);
        }
    }

    #[test]
    fn words_survive_a_shell() {
        let words = ["/bin/a", "b c", "it's", "$x", ""].map(str::to_owned);
        assert_eq!(shell_words(&words), r"/bin/a 'b c' 'it'\''s' '$x' ''");
    }
}
