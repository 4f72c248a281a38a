//! The blocks of a configuration: words, `{` and `}`.

use super::{
    super::{
        Context,
        report::{Outcome, Place},
    },
    source::Line,
};

/// How deep blocks may lie in each other.
const MAX_DEPTH: usize = 16;

/// A word and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: Place,
}

/// A line of words, with a block if one follows.
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub(super) words: Vec<Word>,
    pub(super) block: Vec<Statement>,
    /// Its `{`, if it has a block.
    pub(super) open: Option<Place>,
    /// The `}` of its block.
    pub(super) end: Option<Place>,
}

impl Statement {
    /// Its first word.
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", |word| &word.text)
    }

    /// Where it begins.
    pub(super) fn at(&self) -> Place {
        self.words.first().map_or_else(Place::default, |word| word.at)
    }

    /// A word behind the name, from 0.
    pub(super) fn argument(&self, index: usize) -> Option<&Word> {
        self.words.get(index + 1)
    }

    /// The text of a word behind the name, or an empty one.
    pub(super) fn text(&self, index: usize) -> &str {
        self.argument(index).map_or("", |word| &word.text)
    }

    /// Notes the same of all its lines.
    pub(super) fn cover(&self, context: &mut Context, outcome: Outcome, note: &str) {
        self.frame(context, outcome, note);
        for inner in &self.block {
            inner.cover(context, outcome, note);
        }
    }

    /// Notes the same of its first line and of the braces of its block.
    pub(super) fn frame(&self, context: &mut Context, outcome: Outcome, note: &str) {
        let words = self.words.iter().map(|word| word.at);
        for at in words.chain(self.open).chain(self.end) {
            context.ledger.note(at, outcome, note);
        }
    }

    /// As [`frame`](Self::frame), of a block that means the same here.
    pub(super) fn taken(&self, context: &mut Context) {
        self.frame(context, Outcome::Taken, "");
    }
}

/// Reads blocks; faults are noted.
pub(super) fn read(context: &mut Context, lines: &[Line]) -> Vec<Statement> {
    // The statements of each block that is open, the innermost last.
    let mut open: Vec<Vec<Statement>> = vec![Vec::new()];
    for line in lines {
        let mut may_open = false;
        for token in tokens(context, line) {
            match token {
                Token::Word(word) => {
                    let level = open.last_mut().expect("the file itself is open");
                    if !may_open {
                        level.push(Statement::default());
                    }
                    level.last_mut().expect("one was begun").words.push(word);
                    may_open = true;
                }
                Token::Open(at) => {
                    // On a line of its own it belongs to the line before.
                    let level = open.last_mut().expect("the file itself is open");
                    match level.last_mut().filter(|statement| statement.open.is_none()) {
                        Some(statement) => statement.open = Some(at),
                        None => {
                            context.fault(at, "`{` without a name in front", "remove it, or name the block");
                            level.push(Statement { open: Some(at), ..Statement::default() });
                        }
                    }
                    if open.len() > MAX_DEPTH {
                        context.fault(
                            at,
                            format!("more than {MAX_DEPTH} blocks in each other"),
                            "look for a missing `}`",
                        );
                        return Vec::new();
                    }
                    open.push(Vec::new());
                    may_open = false;
                }
                Token::Close(at) => {
                    may_open = false;
                    if open.len() == 1 {
                        context.fault(at, "`}` without a block", "remove it, or look for a missing `{`");
                        continue;
                    }
                    close(&mut open, Some(at));
                }
            }
        }
    }
    while open.len() > 1 {
        let begun = open[open.len() - 2].last().map_or_else(Place::default, Statement::at);
        context.fault(begun, "the block has no end", "add a `}`");
        close(&mut open, None);
    }
    open.pop().unwrap_or_default()
}

fn close(open: &mut Vec<Vec<Statement>>, end: Option<Place>) {
    let block = open.pop().unwrap_or_default();
    if let Some(statement) = open.last_mut().and_then(|level| level.last_mut()) {
        (statement.block, statement.end) = (block, end);
    }
}

enum Token {
    Word(Word),
    Open(Place),
    Close(Place),
}

fn tokens(context: &mut Context, line: &Line) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut letters = line.text.chars().zip(1..).peekable();
    while let Some(&(letter, column)) = letters.peek() {
        let at = Place { column: if line.is_made { 1 } else { column }, ..line.at };
        if letter.is_whitespace() {
            letters.next();
            continue;
        }
        let (mut text, mut is_quoted, mut quote) = (String::new(), false, None);
        while let Some(&(letter, _)) = letters.peek() {
            if letter.is_whitespace() && quote.is_none() {
                break;
            }
            letters.next();
            match letter {
                '\\' => {
                    is_quoted = true;
                    text.extend(escape(&mut letters));
                }
                '"' | '\'' if quote.is_none() => (quote, is_quoted) = (Some(letter), true),
                _ if quote == Some(letter) => quote = None,
                _ => text.push(letter),
            }
        }
        if quote.is_some() {
            context.fault(at, "a quote has no end in its line", "add it");
        }
        braces(&mut tokens, text, is_quoted, at);
    }
    tokens
}

/// A word of braces alone is as many as it has; one that ends with `{` opens a block as well.
fn braces(tokens: &mut Vec<Token>, text: String, is_quoted: bool, at: Place) {
    if !is_quoted && !text.is_empty() && text.chars().all(|letter| matches!(letter, '{' | '}')) {
        tokens.extend(text.chars().map(|letter| if letter == '{' { Token::Open(at) } else { Token::Close(at) }));
        return;
    }
    match text.strip_suffix('{').filter(|_| !is_quoted) {
        Some(name) => tokens.extend([Token::Word(Word { text: name.to_owned(), at }), Token::Open(at)]),
        None => tokens.push(Token::Word(Word { text, at })),
    }
}

/// What stands behind a `\`.
fn escape(letters: &mut std::iter::Peekable<impl Iterator<Item = (char, u32)>>) -> Option<char> {
    let (letter, _) = letters.next()?;
    let mut digits = |radix: u32, most: usize, first: Option<char>| {
        let mut number = first.and_then(|letter| letter.to_digit(radix)).unwrap_or(0);
        let mut count = usize::from(first.is_some());
        while let Some(digit) = letters.peek().and_then(|(letter, _)| letter.to_digit(radix)).filter(|_| count < most) {
            number = number.wrapping_mul(radix).wrapping_add(digit);
            count += 1;
            letters.next();
        }
        char::from_u32(number & 0xff)
    };
    match letter {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'E' => Some('\u{1b}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        'x' => digits(16, 8, None),
        '0'..='7' => digits(8, 3, Some(letter)),
        'c' => letters.next().and_then(|(letter, _)| char::from_u32(u32::from(letter) & 0x1f)),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(statements: &[Statement]) -> String {
        let one = |statement: &Statement| {
            let words: Vec<_> = statement.words.iter().map(|word| word.text.as_str()).collect();
            let block =
                if statement.open.is_some() { format!("{{{}}}", show(&statement.block)) } else { String::new() };
            format!("{}{block}", words.join("|"))
        };
        statements.iter().map(one).collect::<Vec<_>>().join(";")
    }

    fn parsed(text: &str) -> (String, Vec<String>) {
        let mut context = Context::default();
        let line = |(index, text): (usize, &str)| Line {
            at: Place { file: 0, line: index as u32 + 1, column: 1 },
            text: text.to_owned(),
            is_made: false,
        };
        let lines: Vec<Line> = text.lines().enumerate().map(line).collect();
        let statements = read(&mut context, &lines);
        (
            show(&statements),
            context.faults.into_iter().map(|(at, reason, _)| format!("{}:{} {reason}", at.line, at.column)).collect(),
        )
    }

    #[test]
    fn blocks_lie_in_blocks() {
        for text in ["a b {\n c d\n e {\n f\n }\n}\ng", "a b\n{\nc d\ne{ f } } g", "a b {\nc d\ne {\nf\n}}\ng"] {
            assert_eq!(parsed(text), ("a|b{c|d;e{f}};g".to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn quotes_hold_words_together() {
        let text = r#"a "b c" d'e f'"g" 'h "i"' "\x41\102\tz\"" "{" \{"#;
        assert_eq!(parsed(text).0, "a|b c|de fg|h \"i\"|AB\tz\"|{|{");
    }

    #[test]
    fn faults_have_their_place() {
        assert_eq!(parsed("a\n  }").1, ["2:3 `}` without a block"]);
        assert_eq!(parsed("a\nb {\n c").1, ["2:1 the block has no end"]);
        assert_eq!(parsed("a 'b").1, ["1:3 a quote has no end in its line"]);
        assert_eq!(parsed("{ }").1, ["1:1 `{` without a name in front"]);
        assert_eq!(parsed(&"a {\n".repeat(30)).1, ["17:3 more than 16 blocks in each other"]);
    }
}
