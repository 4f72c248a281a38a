//! The lines of a configuration: includes, comments, `@NAME` conditions, `$PARAMETER`s, `~SEQ` and `~LST`.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::super::{
    Context,
    report::{Outcome, Place},
    values,
};

/// Most bytes of all files together.
const MAX_BYTES: u64 = 16 << 20;
/// Most files, and how deep they may include each other.
const MAX_FILES: usize = 1024;
const MAX_DEPTH: usize = 16;
/// Most lines, and most bytes in them, that parameters and sequences may make.
const MAX_LINES: usize = 200_000;
const MAX_EXPANDED: usize = 32 << 20;

/// A line to be read: no comment, no condition, no parameter is left in it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: Place,
    pub(super) text: String,
    /// Whether it was made from parameters, so that columns are those of the whole line.
    pub(super) is_made: bool,
}

/// A parameter: lines, with their places if it has several.
#[derive(Clone, Debug)]
enum Parameter {
    Text(String),
    Lines(Vec<(Place, String)>),
}

/// Where files come from.
pub(super) trait Files {
    /// The text of a file.
    fn read(&self, path: &Path, most: u64) -> Result<String, String>;
    /// The files that a pattern names.
    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, String>;
    /// The same path for the same file.
    fn canonical(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// Those of the machine.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path, most: u64) -> Result<String, String> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| error.to_string())?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err("is a directory".to_owned());
        }
        file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > most {
            return Err(format!("all files together are larger than {MAX_BYTES} bytes"));
        }
        String::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    }

    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let paths = glob::glob(pattern).map_err(|error| error.to_string())?;
        paths.map(|path| path.map_err(|error| error.to_string())).collect()
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    }
}

/// Reads files and makes lines of them.
pub(super) struct Reader<'a> {
    pub(super) context: Context,
    pub(super) lines: Vec<Line>,
    files: &'a dyn Files,
    config_id: Option<&'a str>,
    parameters: HashMap<String, Parameter>,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    read: HashMap<PathBuf, usize>,
    bytes: u64,
    expanded: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a dyn Files, config_id: Option<&'a str>) -> Self {
        Self {
            context: Context::default(),
            lines: Vec::new(),
            files,
            config_id,
            parameters: HashMap::new(),
            open: Vec::new(),
            read: HashMap::new(),
            bytes: 0,
            expanded: 0,
        }
    }

    /// Reads a file, and those that it includes.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, and what to do.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), (String, &'static str)> {
        let canonical = self.files.canonical(path);
        if self.open.contains(&canonical) {
            return Err((format!("{} includes itself", path.display()), "remove this line"));
        }
        if self.open.len() >= MAX_DEPTH || self.read.len() >= MAX_FILES {
            return Err((
                format!("more than {MAX_FILES} files, or {MAX_DEPTH} within each other"),
                "put them together",
            ));
        }
        let text = match self.files.read(path, MAX_BYTES.saturating_sub(self.bytes)) {
            Ok(text) => text,
            Err(why) => {
                return Err((
                    format!("{} cannot be read: {why}", path.display()),
                    "make it a readable text file, or remove the line that names it",
                ));
            }
        };
        self.bytes += text.len() as u64;
        let number = match self.read.get(&canonical) {
            Some(number) => *number,
            None => self.context.ledger.file(&path.display().to_string(), &text, is_blank),
        };
        self.read.insert(canonical.clone(), number);
        self.open.push(canonical);
        self.text(&text, number, path.parent().unwrap_or(Path::new("")));
        self.open.pop();
        Ok(())
    }

    fn text(&mut self, text: &str, file: usize, directory: &Path) {
        let mut definition: Option<(String, Vec<(Place, String)>)> = None;
        for (index, raw) in text.lines().enumerate() {
            let at = Place { file, line: index as u32 + 1, column: 1 };
            if let Some((_, lines)) = &mut definition {
                self.context.ledger.taken(at);
                let line = raw.trim_end();
                lines.push((at, without_comment(line.strip_suffix('\\').unwrap_or(line)).to_owned()));
                if line.ends_with('\\') {
                    continue;
                }
                let (name, lines) = definition.take().expect("it is there");
                self.parameters.insert(name, Parameter::Lines(lines));
                continue;
            }
            let line = without_comment(raw).trim_end();
            if let Some(pattern) = include(line) {
                self.include(pattern, at, directory);
                continue;
            }
            let conditional = self.condition(line.trim_start(), at);
            if let Some((name, "\\")) = conditional.and_then(parameter) {
                self.context.ledger.taken(at);
                definition = Some((name.to_owned(), Vec::new()));
                continue;
            }
            self.parameters.insert("_PWD".to_owned(), Parameter::Text(directory.display().to_string()));
            self.line(line, at, false, 0);
        }
        if let Some((name, lines)) = definition {
            let at = lines.last().map_or(Place { file, line: 1, column: 1 }, |line| line.0);
            let reason = format!("the definition of `${name}` goes on at the end of the file");
            self.context.fault(at, reason, "end its last line without `\\`");
        }
    }

    fn include(&mut self, pattern: &str, at: Place, directory: &Path) {
        self.context.ledger.taken(at);
        let pattern = pattern.trim_matches(['"', '\'']);
        let path = directory.join(pattern);
        let faults = |reader: &mut Self, (reason, remedy): (String, &str)| reader.context.fault(at, reason, remedy);
        if pattern.is_empty() {
            return faults(self, ("`include` names no file".to_owned(), "add the file's name"));
        }
        if pattern.contains('{') {
            return faults(self, (format!("`{pattern}` has braces"), "write a line for each file"));
        }
        if !pattern.contains(['*', '?', '[']) {
            if let Err(fault) = self.file(&path) {
                faults(self, fault);
            }
            return;
        }
        match self.files.matching(&path.display().to_string()) {
            Ok(paths) if paths.is_empty() => self.context.ledger.note(at, Outcome::Taken, "there is no such file"),
            Ok(paths) => {
                for path in paths {
                    if let Err(fault) = self.file(&path) {
                        faults(self, fault);
                    }
                }
            }
            Err(why) => {
                faults(self, (format!("`{pattern}` cannot be looked up: {why}"), "name each file in a line of its own"))
            }
        }
    }

    /// What stands behind conditions, if they hold. A line that is for another machine is noted.
    fn condition<'t>(&mut self, mut line: &'t str, at: Place) -> Option<&'t str> {
        while let Some(rest) = line.strip_prefix('@') {
            let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let holds = match word.strip_prefix('^') {
                Some(name) => self.config_id != Some(name),
                None => self.config_id == Some(word),
            };
            if !holds {
                let note = format!("for keepalived -i {}; --config-id takes it", word.trim_start_matches('^'));
                self.context.ledger.note(at, Outcome::NotOurs, note);
                return None;
            }
            self.context.ledger.taken(at);
            line = rest.trim_start();
        }
        Some(line)
    }

    /// Carries out what a line has in front, and replaces its parameters.
    fn line(&mut self, line: &str, at: Place, is_made: bool, depth: usize) {
        self.expanded += line.len() + 1;
        if depth > MAX_DEPTH || self.lines.len() >= MAX_LINES || self.expanded > MAX_EXPANDED {
            let reason = format!("parameters and sequences make more than {MAX_LINES} lines, or contain themselves");
            return self.context.fault(at, reason, "write less of them");
        }
        let before = line;
        let Some(line) = self.condition(line.trim_start(), at) else { return };
        if line.is_empty() {
            return;
        }
        if let Some(rest) = line.strip_prefix('~') {
            return self.sequence(rest, at, depth);
        }
        if let Some((name, value)) = parameter(line) {
            self.context.ledger.taken(at);
            self.parameters.insert(name.to_owned(), Parameter::Text(value.to_owned()));
            return;
        }
        match self.replace(line) {
            None => {
                // Blanks in place of its conditions, so that columns are right.
                let skipped = before[..before.len() - line.len()].chars().count();
                self.lines.push(Line { at, text: format!("{}{line}", " ".repeat(skipped)), is_made });
            }
            Some(Parameter::Text(text)) => self.line(&text, at, true, depth + 1),
            Some(Parameter::Lines(lines)) => {
                self.context.ledger.taken(at);
                for (place, text) in lines {
                    self.line(&text, place, true, depth + 1);
                }
            }
        }
    }

    /// The line with its first parameter replaced; `None` if it has none that is known.
    fn replace(&self, line: &str) -> Option<Parameter> {
        let mut from = 0;
        while let Some(start) = line[from..].find('$').map(|index| from + index) {
            from = start + 1;
            let (name, length) = name_at(&line[from..]);
            let Some(value) = self.value(name) else { continue };
            let (before, after) = (&line[..start], &line[from + length..]);
            return Some(match value {
                Parameter::Text(text) => Parameter::Text(format!("{before}{text}{after}")),
                Parameter::Lines(mut lines) => {
                    if let (false, Some((_, first))) = (before.trim().is_empty(), lines.first_mut()) {
                        *first = format!("{before}{first}");
                    }
                    if let (false, Some((_, last))) = (after.trim().is_empty(), lines.last_mut()) {
                        last.push_str(after);
                    }
                    Parameter::Lines(lines)
                }
            });
        }
        None
    }

    fn value(&self, name: &str) -> Option<Parameter> {
        match name {
            "_INSTANCE" => Some(Parameter::Text(self.config_id?.to_owned())),
            // Quoted, so that no comment begins here.
            "_HASH" => Some(Parameter::Text("\"#\"".to_owned())),
            "_BANG" => Some(Parameter::Text("\"!\"".to_owned())),
            _ => self.parameters.get(name).cloned(),
        }
    }

    /// `~SEQ(NAME, START, STEP, END) REST`, `~SEQx(…)`, `~LST(NAME, VALUE, …)`.
    fn sequence(&mut self, text: &str, at: Place, depth: usize) {
        let inside = text.split_once('(').and_then(|(kind, rest)| {
            let end = closing(rest)?;
            Some((kind.trim(), &rest[..end], &rest[end + 1..]))
        });
        let rounds = inside.and_then(|(kind, arguments, rest)| {
            let mut arguments = arguments.to_owned();
            for _ in 0..MAX_DEPTH {
                match self.replace(&arguments) {
                    Some(Parameter::Text(text)) if text.len() < 65_536 => arguments = text,
                    _ => break,
                }
            }
            let rounds = match kind {
                "SEQ" => numbers(&arguments, |number| number.to_string())?,
                "SEQx" => numbers(&arguments, |number| format!("{number:x}"))?,
                "LST" => values_of(&arguments)?,
                _ => return None,
            };
            Some((rounds, rest))
        });
        let Some((rounds, rest)) = rounds else {
            let remedy = "write it as `~SEQ(NAME, 1, 10)`, `~SEQx(NAME, 0x10, 0x10, 0xf0)` or `~LST(NAME, a, b)`";
            return self.context.fault(at, format!("`~{}` is no sequence", values::shown(text)), remedy);
        };
        self.context.ledger.taken(at);
        let rest = rest.trim_start();
        for round in rounds {
            for (name, value) in round {
                self.parameters.insert(name, Parameter::Text(value));
            }
            let faults = self.context.faults.len();
            self.line(rest, at, true, depth + 1);
            if self.context.faults.len() > faults {
                return;
            }
        }
    }
}

/// What a round of a sequence sets.
type Round = Vec<(String, String)>;

/// Most rounds of one sequence.
const MAX_ROUNDS: i64 = 65_536;

fn numbers(arguments: &str, show: impl Fn(i64) -> String) -> Option<Vec<Round>> {
    let words: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let (name, numbers) = words.split_first()?;
    let numbers: Vec<i64> = numbers.iter().map(|word| number(word)).collect::<Option<_>>()?;
    let (start, step, end) = match numbers[..] {
        [end] => (end.signum(), end.signum(), end),
        [start, end] => (start, if end < start { -1 } else { 1 }, end),
        [start, step, end] => (start, step, end),
        _ => return None,
    };
    let count = end.checked_sub(start)?.checked_div(step)?;
    if !(0..MAX_ROUNDS).contains(&count) || !is_name(name) {
        return None;
    }
    Some((0..=count).map(|index| vec![((*name).to_owned(), show(start + index * step))]).collect())
}

fn number(text: &str) -> Option<i64> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok()?,
        None => text.parse().ok()?,
    };
    (-(1 << 32)..=1 << 32).contains(&number).then_some(number)
}

/// `NAME, a, b` or `{NAME, OTHER}, {a, b}, {c, d}`.
fn values_of(arguments: &str) -> Option<Vec<Round>> {
    let mut groups = groups(arguments).into_iter();
    let names: Vec<String> = groups.next()?.into_iter().filter(|name| is_name(name)).collect();
    let round = |values: Vec<String>| {
        (values.len() == names.len() && !names.is_empty()).then(|| names.iter().cloned().zip(values).collect())
    };
    groups.map(round).collect()
}

/// What stands between commas, each with what its braces hold.
fn groups(text: &str) -> Vec<Vec<String>> {
    let (mut groups, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let (group, after) = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((group, after)) => (group.split(',').map(|word| word.trim().to_owned()).collect(), after.trim_start()),
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (vec![rest[..end].trim().to_owned()], &rest[end..])
            }
        };
        groups.push(group);
        rest = after.strip_prefix(',').unwrap_or(if after.starts_with(',') { "" } else { after }).trim_start();
    }
    groups
}

/// Where the parenthesis ends that is open.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (index, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// The name that a text begins with, in braces or up to a blank, and the length of both.
fn name_at(text: &str) -> (&str, usize) {
    if let Some((name, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return (name, name.len() + 2);
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    // Without braces a blank has to follow.
    let is_alone = text[end..].chars().next().is_none_or(char::is_whitespace);
    (if is_alone { &text[..end] } else { "" }, end)
}

/// `$NAME=VALUE`.
fn parameter(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    is_name(name).then(|| (name, value.trim()))
}

/// What a line includes.
fn include(line: &str) -> Option<&str> {
    const WORDS: [&str; 6] = ["include", "includer", "includem", "includew", "includeb", "includea"];
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    WORDS.contains(&word).then(|| rest.trim())
}

fn is_blank(line: &str) -> bool {
    without_comment(line).trim().is_empty()
}

/// A line up to its comment, which begins with `#` or `!` outside of quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut escaped) = (None, false);
    for (index, letter) in line.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' | '\'' if quote.is_none() => quote = Some(letter),
            _ if quote == Some(letter) => quote = None,
            '#' | '!' if quote.is_none() => return &line[..index],
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files in memory; patterns are prefixes.
    struct Memory(Vec<(&'static str, &'static str)>);

    impl Files for Memory {
        fn read(&self, path: &Path, _: u64) -> Result<String, String> {
            let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
        }

        fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
            let prefix = pattern.split('*').next().unwrap_or_default();
            Ok(self.0.iter().map(|(name, _)| PathBuf::from(name)).filter(|path| path.starts_with(prefix)).collect())
        }
    }

    fn read(files: &[(&'static str, &'static str)], config_id: Option<&str>) -> (Vec<String>, Vec<String>) {
        let files = Memory(files.to_vec());
        let mut reader = Reader::new(&files, config_id);
        reader.file(Path::new(files.0[0].0)).unwrap();
        let lines = reader.lines.iter().map(|line| line.text.trim().to_owned()).collect();
        (lines, reader.context.faults.into_iter().map(|(_, reason, _)| reason).collect())
    }

    fn lines(text: &'static str) -> Vec<String> {
        let (lines, faults) = read(&[("/k", text)], Some("main"));
        assert_eq!(faults, Vec::<String>::new());
        lines
    }

    #[test]
    fn comments_begin_outside_of_quotes() {
        assert_eq!(lines("a \"b # c\" # d\n! e\nf 'it!' ! g"), ["a \"b # c\"", "f 'it!'"]);
    }

    #[test]
    fn conditions_hold_for_one_machine() {
        assert_eq!(lines("@main a\n@other b\n@^other c\n@^main d\n e"), ["a", "c", "e"]);
    }

    #[test]
    fn parameters_are_replaced_when_they_are_used() {
        let text = "$BASE=10.2.${SUB}\n$SUB=0\n${BASE}.1\n$SUB=10\n${BASE}.1 $SUB x$SUBx ${NOT}\n$W=@other\n$W gone";
        assert_eq!(lines(text), ["10.2.0.1", "10.2.10.1 10 x$SUBx ${NOT}"]);
    }

    #[test]
    fn definitions_have_several_lines() {
        let text = "$RS= \\\nreal_server 10.0.0.${N} 80 { \\\n weight 1 \\\n}\n$N=1\n$RS\n$N=2\n$RS\n";
        assert_eq!(
            lines(text),
            ["real_server 10.0.0.1 80 {", "weight 1", "}", "real_server 10.0.0.2 80 {", "weight 1", "}"]
        );
    }

    #[test]
    fn sequences_make_lines() {
        assert_eq!(lines("~SEQ(N, 3) a${N}"), ["a1", "a2", "a3"]);
        assert_eq!(
            lines("~SEQ(N, 2, 0) ~SEQx(M, 0x10, 16, 0x20) ${N}:${M}"),
            ["2:10", "2:20", "1:10", "1:20", "0:10", "0:20"]
        );
        assert_eq!(lines("~LST(N, a, b) ${N}"), ["a", "b"]);
        assert_eq!(lines("~LST({A, B}, {1, 2},{3,4}) ${A}-${B}"), ["1-2", "3-4"]);
    }

    #[test]
    fn what_makes_no_end_is_a_fault() {
        let faults = |text| read(&[("/k", text)], None).1;
        assert_eq!(faults("$A=${A} x\n${A}").len(), 1);
        assert!(!faults("~SEQ(A, 60000) ~SEQ(B, 60000) ${A}").is_empty());
        assert!(faults("~SEQ(A) x")[0].contains("is no sequence"));
        assert!(faults("~SEQ(A, 1, 0, 3) x")[0].contains("is no sequence"));
        assert!(faults("$A= \\\nb \\")[0].contains("goes on at the end"));
    }

    #[test]
    fn files_include_files_beside_them() {
        let files = [("/e/k", "include d/*\nb"), ("/e/d/one", "include two"), ("/e/d/two", "$A=1\n$A")];
        let (found, faults) = read(&files, None);
        assert_eq!((found, faults), (vec!["1".into(), "1".into(), "b".into()], vec![]));
        let (_, faults) = read(&[("/k", "include k\ninclude none\nincludea\ninclude {a,b}")], None);
        assert_eq!(faults.len(), 4);
        assert!(faults[0].contains("/k includes itself") && faults[1].contains("/none cannot be read"), "{faults:?}");
    }
}
