//! "Did you mean …?"

/// The candidate that the word was probably meant to be: at most two edits away, three for words of nine characters and
/// more, and fewer than half of the word.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Longer words are no slips of the finger, and the distance takes quadratic time.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let allowed = if word.len() >= 9 { 3 } else { 2 };
    candidates
        .iter()
        .map(|&candidate| (distance(&word, candidate), candidate))
        .filter(|&(distance, _)| distance <= allowed && 2 * distance < word.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edit distance with insertions, deletions and replacements (Levenshtein 1966).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (deleted, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = deleted + 1;
        for (column, &other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

/// `a`, `b` or `c`.
pub(super) fn either(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{either, nearest};

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let keys = ["name", "backends", "on_backend_down", "vip"];
        for (word, expected) in [
            ("backend", Some("backends")),
            ("Backends", Some("backends")),
            ("bakcends", Some("backends")),
            ("nmae", None),
            ("names", Some("name")),
            ("onbackenddown", Some("on_backend_down")),
            ("ip", None),
            ("servers", None),
            ("", None),
            ("ñame", Some("name")),
        ] {
            assert_eq!(nearest(word, &keys), expected, "{word}");
        }
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(either(&[]), "");
        assert_eq!(either(&["a"]), "`a`");
        assert_eq!(either(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
