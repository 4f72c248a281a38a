//! Tables of bad files.

use std::fmt::Write as _;

use evenkeel::config::{self, Problem};

use super::HEAD;

const SERVICE: &str =
    "services:\n  - name: web\n    vip: 192.0.2.0/28\n    port: 80\n    protocol: tcp\n    probe: none\n";

const PROBED: &str =
    "services:\n- vip: 192.0.2.1\n  name: web\n  port: 80\n  protocol: tcp\n  backends: [10.0.0.1]\n  ";

/// A bad text and what must be found in it.
struct Case {
    title: String,
    text: String,
    expected: Vec<(u32, u32, String)>,
}

/// Reads a file of cases; its first lines explain the format.
fn cases(source: &str, head: &str) -> Vec<Case> {
    source.split("\n== ").skip(1).map(|case| one_case(case, head)).collect()
}

fn one_case(source: &str, head: &str) -> Case {
    let (title, rest) = source.split_once('\n').unwrap_or((source, ""));
    let (mut head, mut body, mut fragments) = (head.to_owned(), String::new(), Vec::new());
    for line in rest.lines() {
        if let Some(limits) = line.strip_prefix("%limits ") {
            head = head.replace("[eth0]", &format!("[eth0], limits: {limits}"));
        } else if let Some(fragment) = line.strip_prefix("?0 ") {
            fragments.push((true, fragment.to_owned()));
        } else if let Some(fragment) = line.strip_prefix("? ") {
            fragments.push((false, fragment.to_owned()));
        } else {
            writeln!(body, "{line}").unwrap();
        }
    }
    let (text, places) = take_marks(&(head + &body.replace("@252@", &addresses(252))));
    let mut places = places.into_iter();
    let expected = fragments
        .into_iter()
        .map(|(nowhere, fragment)| {
            let (line, column) = if nowhere { (0, 0) } else { places.next().expect("a mark for each fragment") };
            (line, column, fragment)
        })
        .collect();
    assert_eq!(places.next(), None, "{title}: more marks than fragments");
    Case { title: title.to_owned(), text, expected }
}

fn addresses(count: u32) -> String {
    let all: Vec<_> = (1..=count).map(|number| format!("10.0.{}.{}", number / 200, number % 200 + 1)).collect();
    all.join(", ")
}

fn take_marks(marked: &str) -> (String, Vec<(u32, u32)>) {
    let (mut text, mut places, mut line, mut column) = (String::new(), Vec::new(), 1, 1);
    for letter in marked.chars() {
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
    (text, places)
}

fn failure(case: &Case) -> Option<String> {
    let found = match config::parse(&case.text, "bad.yaml") {
        Ok(_) => return Some("accepted".to_owned()),
        Err(error) => error,
    };
    let matches = |(problem, (line, column, fragment)): (&Problem, &(u32, u32, String))| {
        (problem.line, problem.column) == (*line, *column) && problem.to_string().contains(fragment.as_str())
    };
    let mut expected = case.expected.clone();
    expected.sort_by_key(|&(line, column, _)| (line, column));
    let same = found.problems.len() == expected.len() && found.problems.iter().zip(&expected).all(matches);
    let complete = found.problems.iter().all(|problem| !problem.reason.is_empty() && !problem.remedy.is_empty());
    (!same || !complete).then(|| format!("expected {expected:#?}\nfound\n{found}"))
}

#[test]
fn bad_files_are_refused_with_place_reason_and_remedy() {
    let backend_head = format!("{HEAD}{SERVICE}");
    let probe_head = format!("{HEAD}{PROBED}");
    let all: Vec<Case> = [
        (include_str!("document.cases"), ""),
        (include_str!("node.cases"), "version: 1\nservices: []\n"),
        (include_str!("service.cases"), HEAD),
        (include_str!("backend.cases"), backend_head.as_str()),
        (include_str!("across.cases"), HEAD),
        (include_str!("probe.cases"), probe_head.as_str()),
    ]
    .into_iter()
    .flat_map(|(source, head)| cases(source, head))
    .collect();
    assert!(all.len() >= 100, "only {} cases", all.len());
    let failures: Vec<String> = all
        .iter()
        .filter_map(|case| failure(case).map(|why| format!("== {}\n{}{why}\n", case.title, case.text)))
        .collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), all.len(), failures.join("\n"));
}
