//! Tables of what is refused.

use super::{ImportError, ipvsadm, keepalived, options};

struct Case {
    title: String,
    text: String,
    expected: Vec<(u32, u32, String)>,
}

fn cases(source: &str) -> Vec<Case> {
    source.split("\n== ").skip(1).map(one_case).collect()
}

fn one_case(source: &str) -> Case {
    let (title, rest) = source.split_once('\n').unwrap_or((source, ""));
    let (fragments, lines): (Vec<&str>, Vec<&str>) = rest.lines().partition(|line| line.starts_with("? "));
    let (mut text, mut places, mut line, mut column) = (String::new(), Vec::new(), 1, 1);
    for letter in lines.join("\n").chars() {
        match letter {
            '»' => {
                places.push((line, column));
                continue;
            }
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
        text.push(letter);
    }
    // A fragment without a mark of its own has that of the one before.
    let last = places.last().copied().expect("a mark");
    let expected = fragments.iter().enumerate().map(|(index, fragment)| {
        let (line, column) = places.get(index).copied().unwrap_or(last);
        (line, column, fragment[2..].to_owned())
    });
    Case { title: title.to_owned(), expected: expected.collect(), text }
}

fn failure(case: &Case, result: Result<(), ImportError>) -> Option<String> {
    let Err(error) = result else { return Some("accepted".to_owned()) };
    let found: Vec<_> =
        error.problems.iter().map(|p| (p.line, p.column, format!("{}; {}", p.reason, p.remedy))).collect();
    let is_found = |(line, column, fragment): &(u32, u32, String)| {
        found.iter().any(|found| (found.0, found.1) == (*line, *column) && found.2.contains(fragment.as_str()))
    };
    let complete = error.problems.iter().all(|problem| !problem.reason.is_empty() && !problem.remedy.is_empty());
    let as_text =
        error.to_string().lines().all(|line| line.starts_with("rules:") || line.starts_with("keepalived.conf:"));
    let same = found.len() == case.expected.len() && case.expected.iter().all(is_found);
    (!same || !complete || !as_text).then(|| format!("expected {:#?}\nfound\n{error}", case.expected))
}

#[test]
fn bad_input_is_refused_with_place_reason_and_remedy() {
    let rules = cases(include_str!("ipvsadm.cases")).into_iter().map(|case| {
        let result = ipvsadm::import(&case.text, "rules", &options()).map(drop);
        (failure(&case, result), case)
    });
    let files = cases(include_str!("keepalived.cases")).into_iter().map(|case| {
        let result = keepalived::import_text(&case.text, &options()).map(drop);
        (failure(&case, result), case)
    });
    let all: Vec<_> = rules.chain(files).collect();
    assert!(all.len() >= 60, "only {} cases", all.len());
    let failures: Vec<String> = all
        .iter()
        .filter_map(|(why, case)| Some(format!("== {}\n{}\n{}", case.title, case.text, why.as_ref()?)))
        .collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), all.len(), failures.join("\n"));
}
