//! Programs with their arguments, as keepalived takes them in one string.

/// The words of a command: blanks part them, quotes hold them together.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_begun) = (Vec::new(), String::new(), None, false);
    for letter in text.chars() {
        match letter {
            '\'' | '"' if quote.is_none() => (quote, is_begun) = (Some(letter), true),
            _ if quote == Some(letter) => quote = None,
            _ if letter.is_whitespace() && quote.is_none() => {
                if is_begun {
                    words.push(std::mem::take(&mut word));
                }
                is_begun = false;
            }
            _ => {
                word.push(letter);
                is_begun = true;
            }
        }
    }
    if is_begun {
        words.push(word);
    }
    words
}

/// A shell that looks at a variable and runs the command of its value.
pub(super) fn by_value(variable: &str, cases: &[(String, Vec<String>)]) -> Vec<String> {
    let case = |(value, command): &(String, Vec<String>)| {
        let command = super::super::values::shell_words(command);
        format!("'{value}') exec {command} ;;")
    };
    let cases: Vec<String> = cases.iter().map(case).collect();
    vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("case \"{variable}\" in {} esac", cases.join(" "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_words() {
        assert_eq!(words("  /bin/a b 'c d' \"e 'f'\" ''"), ["/bin/a", "b", "c d", "e 'f'", ""]);
        assert!(words(" ").is_empty());
    }
}
